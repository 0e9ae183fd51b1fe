// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The software CPU with a virtual clock: each bare-metal guest does the same thing in every run, to
//! the instruction. That it passes as on KVM is `guests.rs`'s.

use integration::guests::GUESTS;
use integration::vmm::{run_guest, scratch};
use integration::{vmm_ref, Topology};

/// Runs every guest in every topology that it is for.
fn every_guest(mut run: impl FnMut(&'static str, Topology)) {
    for guest in GUESTS {
        for topology in guest.topologies {
            run(guest.name, *topology);
        }
    }
}

#[test]
fn with_a_virtual_clock_two_runs_are_one() {
    let (_directory, path) = scratch();
    every_guest(|name, topology| {
        let runs = [path("first"), path("second")].map(|trace| {
            let platform = format!(",clock=virtual,trace={}", trace.display());
            let vmm = vmm_ref!().on("soft").platform(&platform);
            let finished = run_guest(vmm, name, topology);
            (finished.console, finished.messages, std::fs::read(trace).unwrap())
        });
        assert!(runs[0].1.contains("virtual time "), "{name} {topology}: {}", runs[0].1);
        assert_eq!(runs[0], runs[1], "{name} {topology}");
    });
}

#[test]
fn kvm_has_no_virtual_clock() {
    let vmm = vmm_ref!().args(["--kernel", "/nowhere", "--backend", "kvm"]);
    let finished = vmm.args(["--platform", "clock=virtual"]).run();
    finished.assert_error(1, &["--platform", "clock", "use --backend soft"]);
}
