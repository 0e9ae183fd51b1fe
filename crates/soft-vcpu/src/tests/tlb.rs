// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What flushes which translations (SDM vol. 3, "Invalidation of TLBs and Paging-Structure
//! Caches").

use vcpu_events::Exception;

use super::machine::{segment, Machine, CODE32, DATA};
use super::paging::{Paged, Paging, LINEAR};
use crate::segment::{CS, TR};
use crate::spec::{cr0, cr4, efer, msr};
use crate::{Exit, State};

const P: u64 = 1;
const W: u64 = 2;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;
const G: u64 = 1 << 8;

/// Reads at [`LINEAR`], executes `flush`, reads again. The VMM changes the table in between (at
/// `out 0x80`), so that the second read tells whether the translation was kept.
fn survives(paged: &mut Paged, entry: u64, flush: &[u8]) -> bool {
    let machine = &mut paged.machine;
    machine.write(DATA, &[1]);
    machine.write(DATA + 0x1000, &[2]);
    paged.table(0, DATA | entry);
    paged.state(|state| state.gpr[3] = LINEAR);
    let mut code = vec![0x8a, 0x0b, 0xe6, 0x80]; // mov cl, [rbx]; out 0x80, al
    code.extend(flush);
    code.extend([0x8a, 0x2b, 0xf4]); // mov ch, [rbx]; hlt
    assert!(matches!(paged.machine.run_bytes(&code), Exit::PortWrite { .. }));
    paged.table(0, DATA + 0x1000 | entry);
    assert_eq!(paged.machine.vcpu.run(100), Exit::Halt);
    let found = paged.machine.vcpu.state().gpr[1] & 0xffff;
    assert!([0x101, 0x201].contains(&found), "{found:x}");
    found == 0x101
}

/// A machine whose registers RAX, RDX have what the flushes below need.
fn paged() -> Paged {
    let mut paged = Paged::new(Paging::Levels4);
    paged.state(|state| state.cr4 |= cr4::PGE);
    paged
}

const MOV_CR3: [u8; 6] = [0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8]; // mov rax, cr3; mov cr3, rax
const INVLPG: [u8; 3] = [0x0f, 0x01, 0x3b]; // invlpg [rbx]

/// Toggles bits of a control register: mov rax, crN; xor eax, bits; mov crN, rax.
fn toggle(number: u8, bits: u64) -> Vec<u8> {
    let mut code = vec![0x0f, 0x20, 0xc0 | number << 3, 0x35];
    code.extend((bits as u32).to_le_bytes());
    code.extend([0x0f, 0x22, 0xc0 | number << 3]);
    code
}

#[test]
fn a_translation_lives_until_it_is_flushed() {
    assert!(survives(&mut paged(), P | W, &[0x90]));
}

#[test]
fn mov_to_cr3_flushes_all_but_global_pages() {
    assert!(!survives(&mut paged(), P | W, &MOV_CR3));
    assert!(survives(&mut paged(), P | W | G, &MOV_CR3));
}

#[test]
fn without_pge_no_page_is_global() {
    let mut paged = paged();
    paged.state(|state| state.cr4 &= !cr4::PGE);
    assert!(!survives(&mut paged, P | W | G, &MOV_CR3));
}

#[test]
fn invlpg_flushes_global_pages_too() {
    assert!(!survives(&mut paged(), P | W, &INVLPG));
    assert!(!survives(&mut paged(), P | W | G, &INVLPG));
}

#[test]
fn changes_of_control_registers_flush_everything() {
    // mov edi, ecx; mov ecx, EFER; rdmsr; xor eax, 0x800 (NXE); wrmsr; mov ecx, edi
    let mut nxe = vec![0x89, 0xcf, 0xb9];
    nxe.extend(msr::EFER.to_le_bytes());
    nxe.extend([0x0f, 0x32, 0x35, 0, 8, 0, 0, 0x0f, 0x30, 0x89, 0xf9]);
    let flushes = [toggle(4, cr4::PGE), toggle(4, cr4::PSE), toggle(0, cr0::WP), nxe];
    for flush in flushes {
        assert!(!survives(&mut paged(), P | W | G, &flush), "{flush:x?}");
    }
}

#[test]
fn clts_flushes_nothing() {
    assert!(survives(&mut paged(), P | W, &[0x0f, 0x06]));
}

#[test]
fn invlpg_of_any_byte_flushes_a_large_page() {
    let mut paged = paged();
    paged.directory(P | W | PS);
    paged.machine.write(0x8000, &[1]);
    paged.state(|state| {
        state.gpr[3] = LINEAR + 0x8000;
        state.gpr[6] = LINEAR + 0x1f_f123;
    });
    // mov cl, [rbx]; out 0x80, al; invlpg [rsi]; mov ch, [rbx]; hlt
    let code = [0x8a, 0x0b, 0xe6, 0x80, 0x0f, 0x01, 0x3e, 0x8a, 0x2b, 0xf4];
    assert!(matches!(paged.machine.run_bytes(&code), Exit::PortWrite { .. }));
    paged.directory(0x20_0000 | P | W | PS);
    paged.machine.write(0x20_8000, &[2]);
    assert_eq!(paged.machine.vcpu.run(100), Exit::Halt);
    assert_eq!(paged.machine.vcpu.state().gpr[1], 0x201);
}

#[test]
fn invlpg_of_an_address_that_cannot_be_does_nothing() {
    let mut paged = paged();
    paged.state(|state| state.gpr[3] = 1 << 63);
    assert_eq!(paged.machine.run_bytes(&[0x0f, 0x01, 0x3b, 0xf4]), Exit::Halt);
}

#[test]
fn a_write_through_a_translation_that_was_read_sets_d() {
    let mut paged = paged();
    paged.table(0, DATA | P | W);
    // mov al, [rbx]; mov [rbx], al; hlt
    paged.state(|state| state.gpr[3] = LINEAR);
    assert_eq!(paged.machine.run_bytes(&[0x8a, 0x03, 0x88, 0x03, 0xf4]), Exit::Halt);
    assert_ne!(paged.machine.read_u64(super::machine::PAGE_TABLES + 0x6000) & D, 0);
}

#[test]
fn paging_goes_on_and_off_in_protected_mode() {
    let mut paged = Paged::new(Paging::Bits32);
    // Two pages that are mapped crosswise.
    paged.directory(P | W | PS);
    paged.machine.write(DATA + 0x1000, &[7]);
    paged.state(|state| (state.gpr[3], state.gpr[6]) = (LINEAR + DATA + 0x1000, DATA + 0x1000));
    // mov cl, [ebx]; (paging off) mov ch, [esi]; (paging on) mov dl, [ebx]
    let mut code = vec![0x8a, 0x0b];
    code.extend(toggle(0, cr0::PG));
    code.extend([0x8a, 0x2e]);
    code.extend(toggle(0, cr0::PG));
    code.extend([0x8a, 0x13, 0xf4]);
    assert_eq!(paged.machine.run_bytes(&code), Exit::Halt);
    let gpr = paged.machine.vcpu.state().gpr;
    assert_eq!((gpr[1] & 0xffff, gpr[2] & 0xff), (0x707, 7));
    // Without paging the same address is no memory.
    paged.state(|state| state.cr0 &= !cr0::PG);
    let exit = paged.machine.run_bytes(&[0x8a, 0x0b]);
    assert_eq!(exit, Exit::MmioRead { address: LINEAR + DATA + 0x1000, size: 1 });
}

/// 32-bit code that is about to enter IA-32e mode.
fn before_long_mode() -> Machine {
    let mut machine = Machine::long();
    machine.vcpu.set_exception_exits(u32::MAX);
    machine.state(|state| {
        state.cr0 &= !cr0::PG;
        state.efer = efer::LME;
        state.segments[usize::from(CS)] = segment(CODE32);
    });
    machine
}

#[test]
fn ia_32e_mode_is_entered_and_left() {
    let mut machine = before_long_mode();
    let mut code = toggle(0, cr0::PG);
    code.push(0xf4);
    assert_eq!(machine.run_bytes(&code), Exit::Halt);
    let state = machine.vcpu.state();
    assert_eq!((state.efer, state.cr0 & cr0::PG), (efer::LME | efer::LMA, cr0::PG));
    assert_eq!(machine.run_bytes(&code), Exit::Halt);
    let state = machine.vcpu.state();
    assert_eq!((state.efer, state.cr0 & cr0::PG), (efer::LME, 0));
}

#[test]
fn ia_32e_mode_is_entered_under_its_conditions_only() {
    type Change = fn(&mut State);
    let refused: [Change; 3] = [
        |state| state.cr4 &= !cr4::PAE,
        |state| state.segments[usize::from(CS)].rights.set_long(true),
        |state| state.segments[usize::from(TR)].rights.set_kind(3),
    ];
    for change in refused {
        let mut machine = before_long_mode();
        machine.state(change);
        let exit = machine.run_bytes(&toggle(0, cr0::PG));
        assert_eq!(exit, Exit::Exception(Exception::gp(0)));
        assert_eq!(machine.vcpu.state().efer, efer::LME);
    }
}

#[test]
fn ia_32e_mode_cannot_be_broken_from_within() {
    let mut machine = Machine::long();
    machine.vcpu.set_exception_exits(u32::MAX);
    let before = machine.vcpu.state();
    for code in [toggle(0, cr0::PG), toggle(4, cr4::PAE)] {
        assert_eq!(machine.run_bytes(&code), Exit::Exception(Exception::gp(0)));
        let state = machine.vcpu.state();
        assert_eq!((state.cr0, state.cr4, state.efer), (before.cr0, before.cr4, before.efer));
    }
}

#[test]
fn pdptes_with_reserved_bits_are_not_loaded() {
    let mut paged = Paged::new(Paging::Pae);
    let tables = paged.machine.vcpu.state().cr3;
    for bad in [P | W, P | 1 << 8, P | 1 << 5, P | 1 << 40, P | 1 << 63] {
        paged.machine.write(tables + 0x18, &bad.to_le_bytes());
        let exit = paged.machine.run_bytes(&[&MOV_CR3[..], &[0xf4]].concat());
        assert_eq!(exit, Exit::Exception(Exception::gp(0)), "{bad:x}");
        // One that is not present may have them.
        paged.machine.write(tables + 0x18, &(bad & !P).to_le_bytes());
        assert_eq!(paged.machine.run_bytes(&[&MOV_CR3[..], &[0xf4]].concat()), Exit::Halt);
    }
}

#[test]
fn invlpg_of_a_small_page_leaves_others() {
    let mut paged = paged();
    paged.table(0, DATA | P | W);
    paged.table(1, DATA | P | W);
    paged.state(|state| (state.gpr[3], state.gpr[6]) = (LINEAR, LINEAR + 0x1000));
    paged.machine.write(DATA, &[1]);
    paged.machine.write(DATA + 0x1000, &[2]);
    // mov cl, [rbx]; mov dl, [rsi]; out 0x80, al; invlpg [rbx]; mov cl, [rbx]; mov dl, [rsi]
    let code = [0x8a, 0x0b, 0x8a, 0x16, 0xe6, 0x80, 0x0f, 0x01, 0x3b, 0x8a, 0x0b, 0x8a, 0x16, 0xf4];
    assert!(matches!(paged.machine.run_bytes(&code), Exit::PortWrite { .. }));
    paged.table(0, DATA + 0x1000 | P | W);
    paged.table(1, DATA + 0x1000 | P | W);
    assert_eq!(paged.machine.vcpu.run(100), Exit::Halt);
    let gpr = paged.machine.vcpu.state().gpr;
    // The code is in a large page, of other addresses.
    assert_eq!((gpr[1] & 0xff, gpr[2] & 0xff), (2, 1));
}
