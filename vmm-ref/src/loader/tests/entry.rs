// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The boot CPU's registers, descriptors and page tables.

use super::images::{elf32, multiboot_header, vmlinux, Part};
use super::{load, memory, u64_in, MIB};
use crate::layout;
use crate::loader::{Entry, Mode};

#[test]
fn a_64_bit_entry_has_paging_and_a_64_bit_code_segment() {
    let entry = Entry { rip: 0x100_0000, rsi: layout::ZERO_PAGE, ..Entry::default() };
    let (regs, system) = (entry.registers(), entry.system_registers());
    assert_eq!((regs.rip, regs.rsi, regs.rflags), (0x100_0000, layout::ZERO_PAGE, 2));
    assert_eq!((system.cr0, system.cr4, system.efer), (0x8000_0011, 0x20, 0x500));
    assert_eq!(system.cr3, layout::PAGE_TABLES);
    assert!(system.cs.l && !system.cs.db);
    assert_eq!((system.cs.selector, system.data.selector), (0x10, 0x18));
}

#[test]
fn a_32_bit_entry_has_flat_segments_and_no_paging() {
    let entry = Entry { mode: Mode::Protected32, rax: 1, rbx: 2, ..Entry::default() };
    let (regs, system) = (entry.registers(), entry.system_registers());
    assert_eq!((regs.rax, regs.rbx), (1, 2));
    assert_eq!((system.cr0, system.cr3, system.cr4, system.efer), (0x11, 0, 0, 0));
    assert!(!system.cs.l && system.cs.db);
    for segment in [system.cs, system.data] {
        assert_eq!((segment.base, segment.limit), (0, u32::MAX));
    }
    assert_eq!((system.tr.type_, system.tr.s, system.tr.limit), (0xb, false, 0x67));
}

#[test]
fn the_descriptors_in_memory_match_the_registers() {
    let mem = memory(64 * MIB);
    load(&mem, &vmlinux(), None, "").unwrap();
    let descriptor = |selector: u64| u64_in(&mem, layout::GDT + selector);
    assert_eq!(descriptor(0), 0);
    // SDM volume 3A, "Segment Descriptors": the well-known flat values.
    assert_eq!(descriptor(0x10), 0x00af_9b00_0000_ffff);
    assert_eq!(descriptor(0x18), 0x00cf_9300_0000_ffff);
    assert_eq!(descriptor(0x20), 0x0000_8b00_0000_0067);
    let mem = memory(64 * MIB);
    let text = multiboot_header(0, &[]);
    let kernel = elf32(0x10_0000, &[Part::load(0x10_0000, &text, 0x100)]);
    load(&mem, &kernel, None, "").unwrap();
    assert_eq!(u64_in(&mem, layout::GDT + 0x10), 0x00cf_9b00_0000_ffff);
}

#[test]
fn every_address_below_4_gib_maps_to_itself() {
    let mem = memory(64 * MIB);
    load(&mem, &vmlinux(), None, "").unwrap();
    let walk = |address: u64| {
        let next = |table: u64, shift: u32| {
            u64_in(&mem, (table & !0xfff) + 8 * (address >> shift & 0x1ff))
        };
        let pdpte = next(next(layout::PAGE_TABLES, 39), 30);
        let pde = next(pdpte, 21);
        assert_eq!(pde & 0xfff, 0x83, "present, writable, large");
        (pde & !0x1f_ffff) | (address & 0x1f_ffff)
    };
    let addresses =
        [0, layout::ZERO_PAGE, 0x1f_ffff, 0x20_0000, 0x100_0000, 0xfee0_0000, 0xffff_ffff];
    for address in addresses {
        assert_eq!(walk(address), address);
    }
}
