// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! PVH kernels: `hvm_start_info` and the 32-bit entry point of the ELF note.
//!
//! Follows Xen's `docs/misc/pvh.pandoc`, "x86/HVM direct boot ABI", and
//! `public/arch-x86/hvm/start_info.h`.

use linux_loader::loader::start_info::{hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info};
use vm_memory::{ByteValued, GuestMemoryMmap};

use super::elf::ElfImage;
use super::placement::Placer;
use super::{Boot, Entry, ImageError, ImageKind, Mode, Payload};
use crate::layout;

/// `XEN_HVM_START_MAGIC_VALUE`: "xEn3" with the high bit of the E set.
const MAGIC: u32 = 0x336e_c578;
/// The first version that carries a memory map.
const VERSION: u32 = 1;
const INFO_SIZE: u64 = size_of::<hvm_start_info>() as u64;
const MODULE_SIZE: u64 = size_of::<hvm_modlist_entry>() as u64;

/// Loads an ELF kernel that has a PVH entry point.
pub(super) fn place(
    elf: &ElfImage<'_>,
    entry: u32,
    mem: &GuestMemoryMmap,
    payload: &Payload,
) -> Result<Boot, ImageError> {
    let mut placer = Placer::new(mem)?;
    placer.reserve(layout::GDT, layout::ZERO_PAGE - layout::GDT, "the start info")?;
    placer.reserve(layout::CMDLINE, layout::CMDLINE_SIZE, "the command line")?;
    let kernel = placer.segments(&elf.segments)?;
    payload.check_cmdline(layout::CMDLINE_SIZE - 1)?;
    placer.write_c_string(layout::CMDLINE, payload.cmdline)?;
    let initramfs = match payload.initramfs {
        Some(module) => {
            let within = layout::HIGH_MEMORY..layout::MMIO_HOLE;
            Some(placer.place_high(module.bytes, within, "the initramfs")?)
        }
        None => None,
    };
    let module = initramfs.as_ref().map(|range| hvm_modlist_entry {
        paddr: range.start,
        size: range.end - range.start,
        ..Default::default()
    });
    write_start_info(&placer, module, payload.rsdp)?;
    Ok(Boot {
        kind: ImageKind::Pvh,
        entry: Entry {
            mode: Mode::Protected32,
            rip: entry.into(),
            rbx: layout::START_INFO,
            ..Entry::default()
        },
        kernel,
        initramfs,
        unpacked: None,
    })
}

/// Writes the start info, then the module list, then the memory map, into the same page.
fn write_start_info(
    placer: &Placer<'_>,
    module: Option<hvm_modlist_entry>,
    rsdp: Option<u64>,
) -> Result<(), ImageError> {
    let modules = layout::START_INFO + INFO_SIZE;
    let memory_map = modules + MODULE_SIZE;
    let map = placer.map();
    let info = hvm_start_info {
        magic: MAGIC,
        version: VERSION,
        nr_modules: module.is_some().into(),
        modlist_paddr: if module.is_some() { modules } else { 0 },
        cmdline_paddr: layout::CMDLINE,
        rsdp_paddr: rsdp.unwrap_or(0),
        memmap_paddr: memory_map,
        memmap_entries: map.len() as u32,
        ..Default::default()
    };
    let mut bytes = info.as_slice().to_vec();
    bytes.extend_from_slice(module.unwrap_or_default().as_slice());
    for entry in map {
        let entry = hvm_memmap_table_entry {
            addr: entry.start,
            size: entry.size,
            type_: entry.kind as u32,
            ..Default::default()
        };
        bytes.extend_from_slice(entry.as_slice());
    }
    if bytes.len() as u64 > layout::ZERO_PAGE - layout::START_INFO {
        return Err(ImageError::MemoryMap("too many separate regions for PVH"));
    }
    placer.write(layout::START_INFO, &bytes)
}
