// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Errors name the file.

use std::error::Error;
use std::path::Path;

use super::images::{multiboot_header, vmlinux};
use super::{c_string, memory, u32_in, MIB};
use crate::layout::START_INFO;
use crate::loader::{load, LoadError, MachineInfo};

fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

fn failure(size: u64, kernel: &Path, initramfs: Option<&Path>) -> (LoadError, String) {
    let error = load(&memory(size), kernel, initramfs, "", &MachineInfo::default()).unwrap_err();
    let text = chain(&error);
    (error, text)
}

#[test]
fn files_are_read_and_named_in_what_the_guest_sees() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = dir.path().join("test.elf");
    let mut image = multiboot_header(1 << 16, &[0x10_0000, 0x10_0000, 0, 0, 0x10_0020]);
    image.resize(0x100, 0);
    std::fs::write(&kernel, image).unwrap();
    let mem = memory(16 * MIB);
    load(&mem, &kernel, None, "smp", &MachineInfo::default()).unwrap();
    let cmdline = c_string(&mem, u32_in(&mem, START_INFO + 16).into());
    assert_eq!(cmdline, format!("{} smp", kernel.display()));
}

#[test]
fn a_missing_kernel_is_named() {
    let (error, text) = failure(16 * MIB, Path::new("/no/such/kernel"), None);
    assert!(matches!(error, LoadError::Read { what: "kernel", .. }));
    assert!(text.starts_with("cannot read the kernel '/no/such/kernel': No such file"), "{text}");
}

#[test]
fn a_directory_is_no_kernel() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(failure(16 * MIB, dir.path(), None).0, LoadError::Read { .. }));
}

#[test]
fn an_unusable_kernel_is_named_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = dir.path().join("kernel");
    std::fs::write(&kernel, "not a kernel").unwrap();
    let (_, text) = failure(16 * MIB, &kernel, None);
    assert!(text.contains("cannot load the kernel '") && text.contains("unknown format"), "{text}");
}

#[test]
fn an_initramfs_that_does_not_fit_is_named_not_the_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let (kernel, initramfs) = (dir.path().join("kernel"), dir.path().join("initramfs"));
    std::fs::write(&kernel, vmlinux()).unwrap();
    // Larger than any free range, then larger than all of memory.
    for (size, expected) in [(31 << 20, "no room for 32505856 bytes"), (33 << 20, "larger than")] {
        std::fs::File::create(&initramfs).unwrap().set_len(size).unwrap();
        let (_, text) = failure(32 * MIB, &kernel, Some(&initramfs));
        assert!(text.contains("initramfs '") && text.contains(expected), "{text}");
    }
}
