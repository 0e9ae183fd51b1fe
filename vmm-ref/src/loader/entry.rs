// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How the boot CPU starts, as plain data for any backend.
//!
//! Segment attributes follow the Intel SDM, volume 3A, "Segment Descriptors"; which ones each
//! protocol wants is in Linux's `boot.rst` ("32-bit" and "64-bit Boot Protocol"), Xen's
//! `pvh.pandoc` and the Multiboot specification's "Machine state".

use vm_memory::{Bytes, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use crate::layout;

/// The CPU mode of an entry point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// 64-bit mode, the low 4 GiB mapped one to one.
    #[default]
    Long64,
    /// 32-bit protected mode with flat segments, paging off.
    Protected32,
}

/// The boot CPU's first instruction and what the protocol puts into registers. Everything else is
/// 0, interrupts are off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// CPU mode.
    pub mode: Mode,
    /// Guest-physical address of the first instruction.
    pub rip: u64,
    /// RAX: the Multiboot loader's magic number.
    pub rax: u64,
    /// RBX: PVH's start info or Multiboot's information block.
    pub rbx: u64,
    /// RSI: Linux's zero page.
    pub rsi: u64,
}

/// General registers at entry; all others are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// First instruction.
    pub rip: u64,
    /// Stack pointer: no protocol promises one, all of this VMM's entries have it.
    pub rsp: u64,
    /// Flags: bit 1 is always set.
    pub rflags: u64,
    /// See [`Entry::rax`].
    pub rax: u64,
    /// See [`Entry::rbx`].
    pub rbx: u64,
    /// See [`Entry::rsi`].
    pub rsi: u64,
}

/// A segment register with its hidden part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Linear base address.
    pub base: u64,
    /// Limit in bytes, granularity already applied.
    pub limit: u32,
    /// Visible part.
    pub selector: u16,
    /// Descriptor type, 4 bits.
    pub type_: u8,
    /// Present.
    pub present: bool,
    /// Privilege level, 0..=3.
    pub dpl: u8,
    /// Default operation size: 32 bits.
    pub db: bool,
    /// Code or data segment (not a system one).
    pub s: bool,
    /// 64-bit code.
    pub l: bool,
    /// The descriptor's limit counts 4 KiB pages.
    pub g: bool,
}

/// A descriptor table register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Linear base address.
    pub base: u64,
    /// Offset of the last byte.
    pub limit: u16,
}

/// Control registers and segments at entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemRegisters {
    /// CR0: PE, ET; with paging for 64-bit entries.
    pub cr0: u64,
    /// CR3: the page tables, or 0.
    pub cr3: u64,
    /// CR4: PAE for 64-bit entries.
    pub cr4: u64,
    /// IA32_EFER: LME and LMA for 64-bit entries.
    pub efer: u64,
    /// Code segment.
    pub cs: Segment,
    /// DS, ES, FS, GS and SS.
    pub data: Segment,
    /// Task register: a busy TSS that nothing uses, since VMX demands one.
    pub tr: Segment,
    /// Global descriptor table, which loading writes to guest memory.
    pub gdt: Table,
    /// Interrupt descriptor table: empty.
    pub idt: Table,
}

const CR0_PE: u64 = 1 << 0;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// Linux's `__BOOT_CS`, `__BOOT_DS` and `__BOOT_TSS`.
const SELECTOR_CODE: u16 = 0x10;
const SELECTOR_DATA: u16 = 0x18;
const SELECTOR_TSS: u16 = 0x20;
const TYPE_CODE: u8 = 0xb;
const TYPE_DATA: u8 = 0x3;
const TYPE_BUSY_TSS: u8 = 0xb;
/// Null, unused, code, data, TSS (two slots in 64-bit mode).
const GDT_ENTRIES: usize = 6;
const RFLAGS_FIXED: u64 = 1 << 1;

impl Entry {
    /// General registers.
    pub fn registers(&self) -> Registers {
        Registers {
            rip: self.rip,
            rsp: layout::BOOT_STACK_TOP,
            rflags: RFLAGS_FIXED,
            rax: self.rax,
            rbx: self.rbx,
            rsi: self.rsi,
        }
    }

    /// Control registers and segments.
    pub fn system_registers(&self) -> SystemRegisters {
        let long = self.mode == Mode::Long64;
        let paged = |value| if long { value } else { 0 };
        SystemRegisters {
            cr0: CR0_PE | CR0_ET | paged(CR0_PG),
            cr3: paged(layout::PAGE_TABLES),
            cr4: paged(CR4_PAE),
            efer: paged(EFER_LME | EFER_LMA),
            cs: Segment { l: long, db: !long, ..Segment::flat(SELECTOR_CODE, TYPE_CODE) },
            data: Segment::flat(SELECTOR_DATA, TYPE_DATA),
            tr: Segment::task(),
            gdt: Table { base: layout::GDT, limit: (GDT_ENTRIES * 8 - 1) as u16 },
            idt: Table { base: layout::IDT, limit: 0 },
        }
    }
}

impl Segment {
    fn flat(selector: u16, type_: u8) -> Self {
        Segment {
            base: 0,
            limit: u32::MAX,
            selector,
            type_,
            present: true,
            dpl: 0,
            db: true,
            s: true,
            l: false,
            g: true,
        }
    }

    fn task() -> Self {
        Segment {
            limit: 0x67,
            db: false,
            s: false,
            g: false,
            ..Segment::flat(SELECTOR_TSS, TYPE_BUSY_TSS)
        }
    }

    /// The 8 bytes of this segment's descriptor (base below 4 GiB).
    pub fn descriptor(&self) -> u64 {
        let limit = u64::from(if self.g { self.limit >> 12 } else { self.limit });
        let bit = |set: bool, at: u32| u64::from(set) << at;
        (limit & 0xffff)
            | (self.base & 0xff_ffff) << 16
            | u64::from(self.type_ & 0xf) << 40
            | bit(self.s, 44)
            | u64::from(self.dpl & 3) << 45
            | bit(self.present, 47)
            | (limit >> 16 & 0xf) << 48
            | bit(self.l, 53)
            | bit(self.db, 54)
            | bit(self.g, 55)
            | (self.base >> 24 & 0xff) << 56
    }
}

/// Writes the boot CPU's descriptor table and, for a 64-bit entry, its page tables.
pub(super) fn write_boot_cpu(mem: &GuestMemoryMmap, entry: &Entry) -> Result<(), GuestMemoryError> {
    let system = entry.system_registers();
    let task = system.tr.descriptor();
    let gdt = [0, 0, system.cs.descriptor(), system.data.descriptor(), task, 0];
    for (index, descriptor) in gdt.iter().enumerate() {
        mem.write_obj(*descriptor, GuestAddress(layout::GDT + 8 * index as u64))?;
    }
    // The limit of an empty IDT still covers one byte: make it a known one.
    mem.write_obj(0u64, GuestAddress(layout::IDT))?;
    match entry.mode {
        Mode::Long64 => write_page_tables(mem),
        Mode::Protected32 => Ok(()),
    }
}

const PAGE: u64 = 0x1000;
const PRESENT_WRITABLE: u64 = 0x3;
const LARGE: u64 = 1 << 7;
const DIRECTORIES: u64 = 4;

/// Maps the low 4 GiB one to one with 2 MiB pages (SDM volume 3A, "4-Level Paging").
fn write_page_tables(mem: &GuestMemoryMmap) -> Result<(), GuestMemoryError> {
    let (pml4, pdpt) = (layout::PAGE_TABLES, layout::PAGE_TABLES + PAGE);
    let directory = |n: u64| pdpt + PAGE + n * PAGE;
    write_table(mem, pml4, |index| if index == 0 { pdpt | PRESENT_WRITABLE } else { 0 })?;
    write_table(mem, pdpt, |index| {
        if index < DIRECTORIES {
            directory(index) | PRESENT_WRITABLE
        } else {
            0
        }
    })?;
    for n in 0..DIRECTORIES {
        let frame = |index| (n * 512 + index) << 21;
        write_table(mem, directory(n), |index| frame(index) | LARGE | PRESENT_WRITABLE)?;
    }
    Ok(())
}

fn write_table(
    mem: &GuestMemoryMmap,
    at: u64,
    entry: impl Fn(u64) -> u64,
) -> Result<(), GuestMemoryError> {
    let table: Vec<u8> = (0..512).flat_map(|index| entry(index).to_le_bytes()).collect();
    mem.write_slice(&table, GuestAddress(at))
}
