// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! bzImage and vmlinux: what Linux finds in memory.

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::images::{elf32, elf64, gzip, lz4, vmlinux, xz, zstd, Bz, Part, SETUP_SECTORS};
use super::{c_string, load, memory, read, u32_in, u64_in, MIB, RSDP};
use crate::layout::{CMDLINE, ZERO_PAGE};
use crate::loader::{
    memory_map, Image, ImageError, ImageKind, MapEntry, MapKind, Mode, PayloadFormat,
};

#[test]
fn a_bzimage_of_every_format_is_unpacked_and_entered_at_its_elf_entry() {
    let kernel = vmlinux();
    let payloads = [
        (PayloadFormat::Gzip, gzip(&kernel)),
        (PayloadFormat::Lz4, lz4(&kernel, 8 << 20)),
        (PayloadFormat::Zstd, zstd(&kernel)),
        (PayloadFormat::Xz, xz(&kernel)),
        (PayloadFormat::Uncompressed, kernel.clone()),
    ];
    for (format, payload) in payloads {
        let mem = memory(64 * MIB);
        let boot = load(&mem, &Bz::with_payload(payload).image(), None, "quiet").unwrap();
        assert_eq!((boot.kind, boot.unpacked), (ImageKind::BzImage, Some(format)));
        assert_eq!((boot.entry.mode, boot.entry.rip), (Mode::Long64, 0x100_0000));
        assert_eq!(boot.entry.rsi, ZERO_PAGE);
        assert_eq!(boot.kernel, 0x100_0000..0x110_0000);
        let text = &kernel[64 + 56..];
        assert!(read(&mem, 0x100_0000, text.len()) == text);
    }
}

#[test]
fn the_zero_page_carries_the_setup_header_and_what_the_loader_adds() {
    let mem = memory(64 * MIB);
    load(&mem, &Bz::default().image(), Some(&[7; 5000]), "console=ttyS0").unwrap();
    let field = |offset| u32_in(&mem, ZERO_PAGE + offset);
    assert_eq!(field(0x202), u32::from_le_bytes(*b"HdrS"));
    assert_eq!(read(&mem, ZERO_PAGE + 0x1f1, 1), [SETUP_SECTORS as u8]);
    assert_eq!(field(0x206) as u16, 0x20f);
    assert_eq!(read(&mem, ZERO_PAGE + 0x210, 1), [0xff], "type_of_loader");
    assert_eq!(field(0x228), CMDLINE as u32);
    assert_eq!(c_string(&mem, CMDLINE), "console=ttyS0");
    assert_eq!(field(0x260), 0x20_0000, "init_size, the header's last field here");
    assert_eq!(u64_in(&mem, ZERO_PAGE + 0x70), RSDP);
    // The initramfs ends where RAM ends, on a page boundary.
    assert_eq!((field(0x218), field(0x21c)), (64 * MIB as u32 - 0x2000, 5000));
    assert!(read(&mem, 64 * MIB - 0x2000, 5000).iter().all(|byte| *byte == 7));
}

#[test]
fn e820_has_the_legacy_hole_and_both_sides_of_the_mmio_hole() {
    let mem = memory((3 << 30) + 64 * MIB);
    load(&mem, &Bz::default().image(), None, "").unwrap();
    let count = read(&mem, ZERO_PAGE + 0x1e8, 1)[0];
    let entry = |n: u64| {
        let at = ZERO_PAGE + 0x2d0 + 20 * n;
        (u64_in(&mem, at), u64_in(&mem, at + 8), u32_in(&mem, at + 16))
    };
    assert_eq!(count, 4);
    assert_eq!(entry(0), (0, 0xa_0000, 1));
    assert_eq!(entry(1), (0xa_0000, 0x6_0000, 2));
    assert_eq!(entry(2), (MIB, 0xbff0_0000, 1));
    assert_eq!(entry(3), (0x1_0000_0000, 64 * MIB, 1));
}

#[test]
fn regions_that_touch_are_one_range_of_memory() {
    let halves = [(GuestAddress(0), 17 << 20), (GuestAddress(17 * MIB), 17 << 20)];
    let mem = GuestMemoryMmap::from_ranges(&halves).unwrap();
    let ram = MapEntry { start: MIB, size: 33 * MIB, kind: MapKind::Ram };
    assert_eq!(memory_map(&mem).last(), Some(&ram));
    // The kernel crosses the boundary.
    let kernel = elf64(0x100_0000, &[Part::load(0x100_0000, &vec![5; 2 << 20], 2 * MIB)]);
    load(&mem, &kernel, None, "").unwrap();
    assert_eq!(read(&mem, 17 * MIB - 1, 2), [5, 5]);
}

#[test]
fn the_initramfs_stays_below_the_kernels_limit() {
    let mem = memory(128 * MIB);
    let image = Bz { initrd_addr_max: 0x3ff_ffff, ..Bz::default() }.image();
    let boot = load(&mem, &image, Some(&[1; 0x1000]), "").unwrap();
    assert_eq!(boot.initramfs, Some(0x3ff_f000..0x400_0000));
}

#[test]
fn the_initramfs_goes_below_a_kernel_at_the_top_of_ram() {
    let mem = memory(32 * MIB);
    let kernel = elf64(0x100_0000, &[Part::load(0x100_0000, &[0x90], 16 * MIB)]);
    let boot = load(&mem, &kernel, Some(&[1; 0x1000]), "").unwrap();
    assert_eq!(boot.initramfs, Some(0xff_f000..0x100_0000));
}

#[test]
fn an_initramfs_larger_than_what_is_free_is_an_error_that_says_how_much_is() {
    let mem = memory(32 * MIB);
    let initramfs = vec![0; 16 << 20];
    let error = load(&mem, &Bz::default().image(), Some(&initramfs), "").unwrap_err();
    let ImageError::NoRoom { what: "the initramfs", size, room } = error else {
        panic!("{error}");
    };
    // The kernel has 1 MiB at 16 MiB: below it 15 MiB are free, above it as many.
    assert_eq!((size, room), (16 * MIB, 15 * MIB));
}

#[test]
fn a_kernel_the_host_cannot_unpack_runs_its_own_decompressor() {
    let mem = memory(64 * MIB);
    let image = Bz::with_payload(b"BZh91AY&SY and so on".to_vec()).image();
    let boot = load(&mem, &image, None, "").unwrap();
    assert_eq!((boot.entry.mode, boot.entry.rip), (Mode::Long64, MIB + 0x200));
    assert_eq!((boot.unpacked, boot.entry.rsi), (None, ZERO_PAGE));
    // It unpacks to its preferred address and uses `init_size` bytes there.
    assert_eq!(boot.kernel, MIB..0x120_0000);
    assert_eq!(read(&mem, MIB, 4), [0xcc; 4]);
}

#[test]
fn a_32_bit_kernel_starts_at_the_32_bit_entry() {
    let mem = memory(64 * MIB);
    let payload = gzip(&elf32(0x100_0000, &[Part::load(0x100_0000, &[0x90; 64], 64)]));
    let boot =
        load(&mem, &Bz { payload, xloadflags: 0, ..Bz::default() }.image(), None, "").unwrap();
    assert_eq!((boot.entry.mode, boot.entry.rip), (Mode::Protected32, MIB));
    assert_eq!(boot.entry.rsi, ZERO_PAGE);
}

#[test]
fn an_old_protocol_has_no_fields_that_came_later() {
    let bytes = Bz { version: 0x205, ..Bz::default() }.image();
    let Image::BzImage(image) = crate::loader::parse(&bytes).unwrap() else { panic!() };
    assert_eq!((image.payload, image.has_64bit_entry), (None, false));
    assert_eq!((image.cmdline_max, image.init_size), (255, 0));
    assert_eq!(image.preferred_address, MIB);
}

#[test]
fn a_vmlinux_gets_a_setup_header_made_for_it() {
    let mem = memory(64 * MIB);
    let boot = load(&mem, &vmlinux(), None, "panic=-1").unwrap();
    assert_eq!((boot.kind, boot.entry.rip), (ImageKind::Vmlinux, 0x100_0000));
    assert_eq!(u32_in(&mem, ZERO_PAGE + 0x202), u32::from_le_bytes(*b"HdrS"));
    assert_eq!(u32_in(&mem, ZERO_PAGE + 0x1fe) as u16, 0xaa55);
    assert_eq!(c_string(&mem, u32_in(&mem, ZERO_PAGE + 0x228).into()), "panic=-1");
}

#[test]
fn bss_is_zeroed_over_what_was_there() {
    let mem = memory(32 * MIB);
    mem.write_slice(&[0xff; 8192], GuestAddress(0x100_0000)).unwrap();
    let kernel = elf64(0x100_0000, &[Part::load(0x100_0000, &[1, 2, 3], 8000)]);
    load(&mem, &kernel, None, "").unwrap();
    assert_eq!(read(&mem, 0x100_0000, 3), [1, 2, 3]);
    assert!(read(&mem, 0x100_0003, 7997).iter().all(|byte| *byte == 0));
    assert_eq!(read(&mem, 0x100_0000 + 8000, 1), [0xff]);
}

#[test]
fn a_command_line_too_long_for_the_kernel_is_refused() {
    let mem = memory(64 * MIB);
    let image = Bz { cmdline_size: 100, ..Bz::default() }.image();
    assert!(load(&mem, &image, None, &"x".repeat(100)).is_ok());
    let error = load(&mem, &image, None, &"x".repeat(101)).unwrap_err();
    assert!(matches!(error, ImageError::CmdlineTooLong { len: 101, max: 100 }));
    assert!(matches!(load(&mem, &image, None, "a\0b"), Err(ImageError::CmdlineNul)));
}

#[test]
fn a_truncated_bzimage_says_what_is_missing() {
    let image = Bz::default().image();
    let mem = memory(64 * MIB);
    let error = load(&mem, &image[..image.len() - 1], None, "").unwrap_err();
    assert!(matches!(error, ImageError::Truncated { what: "the protected-mode kernel", .. }));
    // Short of the header's own end.
    assert!(matches!(load(&mem, &image[..0x230], None, ""), Err(ImageError::Truncated { .. })));
}

#[test]
fn kernels_that_do_not_fit_are_refused() {
    let load_into = |size, image: &[u8]| load(&memory(size), image, None, "").unwrap_err();
    // The segment ends beyond RAM.
    let error = load_into(16 * MIB + 0x1000, &vmlinux());
    assert!(matches!(error, ImageError::OutsideRam { what: "a kernel segment", .. }), "{error}");
    // The segment overwrites the zero page.
    let error = load_into(64 * MIB, &elf64(0x7000, &[Part::load(0x7000, &[0; 16], 16)]));
    assert!(matches!(error, ImageError::Overlap { .. }), "{error}");
    // The segment is in the adapter hole.
    let error = load_into(64 * MIB, &elf64(0xb_0000, &[Part::load(0xb_0000, &[0; 16], 16)]));
    assert!(matches!(error, ImageError::OutsideRam { .. }), "{error}");
    // Two segments overlap.
    let parts = [Part::load(0x100_0000, &[0; 16], 32), Part::load(0x100_0010, &[0; 16], 32)];
    let error = load_into(64 * MIB, &elf64(0x100_0000, &parts));
    assert!(matches!(error, ImageError::Overlap { other: "a kernel segment", .. }), "{error}");
    // The decompressor's working memory ends beyond RAM.
    let image = Bz { init_size: 0x400_0000, payload: b"BZh".to_vec(), ..Bz::default() }.image();
    assert!(matches!(load_into(64 * MIB, &image), ImageError::OutsideRam { .. }));
}

#[test]
fn a_segment_may_start_just_below_1_mib_but_not_in_the_acpi_tables() {
    let place = |start| {
        let mem = memory(64 * MIB);
        let kernel = elf64(MIB, &[Part::load(start, &[1; 16], MIB + 0x1000 - start)]);
        load(&mem, &kernel, None, "").map(|boot| (boot.kernel, read(&mem, start, 1)))
    };
    assert_eq!(place(0xf_f000).unwrap(), (0xf_f000..0x10_1000, vec![1]));
    assert!(place(0xf_0000).is_ok());
    for start in [0xe_f000, 0xe_0000, 0xa_0000, 0x9_f000] {
        assert!(matches!(place(start), Err(ImageError::OutsideRam { .. })), "{start:#x}");
    }
}

#[test]
fn a_guest_without_enough_memory_for_the_boot_structures_is_refused() {
    let error = load(&memory(0x8000), &vmlinux(), None, "").unwrap_err();
    assert!(matches!(error, ImageError::OutsideRam { .. }), "{error}");
}

#[test]
fn zimages_and_ancient_protocols_are_refused() {
    let mut image = Bz::default().image();
    image[0x211] = 0;
    assert!(load(&memory(MIB), &image, None, "").unwrap_err().to_string().contains("zImage"));
    let image = Bz { version: 0x201, ..Bz::default() }.image();
    assert!(load(&memory(MIB), &image, None, "").unwrap_err().to_string().contains("2.01"));
}
