// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Linux's own boot protocol: the zero page, the kernel, the initramfs, the command line.
//!
//! Follows Linux's `Documentation/arch/x86/boot.rst`, "32-bit Boot Protocol" and "64-bit Boot
//! Protocol", and `zero-page.rst`.

use std::ops::Range;

use linux_loader::bootparam::{boot_e820_entry, boot_params};
use vm_memory::{ByteValued, GuestMemoryMmap};

use super::bzimage::{BzImage, SETUP_HEADER};
use super::elf::{Class, ElfImage};
use super::memory_map::MapEntry;
use super::placement::Placer;
use super::unpack::{unpack, PayloadFormat};
use super::{Boot, Entry, ImageError, ImageKind, Mode, Payload};
use crate::layout;

/// "Undefined" in the list of boot loader ids.
const LOADER_TYPE: u8 = 0xff;
/// "VGA mode: normal": the kernel keeps what it finds, which is no display.
const VIDEO_NORMAL: u16 = 0xffff;
/// The longest command line of an x86 kernel that does not say (`COMMAND_LINE_SIZE` - 1).
const VMLINUX_CMDLINE_MAX: u64 = 2047;
/// The highest address of an initramfs for a kernel that does not say.
const VMLINUX_INITRD_MAX: u64 = 0x7fff_ffff;
/// Offset of the 64-bit entry point of a bzImage's protected-mode part.
const ENTRY_64: u64 = 0x200;

/// What the setup header of a bzImage says, or what holds for a bare vmlinux.
struct Limits<'a> {
    setup_header: Option<&'a [u8]>,
    cmdline_max: u64,
    initrd_max: u64,
}

/// Loads a bzImage: unpacked if the host knows how, otherwise with its own decompressor.
pub(super) fn place_bzimage(
    image: &BzImage<'_>,
    mem: &GuestMemoryMmap,
    payload: &Payload,
) -> Result<Boot, ImageError> {
    let placer = boot_structures(mem)?;
    let limits = Limits {
        setup_header: Some(image.setup_header),
        cmdline_max: image.cmdline_max,
        initrd_max: image.initrd_max,
    };
    let packed = image.payload.unwrap_or(&[]);
    let unpacked = unpack(packed, ram_size(placer.map()))?;
    let elf = unpacked.as_deref().map(ElfImage::parse).transpose()?;
    let boot = match &elf {
        Some(elf) if elf.class == Class::Elf64 => {
            let boot = place_elf(elf, placer, &limits, payload)?;
            Boot { unpacked: Some(PayloadFormat::of(packed)), ..boot }
        }
        _ => place_decompressor(image, placer, &limits, payload)?,
    };
    Ok(Boot { kind: ImageKind::BzImage, ..boot })
}

/// Loads a 64-bit vmlinux for the 64-bit boot protocol.
pub(super) fn place_vmlinux(
    elf: &ElfImage<'_>,
    mem: &GuestMemoryMmap,
    payload: &Payload,
) -> Result<Boot, ImageError> {
    let limits = Limits {
        setup_header: None,
        cmdline_max: VMLINUX_CMDLINE_MAX,
        initrd_max: VMLINUX_INITRD_MAX,
    };
    place_elf(elf, boot_structures(mem)?, &limits, payload)
}

fn boot_structures(mem: &GuestMemoryMmap) -> Result<Placer<'_>, ImageError> {
    let mut placer = Placer::new(mem)?;
    placer.reserve(
        layout::GDT,
        layout::PAGE_TABLES_END - layout::GDT,
        "the zero page and the boot descriptors",
    )?;
    placer.reserve(layout::CMDLINE, layout::CMDLINE_SIZE, "the command line")?;
    Ok(placer)
}

fn ram_size(map: &[MapEntry]) -> u64 {
    map.iter().map(|entry| entry.size).sum()
}

fn place_elf(
    elf: &ElfImage<'_>,
    mut placer: Placer<'_>,
    limits: &Limits<'_>,
    payload: &Payload,
) -> Result<Boot, ImageError> {
    let entry = elf.physical_entry();
    let kernel = placer.segments(&elf.segments)?;
    if !elf.segments.iter().any(|s| entry.wrapping_sub(s.address) < s.size) {
        return Err(ImageError::Malformed(format!("entry point {entry:#x} is in no segment")));
    }
    finish(placer, limits, payload, kernel, Mode::Long64, entry)
}

/// Loads the protected-mode part as it is: the kernel unpacks itself.
fn place_decompressor(
    image: &BzImage<'_>,
    mut placer: Placer<'_>,
    limits: &Limits<'_>,
    payload: &Payload,
) -> Result<Boot, ImageError> {
    let (load, code) = (layout::HIGH_MEMORY, image.protected_mode);
    // It unpacks to its preferred address or, if loaded above that, to the next aligned one, and
    // uses `init_size` bytes from there on.
    let aligned = load.checked_next_multiple_of(image.alignment.max(1)).unwrap_or(u64::MAX);
    let output = match image.relocatable {
        true => aligned.max(image.preferred_address),
        false => image.preferred_address,
    };
    let end = (load + code.len() as u64).max(output.saturating_add(image.init_size));
    let kernel = placer.reserve(load, end - load, "the kernel with its decompressor")?;
    placer.write(load, code)?;
    let (mode, entry) = match image.has_64bit_entry {
        true => (Mode::Long64, load + ENTRY_64),
        false => (Mode::Protected32, load),
    };
    finish(placer, limits, payload, kernel, mode, entry)
}

/// Writes what both ways have in common: initramfs, command line, zero page.
fn finish(
    mut placer: Placer<'_>,
    limits: &Limits<'_>,
    payload: &Payload,
    kernel: Range<u64>,
    mode: Mode,
    rip: u64,
) -> Result<Boot, ImageError> {
    let max = limits.cmdline_max.min(layout::CMDLINE_SIZE - 1);
    payload.check_cmdline(max)?;
    placer.write_c_string(layout::CMDLINE, payload.cmdline)?;
    let initramfs = match payload.initramfs {
        Some(module) => {
            let end = limits.initrd_max.saturating_add(1).min(layout::MMIO_HOLE);
            Some(placer.place_high(module.bytes, layout::HIGH_MEMORY..end, "the initramfs")?)
        }
        None => None,
    };
    let params = zero_page(limits.setup_header, placer.map(), payload, initramfs.as_ref())?;
    placer.write(layout::ZERO_PAGE, params.as_slice())?;
    Ok(Boot {
        kind: ImageKind::Vmlinux,
        entry: Entry { mode, rip, rsi: layout::ZERO_PAGE, ..Entry::default() },
        kernel,
        initramfs,
        unpacked: None,
    })
}

fn zero_page(
    setup_header: Option<&[u8]>,
    map: &[MapEntry],
    payload: &Payload,
    initramfs: Option<&Range<u64>>,
) -> Result<boot_params, ImageError> {
    let mut params = boot_params::default();
    match setup_header {
        Some(header) => {
            let start = SETUP_HEADER as usize;
            params.as_mut_slice()[start..start + header.len()].copy_from_slice(header);
        }
        None => {
            params.hdr.boot_flag = 0xaa55;
            params.hdr.header = u32::from_le_bytes(*b"HdrS");
            params.hdr.version = 0x20c;
            params.hdr.kernel_alignment = 0x100_0000;
        }
    }
    params.hdr.type_of_loader = LOADER_TYPE;
    params.hdr.vid_mode = VIDEO_NORMAL;
    params.hdr.cmd_line_ptr = layout::CMDLINE as u32;
    if let Some(range) = initramfs {
        params.hdr.ramdisk_image = range.start as u32;
        params.hdr.ramdisk_size = (range.end - range.start) as u32;
    }
    params.acpi_rsdp_addr = payload.rsdp.unwrap_or(0);
    if map.len() > params.e820_table.len() {
        return Err(ImageError::MemoryMap("more than 128 separate regions"));
    }
    // At most 128, checked above.
    params.e820_entries = map.len() as u8;
    for (slot, entry) in params.e820_table.iter_mut().zip(map) {
        *slot = boot_e820_entry { addr: entry.start, size: entry.size, r#type: entry.kind as u32 };
    }
    Ok(params)
}
