// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Page sizes, reserved bits, and accesses that reach two pages.

use vcpu_events::Exception;

use super::Access::{Read, Write};
use super::Paging::{Bits32, Levels4, Pae};
use super::{Paged, A, D, DIRECTORY, G, LINEAR, P, PS, TABLE, U, W};
use crate::spec::{cr4, pf};
use crate::tests::machine::{Machine, CODE, DATA, PAGE_TABLES};
use crate::Exit;

#[test]
fn large_pages_reach_all_of_their_bytes() {
    // Paging, an offset in the page, and what is there.
    for (paging, size) in [(Bits32, 22), (Pae, 21), (Levels4, 21)] {
        let mut paged = Paged::new(paging);
        paged.directory(P | W | PS | G);
        let at = LINEAR + DATA % (1 << size) + if size == 21 { 0x1000 } else { 0 };
        // 2 MiB pages at 0: only what is below 2 MiB is seen.
        let physical = at - LINEAR;
        paged.machine.write(physical, &[0x77]);
        paged.state(|state| state.gpr[0] = 0);
        assert_eq!(paged.access(Read, at), Ok(()));
        assert_eq!(paged.machine.vcpu.state().gpr[0], 0x77, "{paging:?}");
        assert_eq!(paged.entry(paged.directory_at()), P | W | PS | G | A);
        assert_eq!(paged.access(Write, at), Ok(()));
        assert_eq!(paged.entry(paged.directory_at()), P | W | PS | G | A | D);
    }
}

#[test]
fn a_1_gib_page_reaches_all_of_its_bytes() {
    let mut paged = Paged::new(Levels4);
    paged.put(PAGE_TABLES + 0x1008, P | W | PS);
    paged.machine.write(DATA + 0x1234, &[0x66]);
    assert_eq!(paged.access(Read, LINEAR + DATA + 0x1234), Ok(()));
    assert_eq!(paged.machine.vcpu.state().gpr[0] & 0xff, 0x66);
    assert_eq!(paged.entry(PAGE_TABLES + 0x1008), P | W | PS | A);
}

#[test]
fn pse36_gives_large_pages_more_address_bits() {
    let mut paged = Paged::new(Bits32);
    // Bits 20:13 are the physical address's bits 39:32: no memory is there, but a device may be.
    paged.directory(P | W | PS | 5 << 13);
    paged.state(|state| state.gpr[3] = LINEAR + 0x1234);
    let exit = paged.machine.run_bytes(&[0x8a, 0x03, 0xf4]);
    assert_eq!(exit, Exit::MmioRead { address: 0x5_0000_1234, size: 1 });
}

#[test]
fn reserved_bits_fault() {
    let table = TABLE | P | W | U;
    let page = DATA | P | W | U;
    let reserved = pf::PRESENT | pf::RESERVED;
    // Paging, directory entry, table entry. The machine has 40 physical address bits.
    let cases = [
        (Levels4, table | 1 << 40, page),
        (Levels4, table, page | 1 << 51),
        (Levels4, P | W | PS | 1 << 13, 0),
        (Levels4, P | W | PS | 1 << 20, 0),
        (Pae, table | 1 << 40, page),
        (Pae, table, page | 1 << 52),
        (Pae, table, page | 1 << 62),
        (Pae, P | PS | 1 << 13, 0),
        (Bits32, P | W | PS | 1 << 21, 0),
    ];
    for (paging, directory, entry) in cases {
        let mut paged = Paged::new(paging);
        paged.directory(directory);
        paged.table(0, entry);
        let found = paged.access(Read, LINEAR + 8);
        assert_eq!(found, Err((reserved, LINEAR + 8)), "{paging:?} {directory:x} {entry:x}");
        assert_eq!(paged.entry(paged.directory_at()), directory);
    }
}

#[test]
fn bits_that_are_not_reserved_do_not_fault() {
    let cases = [
        (Levels4, TABLE | P | 1 << 9 | 1 << 52, DATA | P | 0x7ff << 52 | 7 << 9),
        (Levels4, P | PS | 1 << 12, 0),
        (Pae, TABLE | P | 7 << 9 | 1 << 8, DATA | P | PS | 7 << 9),
        (Bits32, TABLE | P | 7 << 9 | 1 << 8, DATA | P | 7 << 9 | PS),
        (Bits32, P | PS | 1 << 12, 0),
    ];
    for (paging, directory, entry) in cases {
        let mut paged = Paged::new(paging);
        paged.directory(directory);
        paged.table(0, entry);
        assert_eq!(paged.access(Read, LINEAR), Ok(()), "{paging:?} {directory:x} {entry:x}");
    }
}

#[test]
fn without_pse_a_32_bit_directory_has_tables_only() {
    let mut paged = Paged::new(Bits32);
    paged.state(|state| state.cr4 &= !cr4::PSE);
    // The code's own mapping is large: map that by a table too.
    let code_table = TABLE + 0x1000;
    paged.put(DIRECTORY, code_table | P | W);
    paged.put(code_table + 4 * 0x100, CODE | P | W);
    paged.directory(TABLE | P | PS);
    assert_eq!(paged.access(Read, LINEAR), Ok(()));
    assert_eq!(paged.entry(paged.table_at(0)), DATA | P | W | U | A);
}

#[test]
fn tables_outside_of_memory_read_as_ones() {
    // All ones: a reserved bit, or a page that is far away.
    let mut paged = Paged::new(Levels4);
    paged.directory(0x8_0000_0000 | P | W | U);
    assert_eq!(paged.access(Read, LINEAR), Err((pf::PRESENT | pf::RESERVED, LINEAR)));
    paged.state(|state| state.cr3 = 0x8_0000_0000);
    let exit = paged.machine.run_bytes(&[0xf4]);
    let code = pf::PRESENT | pf::RESERVED | pf::FETCH;
    assert_eq!(exit, Exit::Exception(Exception::pf(code, CODE)));
}

#[test]
fn a_faulting_second_page_leaves_nothing_written() {
    for paging in [Bits32, Pae, Levels4] {
        let mut paged = Paged::new(paging);
        paged.table(1, 0);
        let at = LINEAR + 0xffe;
        paged.state(|state| (state.gpr[3], state.gpr[0]) = (at, 0x1122_3344));
        // mov [rbx], eax; add [rbx], eax; mov eax, [rbx]
        for (code, error) in [([0x89, 3], pf::WRITE), ([1, 3], pf::WRITE), ([0x8b, 3], 0)] {
            let exit = paged.machine.run_bytes(&code);
            let fault = Exception::pf(error, LINEAR + 0x1000);
            assert_eq!(exit, Exit::Exception(fault), "{paging:?} {code:x?}");
            assert_eq!(paged.machine.read_u64(DATA + 0xff8), 0xf4f4_f4f4_f4f4_f4f4);
            assert_eq!(paged.machine.vcpu.state().rip, CODE);
        }
        // The first page's fault comes first.
        paged.table(0, 0);
        let exit = paged.machine.run_bytes(&[0x89, 3]);
        assert_eq!(exit, Exit::Exception(Exception::pf(pf::WRITE, at)));
    }
}

#[test]
fn accesses_across_pages_that_are_not_neighbours() {
    for paging in [Bits32, Pae, Levels4] {
        let mut paged = Paged::new(paging);
        // The second page lies physically before the first.
        paged.table(0, DATA + 0x1000 | P | W);
        paged.table(1, DATA | P | W);
        paged.state(|state| {
            (state.gpr[3], state.gpr[0], state.gpr[1]) = (LINEAR + 0xffd, 0x4433_2211, 1);
        });
        // mov [rbx], eax; lock add [rbx], ecx; mov edx, [rbx]; hlt
        let code = [0x89, 0x03, 0xf0, 0x01, 0x0b, 0x8b, 0x13, 0xf4];
        assert_eq!(paged.machine.run_bytes(&code), Exit::Halt);
        assert_eq!(paged.machine.vcpu.state().gpr[2], 0x4433_2212);
        assert_eq!(paged.machine.read_u64(DATA + 0x1ff8) >> 40, 0x33_2212);
        assert_eq!(paged.machine.read_u64(DATA) & 0xffff, 0xf444);
        assert_eq!(paged.entry(paged.table_at(1)), DATA | P | W | A | D);
    }
}

#[test]
fn addresses_that_are_not_canonical_raise_gp_or_ss() {
    let mut machine = Machine::long();
    machine.vcpu.set_exception_exits(u32::MAX);
    let at = 0x7fff_ffff_fffc;
    machine.state(|state| (state.gpr[3], state.gpr[5]) = (at, at));
    // mov rax, [rbx]: its last bytes are beyond the hole's edge; the same through RBP is #SS.
    let exit = machine.run_bytes(&[0x48, 0x8b, 0x03]);
    assert_eq!(exit, Exit::Exception(Exception::gp(0)));
    let exit = machine.run_bytes(&[0x48, 0x8b, 0x45, 0x00]);
    assert_eq!(exit, Exit::Exception(Exception::ss(0)));
    // jmp rbx
    machine.state(|state| state.gpr[3] = 1 << 47);
    let exit = machine.run_bytes(&[0xff, 0xe3]);
    assert_eq!(exit, Exit::Exception(Exception::gp(0)));
}

#[test]
fn smep_and_smap_mean_nothing_without_paging() {
    let mut machine = Machine::protected();
    machine.vcpu.set_exception_exits(u32::MAX);
    machine.state(|state| {
        state.cr4 |= cr4::SMEP | cr4::SMAP;
        state.gpr[3] = DATA;
    });
    assert_eq!(machine.run_bytes(&[0x88, 0x03, 0xf4]), Exit::Halt);
}

#[test]
fn a_store_that_changes_its_second_pages_entry_completes() {
    let mut paged = Paged::new(Levels4);
    // The last two pages of the table's 2 MiB: the table itself, then data.
    let page = LINEAR + 510 * 0x1000;
    paged.table(510, TABLE | P | W);
    paged.table(511, DATA | P | W);
    // add [page + 0xffe], eax: what it adds to the entry are reserved bits.
    paged.state(|state| (state.gpr[0], state.gpr[3]) = (0x0102_000f, page + 0xffe));
    paged.machine.write(DATA, &[1, 0]);
    assert_eq!(paged.machine.run_bytes(&[0x01, 0x03, 0xf4]), Exit::Halt);
    assert_eq!(paged.entry(paged.table_at(511)) >> 48, 0xf);
    assert_eq!(paged.machine.read_u64(DATA) & 0xffff, 0x0103);
}
