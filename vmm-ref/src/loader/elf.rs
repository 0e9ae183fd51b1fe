// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! ELF executables, 32- and 64-bit x86, and the PVH entry note.
//!
//! Follows the *System V ABI*, chapters "Object Files" and "Program Loading", and for the note
//! Xen's `public/elfnote.h`, `XEN_ELFNOTE_PHYS32_ENTRY`.

use super::bytes::{part, slice, u16_at, u32_at, u64_at};
use super::ImageError;

const MAGIC: &[u8] = b"\x7fELF";
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const EM_386: u16 = 3;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PHYS32_ENTRY: u32 = 18;
/// More program headers than any kernel has; bounds the work on a hostile file.
const MAX_SEGMENTS: u16 = 256;

/// Whether the file says that it is an ELF file.
pub(super) fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// An ELF file's class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 32-bit addresses, for the i386.
    Elf32,
    /// 64-bit addresses, for x86-64.
    Elf64,
}

/// A piece of the file and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Guest-physical address.
    pub address: u64,
    /// Virtual address it was linked for.
    pub virtual_address: u64,
    /// Its bytes; the rest, up to `size`, is zero.
    pub bytes: &'a [u8],
    /// Size in memory, in bytes, at least `bytes.len()`.
    pub size: u64,
}

/// A parsed executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElfImage<'a> {
    /// 32 or 64 bits.
    pub class: Class,
    /// `e_entry` as the file has it.
    pub entry: u64,
    /// What to load, in file order; never empty, none is of size 0.
    pub segments: Vec<Segment<'a>>,
    /// The 32-bit physical entry point of the PVH note.
    pub pvh_entry: Option<u32>,
}

impl<'a> ElfImage<'a> {
    /// Reads the headers and checks that every segment's bytes are in the file.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let class = class(bytes)?;
        let header = Header::read(bytes, class)?;
        let mut image =
            ElfImage { class, entry: header.entry, segments: Vec::new(), pvh_entry: None };
        for index in 0..u64::from(header.count) {
            image.add(bytes, &ProgramHeader::read(bytes, class, &header, index)?)?;
        }
        if image.segments.is_empty() {
            return Err(ImageError::Malformed("an ELF file without loadable segments".into()));
        }
        Ok(image)
    }

    fn add(&mut self, bytes: &'a [u8], header: &ProgramHeader) -> Result<(), ImageError> {
        match header.kind {
            PT_LOAD if header.memory_size != 0 || header.file_size != 0 => {
                let data = part(bytes, header.offset, header.file_size, "an ELF segment")?;
                let (start, size) = (header.physical, header.memory_size);
                if size < header.file_size || start.checked_add(size).is_none() {
                    return Err(ImageError::Malformed(format!(
                        "ELF segment at {start:#x} with {} bytes in the file and {size} in memory",
                        header.file_size
                    )));
                }
                let virtual_address = header.virtual_address;
                self.segments.push(Segment { address: start, virtual_address, bytes: data, size });
            }
            PT_NOTE if self.pvh_entry.is_none() => {
                let notes = part(bytes, header.offset, header.file_size, "an ELF note segment")?;
                self.pvh_entry = pvh_entry(notes)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The entry point as a physical address: an entry inside a segment's virtual range moves
    /// with that segment, anything else is physical already.
    pub fn physical_entry(&self) -> u64 {
        let inside = |s: &&Segment<'_>| self.entry.wrapping_sub(s.virtual_address) < s.size;
        match self.segments.iter().find(inside) {
            Some(s) => s.address.wrapping_add(self.entry.wrapping_sub(s.virtual_address)),
            None => self.entry,
        }
    }

    /// The address after the last segment.
    pub fn end(&self) -> u64 {
        self.segments.iter().map(|s| s.address.saturating_add(s.size)).max().unwrap_or(0)
    }
}

fn class(bytes: &[u8]) -> Result<Class, ImageError> {
    let ident = part(bytes, 0, 20, "the ELF header")?;
    let unsupported = |why: String| Err(ImageError::Unsupported(why));
    let class = match ident[4] {
        1 => Class::Elf32,
        2 => Class::Elf64,
        other => return unsupported(format!("ELF class {other}")),
    };
    if ident[5] != 1 {
        return unsupported("a big-endian ELF file".into());
    }
    let kind = u16_at(ident, 16).unwrap_or(0);
    if kind != ET_EXEC && kind != ET_DYN {
        return unsupported(format!("an ELF file of type {kind}: not an executable"));
    }
    match (class, u16_at(ident, 18).unwrap_or(0)) {
        (Class::Elf32, EM_386) | (Class::Elf64, EM_X86_64) => Ok(class),
        // Bare-metal images are often linked for x86-64 and copied into a 32-bit ELF file.
        (Class::Elf32, EM_X86_64) => Ok(class),
        (_, machine) => unsupported(format!("an ELF file for another machine ({machine})")),
    }
}

struct Header {
    entry: u64,
    table: u64,
    entry_size: u16,
    count: u16,
}

impl Header {
    fn read(bytes: &[u8], class: Class) -> Result<Self, ImageError> {
        let size = if class == Class::Elf64 { 64 } else { 52 };
        let h = part(bytes, 0, size, "the ELF header")?;
        let header = match class {
            Class::Elf64 => (u64_at(h, 24), u64_at(h, 32), u16_at(h, 54), u16_at(h, 56)),
            Class::Elf32 => {
                (wide(u32_at(h, 24)), wide(u32_at(h, 28)), u16_at(h, 42), u16_at(h, 44))
            }
        };
        let (Some(entry), Some(table), Some(entry_size), Some(count)) = header else {
            return Err(ImageError::Malformed("the ELF header".into()));
        };
        if count > MAX_SEGMENTS {
            return Err(ImageError::Unsupported(format!("an ELF file with {count} segments")));
        }
        if count != 0 && u64::from(entry_size) < program_header_size(class) {
            return Err(ImageError::Malformed(format!(
                "ELF program headers of {entry_size} bytes"
            )));
        }
        Ok(Header { entry, table, entry_size, count })
    }
}

struct ProgramHeader {
    kind: u32,
    offset: u64,
    virtual_address: u64,
    physical: u64,
    file_size: u64,
    memory_size: u64,
}

impl ProgramHeader {
    fn read(bytes: &[u8], class: Class, header: &Header, index: u64) -> Result<Self, ImageError> {
        let offset = header.table.saturating_add(index * u64::from(header.entry_size));
        let h = part(bytes, offset, program_header_size(class), "the ELF program header table")?;
        let fields = match class {
            Class::Elf64 => [8, 16, 24, 32, 40].map(|at| u64_at(h, at)),
            Class::Elf32 => [4, 8, 12, 16, 20].map(|at| wide(u32_at(h, at))),
        };
        match (u32_at(h, 0), fields) {
            (Some(kind), [Some(offset), Some(v), Some(p), Some(file_size), Some(memory_size)]) => {
                Ok(Self { kind, offset, virtual_address: v, physical: p, file_size, memory_size })
            }
            _ => Err(ImageError::Malformed("an ELF program header".into())),
        }
    }
}

fn program_header_size(class: Class) -> u64 {
    match class {
        Class::Elf64 => 56,
        Class::Elf32 => 32,
    }
}

fn wide(value: Option<u32>) -> Option<u64> {
    value.map(u64::from)
}

/// Finds the PVH entry among ELF notes. A note that runs past the end ends the search: other
/// notes are none of our business.
fn pvh_entry(notes: &[u8]) -> Result<Option<u32>, ImageError> {
    let mut rest = notes;
    while let Some((name, kind, descriptor, next)) = note(rest) {
        if name == b"Xen\0" && kind == PHYS32_ENTRY {
            // A 64-bit kernel may give 8 bytes; the entry is below 4 GiB all the same.
            let entry = match descriptor.len() {
                8 => u64_at(descriptor, 0),
                _ => wide(u32_at(descriptor, 0)),
            };
            return match entry.map(u32::try_from) {
                Some(Ok(entry)) => Ok(Some(entry)),
                _ => Err(ImageError::Malformed("the PVH note has no 32-bit address".into())),
            };
        }
        rest = next;
    }
    Ok(None)
}

type Note<'a> = (&'a [u8], u32, &'a [u8], &'a [u8]);

fn note(bytes: &[u8]) -> Option<Note<'_>> {
    let (name_len, descriptor_len) = (u64::from(u32_at(bytes, 0)?), u64::from(u32_at(bytes, 4)?));
    let kind = u32_at(bytes, 8)?;
    let name = slice(bytes, 12, name_len)?;
    let descriptor_at = 12 + name_len.next_multiple_of(4);
    let descriptor = slice(bytes, descriptor_at, descriptor_len)?;
    let next = usize::try_from(descriptor_at + descriptor_len.next_multiple_of(4)).ok()?;
    // The last note may lack its padding.
    Some((name, kind, descriptor, bytes.get(next..).unwrap_or(&[])))
}
