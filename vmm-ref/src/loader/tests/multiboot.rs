// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Multiboot 1 kernels.

use super::images::{elf32, elf64, multiboot_header, pvh_note, Part};
use super::{c_string, load, memory, read, u32_in, u64_in, MIB};
use crate::layout::START_INFO;
use crate::loader::{parse, Image, ImageError, ImageKind, Mode};

fn text(header: &[u8]) -> Vec<u8> {
    let mut text = header.to_vec();
    text.resize(0x100, 0x90);
    text
}

fn kernel() -> Vec<u8> {
    elf32(0x10_0040, &[Part::load(0x10_0000, &text(&multiboot_header(3, &[])), 0x3000)])
}

#[test]
fn an_elf_kernel_gets_magic_and_information() {
    let mem = memory(64 * MIB);
    let boot = load(&mem, &kernel(), Some(b"KEY=VALUE\n"), "a b").unwrap();
    assert_eq!((boot.kind, boot.entry.mode), (ImageKind::Multiboot, Mode::Protected32));
    assert_eq!((boot.entry.rip, boot.entry.rax), (0x10_0040, 0x2bad_b002));
    assert_eq!(boot.entry.rbx, START_INFO);
    let field = |offset| u32_in(&mem, START_INFO + offset);
    assert_eq!(field(0), 1 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9);
    assert_eq!((field(4), field(8)), (640, 63 * 1024), "mem_lower, mem_upper in KiB");
    assert_eq!(c_string(&mem, field(16).into()), "kernel.bin a b");
    assert_eq!(c_string(&mem, field(64).into()), "vmm-ref");
}

#[test]
fn the_initramfs_is_the_first_module_on_the_page_after_the_kernel() {
    let mem = memory(64 * MIB);
    load(&mem, &kernel(), Some(b"KEY=VALUE\n"), "").unwrap();
    assert_eq!(u32_in(&mem, START_INFO + 20), 1);
    let list = u64::from(u32_in(&mem, START_INFO + 24));
    let (start, end) = (u32_in(&mem, list), u32_in(&mem, list + 4));
    assert_eq!((start, end - start), (0x10_3000, 10));
    assert_eq!(&read(&mem, start.into(), 10), b"KEY=VALUE\n");
    assert_eq!(c_string(&mem, u32_in(&mem, list + 8).into()), "initrd.img");
}

#[test]
fn without_an_initramfs_there_are_no_modules() {
    let mem = memory(64 * MIB);
    let boot = load(&mem, &kernel(), None, "").unwrap();
    assert_eq!((boot.initramfs, u32_in(&mem, START_INFO + 20)), (None, 0));
}

#[test]
fn the_memory_map_has_entries_of_20_bytes_and_their_size() {
    let mem = memory((3 << 30) + MIB);
    load(&mem, &kernel(), None, "").unwrap();
    let (len, map) = (u32_in(&mem, START_INFO + 44), u64::from(u32_in(&mem, START_INFO + 48)));
    assert_eq!(len, 4 * 24);
    let entry = |n: u64| {
        let at = map + 24 * n;
        (u32_in(&mem, at), u64_in(&mem, at + 4), u64_in(&mem, at + 12), u32_in(&mem, at + 20))
    };
    assert_eq!(entry(0), (20, 0, 0xa_0000, 1));
    assert_eq!(entry(1), (20, 0xa_0000, 0x6_0000, 2));
    assert_eq!(entry(2), (20, MIB, 0xbff0_0000, 1));
    assert_eq!(entry(3), (20, 1 << 32, MIB, 1));
    assert_eq!(u32_in(&mem, START_INFO + 8), 0xbff0_0000 / 1024, "up to the first hole");
}

#[test]
fn load_addresses_take_the_place_of_elf_headers() {
    // The header is 16 bytes into the image; load at 1 MiB, bss to 0x102000.
    let header =
        multiboot_header(1 << 16, &[0x10_0010, 0x10_0000, 0x10_0100, 0x10_2000, 0x10_0050]);
    let mut file = vec![0xaa; 16];
    file.extend_from_slice(&header);
    file.resize(0x200, 0xbb);
    let mem = memory(64 * MIB);
    let boot = load(&mem, &file, None, "").unwrap();
    assert_eq!((boot.entry.rip, boot.kernel), (0x10_0050, 0x10_0000..0x10_2000));
    assert_eq!(read(&mem, 0x10_0000, 0x100), file[..0x100]);
    assert_eq!(read(&mem, 0x10_0100, 1), [0], "beyond load_end_addr");
}

#[test]
fn a_load_end_of_0_means_the_whole_file() {
    let header = multiboot_header(1 << 16, &[0x10_0000, 0x10_0000, 0, 0, 0x10_0020]);
    let boot = load(&memory(64 * MIB), &text(&header), None, "").unwrap();
    assert_eq!(boot.kernel, 0x10_0000..0x10_0100);
}

#[test]
fn contradicting_load_addresses_are_refused() {
    let base = 0x10_0000;
    let cases = [
        ([base - 4, base, 0, 0, base], "below the load address"),
        ([base + 4, base, 0, 0, base], "before the start of the file"),
        ([base, base, base - 1, 0, base], "load end is below"),
        ([base, base, base + 0x80, base + 0x40, base], "end of bss"),
    ];
    for (addresses, expected) in cases {
        let error = parse(&text(&multiboot_header(1 << 16, &addresses))).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let past_the_end = multiboot_header(1 << 16, &[base, base, base + 0x1000, 0, base]);
    assert!(matches!(parse(&text(&past_the_end)), Err(ImageError::Truncated { .. })));
}

#[test]
fn the_header_is_found_in_the_first_8_kib_on_a_4_byte_boundary() {
    let at = |offset: usize| {
        let load = 0x10_0000;
        let addresses = [load + offset as u32, load, 0, 0, load];
        let mut file = vec![0; offset];
        file.extend_from_slice(&multiboot_header(1 << 16, &addresses));
        file.resize(0x4000, 0);
        parse(&file).is_ok()
    };
    assert!(at(0));
    assert!(at(8192 - 32));
    assert!(!at(8192 - 28), "not complete within 8 KiB");
    assert!(!at(2), "not aligned");
}

#[test]
fn a_wrong_checksum_is_no_header() {
    let mut header = multiboot_header(1 << 16, &[0x10_0000, 0x10_0000, 0, 0, 0x10_0000]);
    header[8] ^= 1;
    assert!(matches!(parse(&text(&header)), Err(ImageError::UnknownFormat)));
}

#[test]
fn unknown_requirements_are_refused_unknown_wishes_are_not() {
    let with = |flags| {
        elf32(0x10_0000, &[Part::load(0x10_0000, &text(&multiboot_header(flags, &[])), 0x1000)])
    };
    assert!(parse(&with(0x7)).is_ok(), "alignment, memory, video mode");
    assert!(parse(&with(1 << 17)).is_ok());
    let error = parse(&with(1 << 5)).unwrap_err();
    assert!(error.to_string().contains("0x20"), "{error}");
}

#[test]
fn a_64_bit_elf_needs_load_addresses_or_a_pvh_note() {
    let segment = || Part::load(0x10_0000, &text(&multiboot_header(0, &[])), 0x1000);
    let error = parse(&elf64(0x10_0000, &[segment()])).unwrap_err();
    assert!(error.to_string().contains("64-bit ELF"), "{error}");
    let file = elf64(0x10_0000, &[segment(), pvh_note(0x10_0000)]);
    assert!(matches!(parse(&file), Ok(Image::Pvh(_, 0x10_0000))));
}

#[test]
fn an_entry_point_in_virtual_addresses_is_translated() {
    let mut part = Part::load(0x10_0000, &text(&multiboot_header(0, &[])), 0x1000);
    part.virtual_address = 0xc010_0000;
    let boot = load(&memory(64 * MIB), &elf32(0xc010_0080, &[part]), None, "").unwrap();
    assert_eq!(boot.entry.rip, 0x10_0080);
}

#[test]
fn strings_that_do_not_fit_are_refused() {
    let error = load(&memory(64 * MIB), &kernel(), None, &"x".repeat(0x1_0000)).unwrap_err();
    assert!(matches!(error, ImageError::CmdlineTooLong { .. }), "{error}");
}
