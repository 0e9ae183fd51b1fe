// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What goes wrong goes wrong well: a clear message, the right exit status, and the terminal as it
//! was. Each case runs on a terminal of its own; [`Session::finish`] compares its modes.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr::null;

use integration::guests::elf;
use integration::pty::Session;
use integration::vmm::scratch;
use integration::{vmm_ref, Finished, Topology, Vmm};

/// A kind of machine. With a virtual clock, input and the end are other code.
#[derive(Clone, Copy)]
struct Machine {
    backend: &'static str,
    clock: &'static str,
    topology: Topology,
}

impl Machine {
    fn guest(self, name: &str) -> Vmm {
        let vmm = vmm_ref!().on(self.backend).platform(self.clock);
        vmm.guest(name, self.topology, 1)
    }
}

fn machines() -> impl Iterator<Item = Machine> {
    let kinds = [("kvm", ""), ("soft", ""), ("soft", ",clock=virtual")];
    kinds.into_iter().flat_map(|(backend, clock)| {
        [Topology::Pic, Topology::IoApic].map(|topology| Machine { backend, clock, topology })
    })
}

/// Runs to the end on a terminal.
fn on_terminal(vmm: Vmm) -> Finished {
    Session::start(vmm).finish()
}

/// An error: exit status 1 and a chain of messages with all of `phrases`.
fn assert_refused(vmm: Vmm, phrases: &[&str]) {
    let finished = on_terminal(vmm);
    finished.assert_error(1, &["Error: vmm-ref exited with the following"]);
    finished.assert_error(1, phrases);
}

/// A guest that never ends, on a terminal that is in raw mode by now.
fn endless(machine: Machine, name: &str, shows: &str) -> Session {
    let mut session = Session::start(machine.guest(name));
    session.wait_for(shows);
    assert_ne!(session.modes(), session.modes_before(), "the terminal is in raw mode");
    session
}

#[test]
fn a_truncated_kernel_is_refused_wherever_it_ends() {
    let (_directory, path) = scratch();
    let whole = fs::read(elf("pit")).unwrap();
    let last_byte = loaded_end(&whole) - 1;
    for length in [0, 1, 3, 16, 63, 64, 80, 119, 0x800, last_byte / 2, last_byte] {
        let kernel = path("kernel");
        fs::write(&kernel, &whole[..length]).unwrap();
        assert_refused(vmm_ref!().arg("--kernel").arg(&kernel), &["cannot load the guest"]);
    }
}

/// Where the file's only segment ends: what is behind it (section headers) nobody needs.
fn loaded_end(elf: &[u8]) -> usize {
    let field = |at: usize| u64::from_le_bytes(elf[at..at + 8].try_into().unwrap()) as usize;
    let program_header = field(32);
    field(program_header + 8) + field(program_header + 32)
}

#[test]
fn a_kernel_that_is_not_there_is_named() {
    assert_refused(
        vmm_ref!().args(["--kernel", "/nowhere/kernel"]),
        &["/nowhere/kernel", "No such file or directory"],
    );
    assert_refused(vmm_ref!().args(["--kernel", "/"]), &["'/'"]);
}

#[test]
fn a_kernel_that_is_none_is_refused() {
    let (_directory, path) = scratch();
    let text = path("text");
    fs::write(&text, "no kernel, but a text\n".repeat(1000)).unwrap();
    assert_refused(vmm_ref!().arg("--kernel").arg(&text), &["cannot load the guest"]);
}

#[test]
fn an_initramfs_larger_than_memory_is_refused() {
    let (_directory, path) = scratch();
    let initramfs = path("initramfs");
    File::create(&initramfs).unwrap().set_len(65 << 20).unwrap();
    let vmm = vmm_ref!().guest("pit", Topology::IoApic, 1).arg("--initramfs").arg(&initramfs);
    assert_refused(vmm, &["cannot load the guest", "initramfs"]);
}

#[test]
fn a_number_of_cpus_that_no_machine_has_is_refused() {
    for cpus in
        ["boot=0", "boot=33", "boot=1000000", "boot=4294967297", "boot=-1", "boot=two", "boot="]
    {
        let vmm = vmm_ref!().arg("--kernel").arg(elf("pit")).args(["--cpus", cpus]);
        assert_refused(vmm, &["--cpus"]);
    }
    let vmm = vmm_ref!().guest("pit", Topology::Pic, 2);
    assert_refused(vmm, &["--cpus", "topology=pic"]);
}

#[test]
fn an_amount_of_memory_that_no_machine_has_is_refused() {
    for memory in ["size=0", "size=1M", "size=2000G", "size=64X", "size=", "64M"] {
        let vmm = vmm_ref!().arg("--kernel").arg(elf("pit")).args(["--memory", memory]);
        assert_refused(vmm, &["--memory"]);
    }
}

#[test]
fn an_unknown_key_is_named() {
    for (option, value, key) in [
        ("--cpus", "boot=1,max=4", "max"),
        ("--memory", "size=64M,shared=on", "shared"),
        ("--platform", "topology=pic,num_pci_segments=1", "num_pci_segments"),
        ("--serial", "socket=/tmp/serial", "socket"),
        ("--console", "tty", "tty"),
        ("--backend", "mshv", "mshv"),
    ] {
        let vmm = vmm_ref!().arg("--kernel").arg(elf("pit")).args([option, value]);
        assert_refused(vmm, &[option, key]);
    }
}

#[test]
fn an_unknown_option_is_named_with_status_2() {
    let finished = on_terminal(vmm_ref!().arg("--kernel").arg(elf("pit")).args(["--disk", "x"]));
    finished.assert_error(2, &["--disk"]);
    on_terminal(vmm_ref!()).assert_error(2, &["--kernel"]);
}

#[test]
fn a_host_without_dev_kvm_is_told() {
    let vmm = vmm_ref!().guest("pit", Topology::IoApic, 1);
    let vmm = with_cover(vmm, || cover(c"tmpfs", c"/dev", c"tmpfs", 0));
    assert_refused(vmm, &["/dev/kvm", "No such file or directory", "is KVM loaded"]);
}

#[test]
fn a_host_without_dev_kvm_still_runs_guests_and_says_how() {
    let vmm = vmm_ref!().on("auto").guest("pit", Topology::IoApic, 1);
    let finished = with_cover(vmm, || cover(c"tmpfs", c"/dev", c"tmpfs", 0)).run();
    finished.assert_passed();
    let said = finished.messages.lines().next().unwrap_or_default();
    assert!(said.contains("--backend auto is soft: cannot open /dev/kvm"), "{finished:#}");
}

#[test]
fn a_dev_kvm_that_is_something_else_is_told() {
    let vmm = vmm_ref!().guest("pit", Topology::IoApic, 1);
    let vmm = with_cover(vmm, || cover(c"/dev/null", c"/dev/kvm", c"", libc::MS_BIND));
    assert_refused(vmm, &["/dev/kvm is not KVM's device"]);
}

/// Runs with something mounted over /dev/kvm, in a mount namespace of its own. That needs no
/// privileges where user namespaces are allowed, and root elsewhere.
fn with_cover(vmm: Vmm, mount: fn() -> io::Result<()>) -> Vmm {
    let mut trial = Command::new("true");
    // SAFETY: the closure makes system calls only.
    unsafe { trial.pre_exec(mount) };
    trial.status().expect("hiding /dev/kvm needs unprivileged user namespaces, or root");
    let mut command = vmm.into_command();
    // SAFETY: as above.
    unsafe { command.pre_exec(mount) };
    Vmm::from(command)
}

fn cover(source: &CStr, target: &CStr, kind: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    // SAFETY: all pointers are to terminated strings, or null where the call allows it.
    let done = unsafe {
        (libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) == 0
            || libc::unshare(libc::CLONE_NEWNS) == 0)
            && libc::mount(null(), c"/".as_ptr(), null(), libc::MS_REC | libc::MS_PRIVATE, null())
                == 0
            && libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, null()) == 0
    };
    match done {
        true => Ok(()),
        false => Err(io::Error::last_os_error()),
    }
}

#[test]
fn a_trace_that_cannot_be_written_is_an_error_and_named() {
    for machine in machines() {
        let full = format!("{},trace=/dev/full", machine.clock);
        let vmm = vmm_ref!().on(machine.backend).platform(&full);
        // The guest's own exit status is another one.
        let vmm = vmm.guest("pit", machine.topology, 1);
        assert_refused(vmm, &["the trace in /dev/full is incomplete", "No space"]);
    }
}

#[test]
fn evt_3_a_triple_fault_is_reported_with_registers() {
    for machine in machines() {
        let finished = on_terminal(machine.guest("triple_fault"));
        finished.assert_error(1, &["about to fault", "triple fault on vCPU 0", "rip=0x", "cr2=0x"]);
    }
}

#[test]
fn signals_end_a_guest_that_spins_with_interrupts_off() {
    let signals =
        [(libc::SIGINT, 130), (libc::SIGTERM, 143), (libc::SIGHUP, 129), (libc::SIGQUIT, 131)];
    for machine in machines() {
        for (signal, code) in signals {
            let session = endless(machine, "spin", "spinning");
            session.signal(signal);
            session.finish().assert_error(code, &["ended by signal"]);
        }
    }
}

#[test]
fn a_signal_ends_a_guest_that_halts_with_interrupts_off() {
    for machine in machines() {
        let session = endless(machine, "sleep", "sleeping");
        session.signal(libc::SIGINT);
        session.finish().assert_error(130, &["ended by signal"]);
    }
}

#[test]
fn ctrl_a_x_ends_a_guest_that_never_ends() {
    for machine in machines() {
        for (name, shows) in [("spin", "spinning"), ("sleep", "sleeping")] {
            let mut session = endless(machine, name, shows);
            session.type_keys(b"\x01x");
            session.finish().assert_error(0, &[]);
        }
    }
}

#[test]
fn three_ctrl_c_end_a_guest_that_spins_with_interrupts_off() {
    for machine in machines() {
        let mut session = endless(machine, "spin", "spinning");
        // A person's keys come one by one: several in one read are a paste.
        for _ in 0..3 {
            session.type_keys(b"\x03");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        session.finish().assert_error(0, &[]);
    }
}

/// So the other tests' look at the terminal can fail: only SIGKILL leaves it raw.
#[test]
#[should_panic(expected = "the terminal's mode")]
fn a_terminal_that_stays_raw_is_noticed() {
    let machine = Machine { backend: "soft", clock: "", topology: Topology::Pic };
    let session = endless(machine, "spin", "spinning");
    session.signal(libc::SIGKILL);
    session.finish();
}

#[test]
fn a_reset_ends_the_machine_with_no_reboot() {
    for machine in machines() {
        let finished = on_terminal(machine.guest("reset").arg("--no-reboot"));
        finished.assert_error(0, &["resetting"]);
        assert_eq!(finished.console.matches("resetting").count(), 1, "{finished:#}");
    }
}

#[test]
fn a_reset_boots_again_without_it() {
    for machine in machines() {
        let session = endless(machine, "reset", "resetting\r\nresetting\r\nresetting\r\n");
        session.signal(libc::SIGTERM);
        session.finish().assert_error(143, &["ended by signal"]);
    }
}
