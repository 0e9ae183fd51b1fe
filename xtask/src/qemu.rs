// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The emulator, for the nested rig and for `boot-times`: this machine's own, or the fetched one.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::fetch::Packages;
use crate::process;

/// The oldest QEMU whose emulated SVM is known to carry the rig.
const OLDEST: (u32, u32) = (7, 2);
const PROGRAM: &str = "qemu-system-x86_64";
/// The C library's loader of the fetched libraries, before and after the /usr merge.
const LOADERS: [&str; 2] =
    ["lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"];
const LIBRARIES: [&str; 2] = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];

/// This machine's QEMU, if it has one that is new enough.
pub fn installed() -> Option<PathBuf> {
    let program = process::which(PROGRAM)?;
    let text = process::output(Command::new(&program).arg("--version")).ok()?;
    (version(&String::from_utf8_lossy(&text))? >= OLDEST).then_some(program)
}

/// A command that runs QEMU, to which the caller adds the machine.
pub fn command(packages: &Packages) -> Result<Command> {
    if let Some(program) = installed() {
        return Ok(Command::new(program));
    }
    // Through the fetched loader: program and libraries fit each other, whatever this
    // machine's C library is.
    let libraries = LIBRARIES.map(|path| packages.root().join(path).display().to_string());
    let mut command = Command::new(packages.first(&LOADERS)?);
    command
        .arg("--library-path")
        .arg(libraries.join(":"))
        .arg(packages.first(&["usr/bin/qemu-system-x86_64"])?)
        .env("QEMU_MODULE_DIR", packages.first(&["usr/lib/x86_64-linux-gnu/qemu"])?);
    for firmware in ["usr/share/qemu", "usr/share/seabios"] {
        command.arg("-L").arg(packages.first(&[firmware])?);
    }
    Ok(command)
}

/// (major, minor) out of `QEMU emulator version 7.2.22 (...)`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split("version ").nth(1)?.split(['.', ' ', '(']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(version("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg)\n"), Some((7, 2)));
        assert_eq!(version("QEMU emulator version 10.0.2\n"), Some((10, 0)));
        assert_eq!(version("something else"), None);
    }
}
