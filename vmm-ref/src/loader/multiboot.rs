// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Multiboot 1 kernels: the header, and the information block that they are handed.
//!
//! Follows the *Multiboot Specification version 0.6.96*, "OS image format", "Machine state" and
//! "Boot information format".

use vm_memory::GuestMemoryMmap;

use super::bytes::u32_at;
use super::elf::{Class, ElfImage, Segment};
use super::memory_map::{MapEntry, MapKind};
use super::placement::Placer;
use super::{Boot, Entry, ImageError, ImageKind, Mode, Payload};
use crate::layout;

const MAGIC: u32 = 0x1bad_b002;
/// What EAX holds at the entry point.
const BOOTLOADER_MAGIC: u64 = 0x2bad_b002;
/// The header lies in this many bytes from the start of the file.
const SEARCH: usize = 8192;
/// Requirements that this loader meets: page-aligned modules, memory information, video mode
/// (a wish that a machine without display leaves unanswered, as QEMU does).
const UNDERSTOOD: u32 = 0x7;
/// Flags 0..=15 are requirements: an unknown one must be refused.
const REQUIREMENTS: u32 = 0xffff;
const HAS_ADDRESSES: u32 = 1 << 16;

/// A Multiboot kernel: where its pieces go and where it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multiboot<'a> {
    /// What to load.
    pub segments: Vec<Segment<'a>>,
    /// Physical entry point, 32-bit protected mode.
    pub entry: u32,
}

/// The header's fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// Offset in the file.
    offset: u64,
    flags: u32,
    /// header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr: the a.out kludge.
    addresses: Option<[u32; 5]>,
}

/// Searches the start of the file for a Multiboot header with a right checksum.
pub(super) fn find_header(bytes: &[u8]) -> Option<Header> {
    let area = &bytes[..bytes.len().min(SEARCH)];
    (0..area.len() as u64).step_by(4).find_map(|offset| header_at(area, offset))
}

fn header_at(area: &[u8], offset: u64) -> Option<Header> {
    let field = |index: u64| u32_at(area, offset + 4 * index);
    let (magic, flags, checksum) = (field(0)?, field(1)?, field(2)?);
    if magic != MAGIC || magic.wrapping_add(flags).wrapping_add(checksum) != 0 {
        return None;
    }
    let addresses = match flags & HAS_ADDRESSES {
        0 => None,
        _ => Some([field(3)?, field(4)?, field(5)?, field(6)?, field(7)?]),
    };
    Some(Header { offset, flags, addresses })
}

impl Header {
    /// Whether this loader can start the ELF file through Multiboot.
    pub(super) fn fits(&self, elf: &ElfImage<'_>) -> bool {
        self.addresses.is_some() || elf.class == Class::Elf32
    }
}

impl<'a> Multiboot<'a> {
    /// Parses a file that has a Multiboot header, with its ELF headers if it is an ELF file.
    pub(super) fn parse(
        bytes: &'a [u8],
        header: &Header,
        elf: Option<ElfImage<'a>>,
    ) -> Result<Self, ImageError> {
        let unknown = header.flags & REQUIREMENTS & !UNDERSTOOD;
        if unknown != 0 {
            return Err(ImageError::Unsupported(format!(
                "a Multiboot kernel that requires flags {unknown:#x}"
            )));
        }
        match (header.addresses, elf) {
            (Some(addresses), _) => from_addresses(bytes, header.offset, addresses),
            (None, Some(elf)) => from_elf(elf),
            (None, None) => Err(ImageError::Unsupported(
                "a Multiboot kernel that is no ELF file and gives no load addresses".into(),
            )),
        }
    }
}

fn from_elf(elf: ElfImage<'_>) -> Result<Multiboot<'_>, ImageError> {
    if elf.class == Class::Elf64 {
        return Err(ImageError::Unsupported(
            "a Multiboot kernel in a 64-bit ELF file (Multiboot enters in 32-bit mode; \
             convert it with objcopy -O elf32-i386)"
                .into(),
        ));
    }
    let entry = elf.physical_entry();
    match u32::try_from(entry) {
        Ok(entry) => Ok(Multiboot { segments: elf.segments, entry }),
        Err(_) => Err(ImageError::Malformed(format!("entry point {entry:#x} is beyond 4 GiB"))),
    }
}

/// "The address fields of Multiboot header", section 3.1.3.
fn from_addresses(
    bytes: &[u8],
    offset: u64,
    [header_addr, load, load_end, bss_end, entry]: [u32; 5],
) -> Result<Multiboot<'_>, ImageError> {
    let malformed = |why: &str| ImageError::Malformed(format!("Multiboot addresses: {why}"));
    let before = header_addr
        .checked_sub(load)
        .ok_or_else(|| malformed("the header's address is below the load address"))?;
    let start = offset
        .checked_sub(before.into())
        .ok_or_else(|| malformed("the load address lies before the start of the file"))?;
    let available = bytes.len() as u64 - start;
    let len = match load_end {
        // "If this field is zero, the boot loader assumes that the text and data segments occupy
        // the whole OS image file."
        0 => available,
        end => u64::from(
            end.checked_sub(load)
                .ok_or_else(|| malformed("the load end is below the load address"))?,
        ),
    };
    let size = match bss_end {
        0 => len,
        end => u64::from(end.saturating_sub(load)),
    };
    if size < len {
        return Err(malformed("the end of bss is below the load end"));
    }
    let data = super::bytes::part(bytes, start, len, "the Multiboot image")?;
    let address = u64::from(load);
    let segment = Segment { address, virtual_address: address, bytes: data, size };
    Ok(Multiboot { segments: vec![segment], entry })
}

impl Multiboot<'_> {
    /// Loads the kernel, its module and the information block.
    pub(super) fn place(
        &self,
        mem: &GuestMemoryMmap,
        payload: &Payload,
    ) -> Result<Boot, ImageError> {
        let mut placer = Placer::new(mem)?;
        placer.reserve(layout::GDT, layout::START_INFO - layout::GDT, "the boot descriptors")?;
        placer.reserve(
            layout::START_INFO,
            layout::ZERO_PAGE - layout::START_INFO,
            "boot information",
        )?;
        placer.reserve(layout::CMDLINE, layout::CMDLINE_SIZE, "the command line")?;
        let kernel = placer.segments(&self.segments)?;
        // Modules follow the kernel, page-aligned, as QEMU and GRUB place them: some kernels take
        // all that lies above for their heap, but only after they have read the module.
        let initramfs = match payload.initramfs {
            Some(module) => Some(placer.place_above(kernel.end, module.bytes, "the initramfs")?),
            None => None,
        };
        let strings = Strings::write(&mut placer, payload)?;
        let module = initramfs.as_ref().map(|range| (range.start as u32, range.end as u32));
        let block = information(placer.map(), &strings, module)?;
        placer.write(layout::START_INFO, &block)?;
        Ok(Boot {
            kind: ImageKind::Multiboot,
            entry: Entry {
                mode: Mode::Protected32,
                rip: self.entry.into(),
                rax: BOOTLOADER_MAGIC,
                rbx: layout::START_INFO,
                ..Entry::default()
            },
            kernel,
            initramfs,
            unpacked: None,
        })
    }
}

/// Guest-physical addresses of the strings.
struct Strings {
    cmdline: u32,
    module: u32,
    loader: u32,
}

impl Strings {
    fn write(placer: &mut Placer<'_>, payload: &Payload) -> Result<Self, ImageError> {
        // The first word is the kernel's file name: argv[0] to those that parse it so.
        let cmdline = format!("{} {}", payload.kernel_name, payload.cmdline);
        let module = payload.initramfs.map_or("", |module| module.name);
        let (loader, room) = ("vmm-ref", layout::CMDLINE_SIZE);
        let needed = (cmdline.len() + module.len() + loader.len() + 3) as u64;
        if needed > room {
            let max = room.saturating_sub(needed - cmdline.len() as u64);
            return Err(ImageError::CmdlineTooLong { len: cmdline.len() as u64, max });
        }
        let mut at = layout::CMDLINE;
        let mut put = |text: &str| -> Result<u32, ImageError> {
            let here = at;
            at = placer.write_c_string(here, text)?;
            Ok(here as u32)
        };
        Ok(Strings { cmdline: put(&cmdline)?, module: put(module)?, loader: put(loader)? })
    }
}

/// Offsets within the block: the structure's own 120 bytes, then the module list, then the map.
const MODULES: usize = 120;
const MODULE_SIZE: usize = 16;
const MAP: usize = MODULES + MODULE_SIZE;
const FLAG_MEMORY: u32 = 1 << 0;
const FLAG_CMDLINE: u32 = 1 << 2;
const FLAG_MODULES: u32 = 1 << 3;
const FLAG_MAP: u32 = 1 << 6;
const FLAG_LOADER: u32 = 1 << 9;

fn information(
    map: &[MapEntry],
    strings: &Strings,
    module: Option<(u32, u32)>,
) -> Result<Vec<u8>, ImageError> {
    let mut block = vec![0; MAP];
    let mut put = |offset: usize, value: u32| {
        block[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    };
    let at = |offset: usize| layout::START_INFO as u32 + offset as u32;
    let (lower, upper) = kilobytes(map);
    put(0, FLAG_MEMORY | FLAG_CMDLINE | FLAG_MODULES | FLAG_MAP | FLAG_LOADER);
    put(4, lower);
    put(8, upper);
    put(16, strings.cmdline);
    if let Some((start, end)) = module {
        put(20, 1);
        put(MODULES, start);
        put(MODULES + 4, end);
        put(MODULES + 8, strings.module);
    }
    put(24, at(MODULES));
    put(44, (map.len() * 24) as u32);
    put(48, at(MAP));
    put(64, strings.loader);
    for entry in map {
        // "size" is that of the rest of the entry.
        block.extend_from_slice(&20u32.to_le_bytes());
        block.extend_from_slice(&entry.start.to_le_bytes());
        block.extend_from_slice(&entry.size.to_le_bytes());
        block.extend_from_slice(&(entry.kind as u32).to_le_bytes());
    }
    match block.len() as u64 <= layout::ZERO_PAGE - layout::START_INFO {
        true => Ok(block),
        false => Err(ImageError::MemoryMap("too many separate regions for Multiboot")),
    }
}

/// `mem_lower` and `mem_upper`: KiB from 0 and from 1 MiB up to the first hole.
fn kilobytes(map: &[MapEntry]) -> (u32, u32) {
    let kib = |start: u64| {
        let ram = |e: &&MapEntry| e.start == start && e.kind == MapKind::Ram;
        map.iter().find(ram).map_or(0, |e| u32::try_from(e.size / 1024).unwrap_or(u32::MAX))
    };
    (kib(0), kib(layout::HIGH_MEMORY))
}
