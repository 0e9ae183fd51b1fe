// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest that vmm-ref boots: Debian's kernel, with busybox and a script as user space.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cpio::Archive;
use crate::fetch::Packages;
use crate::workspace;

/// What the guest prints once commands can be typed.
pub const READY: &str = "vmm-ref guest: shell";
/// What the guest prints whenever it waits for a command.
pub const PROMPT: &str = "guest# ";

/// On the kernel's command line: nobody types; the guest shows its interrupts and powers off.
pub const ONCE: &str = "guest.once";

/// Process 1 of the guest. Commands come over the serial console, a line each. It is no
/// interactive shell, so that the terminal's echo is the kernel's and nobody edits lines.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ TERM=dumb
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo "vmm-ref guest: $(uname -sr), $(nproc) CPUs online"
if grep -q guest.once /proc/cmdline; then
    cat /proc/interrupts
    poweroff -f
fi
echo "vmm-ref guest: shell"
while printf 'guest# ' && IFS= read -r line; do
    eval "$line"
done
echo "vmm-ref guest: end of input"
poweroff -f
"#;

/// The two files of the guest.
pub struct Guest {
    /// The kernel image, as Debian ships it.
    pub kernel: PathBuf,
    /// The initramfs that was made from busybox.
    pub initramfs: PathBuf,
}

impl Guest {
    /// Makes the initramfs; the kernel comes as it is.
    pub fn build(packages: &Packages) -> Result<Self> {
        let initramfs = workspace::directory("guest")?.join("initramfs.cpio");
        fs::write(&initramfs, archive(&packages.busybox()?)?)
            .with_context(|| format!("cannot write {}", initramfs.display()))?;
        Ok(Self { kernel: packages.kernel()?, initramfs })
    }
}

fn archive(busybox: &Path) -> Result<Vec<u8>> {
    let program =
        fs::read(busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    let mut archive = Archive::new();
    for directory in ["bin", "dev", "proc", "sys", "tmp"] {
        archive.directory(directory)?;
    }
    archive.device("dev/console", 5, 1)?;
    archive.file("bin/busybox", 0o755, &program)?;
    archive.file("init", 0o755, INIT.as_bytes())?;
    Ok(archive.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_prints_what_cases_wait_for() {
        assert!(INIT.contains(READY) && INIT.contains(PROMPT) && INIT.contains(ONCE));
    }
}
