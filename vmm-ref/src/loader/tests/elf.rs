// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! ELF parsing and PVH.

use super::images::{elf32, elf64, note, pvh_note, vmlinux, Part};
use super::{c_string, load, memory, u32_in, u64_in, MIB, RSDP};
use crate::layout::START_INFO;
use crate::loader::{parse, Image, ImageError, ImageKind, Mode};

fn pvh_kernel() -> Vec<u8> {
    let text = Part::load(0x100_0000, &[0x90; 64], 0x1000);
    elf64(0xffff_ffff_8100_0000, &[text, pvh_note(0x100_0020)])
}

#[test]
fn a_pvh_kernel_is_entered_in_32_bit_mode_with_its_start_info() {
    let mem = memory(64 * MIB);
    let boot = load(&mem, &pvh_kernel(), Some(b"ramdisk"), "console=hvc0").unwrap();
    assert_eq!(boot.kind, ImageKind::Pvh);
    assert_eq!((boot.entry.mode, boot.entry.rip), (Mode::Protected32, 0x100_0020));
    assert_eq!(boot.entry.rbx, START_INFO);
    let word = |offset| u64_in(&mem, START_INFO + offset);
    assert_eq!(u32_in(&mem, START_INFO), 0x336e_c578, "magic");
    assert_eq!(u32_in(&mem, START_INFO + 4), 1, "version");
    assert_eq!(u32_in(&mem, START_INFO + 12), 1, "modules");
    assert_eq!(c_string(&mem, word(24)), "console=hvc0");
    assert_eq!(word(32), RSDP);
    let module = word(16);
    assert_eq!((u64_in(&mem, module), u64_in(&mem, module + 8)), (64 * MIB - 0x1000, 7));
    assert_eq!(&super::read(&mem, 64 * MIB - 0x1000, 7), b"ramdisk");
    let (map, entries) = (word(40), u32_in(&mem, START_INFO + 48));
    assert_eq!(entries, 3);
    let ram = map + 2 * 24;
    assert_eq!((u64_in(&mem, ram), u64_in(&mem, ram + 8)), (MIB, 63 * MIB));
    assert_eq!(u32_in(&mem, ram + 16), 1);
}

#[test]
fn without_an_initramfs_pvh_has_no_module_list() {
    let mem = memory(64 * MIB);
    load(&mem, &pvh_kernel(), None, "").unwrap();
    assert_eq!((u32_in(&mem, START_INFO + 12), u64_in(&mem, START_INFO + 16)), (0, 0));
}

#[test]
fn a_32_bit_elf_may_be_pvh_too() {
    let text = Part::load(0x10_0000, &[0x90; 64], 64);
    let kernel = elf32(0x10_0000, &[text, pvh_note(0x10_0010)]);
    let boot = load(&memory(64 * MIB), &kernel, None, "").unwrap();
    assert_eq!((boot.kind, boot.entry.rip), (ImageKind::Pvh, 0x10_0010));
}

#[test]
fn only_xens_note_of_the_right_type_counts() {
    let with = |notes: &[u8]| {
        let text = Part::load(0x100_0000, &[0x90; 64], 64);
        elf64(0x100_0000, &[text, Part::note(notes)])
    };
    let entry = |file: &[u8]| match parse(file).unwrap() {
        Image::Pvh(_, entry) => Some(entry),
        Image::Vmlinux(_) => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(entry(&with(&note(b"Xen\0", 18, &0x1234u32.to_le_bytes()))), Some(0x1234));
    // Linux itself gives the address as a 64-bit word.
    assert_eq!(entry(&with(&note(b"Xen\0", 18, &0x1234u64.to_le_bytes()))), Some(0x1234));
    assert_eq!(entry(&with(&note(b"Xen\0", 17, &[0; 4]))), None);
    assert_eq!(entry(&with(&note(b"GNU\0", 18, &[0; 4]))), None);
    // A note cut short is no note.
    assert_eq!(entry(&with(&note(b"Xen\0", 18, &[0; 4])[..18])), None);
    for bad in [&[0u8; 2][..], &[0xff; 8]] {
        let file = with(&note(b"Xen\0", 18, bad));
        assert!(matches!(parse(&file), Err(ImageError::Malformed(_))));
    }
}

#[test]
fn foreign_elf_files_are_refused_by_name() {
    let patched = |at: usize, bytes: &[u8]| {
        let mut file = vmlinux();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        parse(&file).unwrap_err().to_string()
    };
    assert!(patched(4, &[3]).contains("ELF class 3"));
    assert!(patched(5, &[2]).contains("big-endian"));
    assert!(patched(16, &[1, 0]).contains("not an executable"));
    assert!(patched(18, &[183, 0]).contains("another machine (183)"));
    assert!(patched(56, &[0, 0]).contains("without loadable segments"));
    assert!(patched(56, &[0xff, 0xff]).contains("65535 segments"));
    assert!(patched(54, &[8, 0]).contains("program headers of 8 bytes"));
    // p_memsz below p_filesz.
    assert!(patched(64 + 40, &[1, 0, 0, 0, 0, 0, 0, 0]).contains("1 in memory"));
    let file = elf32(0x10_0000, &[Part::load(0x10_0000, &[0; 64], 64)]);
    assert!(parse(&file).unwrap_err().to_string().contains("neither a Multiboot header"));
}

#[test]
fn a_truncated_elf_says_what_is_missing() {
    let file = vmlinux();
    let what = |len: usize| match parse(&file[..len]).unwrap_err() {
        ImageError::Truncated { what, needs, has } => {
            assert_eq!(has, len as u64);
            assert!(needs > has);
            what
        }
        other => panic!("{other}"),
    };
    assert_eq!(what(10), "the ELF header");
    assert_eq!(what(63), "the ELF header");
    assert_eq!(what(100), "the ELF program header table");
    assert_eq!(what(file.len() - 1), "an ELF segment");
}

#[test]
fn an_entry_point_outside_of_the_kernel_is_refused() {
    let kernel = elf64(0x200_0000, &[Part::load(0x100_0000, &[0; 64], 64)]);
    let error = load(&memory(64 * MIB), &kernel, None, "").unwrap_err();
    assert!(error.to_string().contains("entry point 0x2000000 is in no segment"), "{error}");
}

#[test]
fn what_is_no_kernel_is_refused() {
    assert!(matches!(parse(b""), Err(ImageError::Empty)));
    assert!(matches!(parse(b"#!/bin/sh\n"), Err(ImageError::UnknownFormat)));
    assert!(matches!(parse(&[0; 10_000]), Err(ImageError::UnknownFormat)));
}
