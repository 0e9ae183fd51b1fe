// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the steps need from the machine, looked at before anything takes time.

use std::fs::OpenOptions;
use std::process::Command;

use super::tally::Tally;
use crate::{fetch, process, ui, workspace};

/// Looks for everything and says what is missing, and how to get it.
pub fn check() -> Tally {
    ui::say("prerequisites");
    let mut tally = Tally::default();
    for (name, result) in [
        ("rustfmt", component("fmt", "rustfmt")),
        ("clippy", component("clippy", "clippy")),
        ("a C compiler", compiler()),
        ("/dev/kvm", kvm()),
        ("Debian packages", packages()),
    ] {
        tally.add(Tally::one(result.is_ok()));
        match result {
            Ok(()) => ui::detail(format!("{name}: ok")),
            Err(sentence) => ui::detail(format!("{name}: FAILED: {sentence}")),
        }
    }
    tally
}

fn component(subcommand: &str, name: &str) -> Result<(), String> {
    process::output(Command::new(workspace::cargo()).args([subcommand, "--version"]))
        .map(|_| ())
        .map_err(|_| format!("`rustup component add {name}` installs it"))
}

fn packages() -> Result<(), String> {
    fetch::packages_with_qemu().map(|_| ()).map_err(|error| format!("{error:#}"))
}

fn compiler() -> Result<(), String> {
    process::output(Command::new("cc").arg("--version")).map(|_| ()).map_err(|_| {
        "the bare-metal guests are compiled with cc, which Rust links with too: \
         `apt-get install gcc libc6-dev` installs it"
            .to_string()
    })
}

fn kvm() -> Result<(), String> {
    OpenOptions::new().read(true).write(true).open("/dev/kvm").map(|_| ()).map_err(|error| {
        format!(
            "cannot open it ({error}), and the tests of vmm-ref and its bare-metal guests run \
             on KVM: load the kernel's kvm module, pass the device into the container, or join \
             its group"
        )
    })
}
