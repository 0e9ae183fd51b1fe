// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Debug registers and breakpoints (SDM vol. 3, "Debug Registers").

use vcpu_events::Exception;

use super::{Machine, GP, UD};
use crate::spec::{cr4, dr};
use crate::tests::machine::{CODE, DATA, DATA0};
use crate::Exit;

const RF: u64 = 1 << 16;
const EXECUTE: u64 = 0;
const WRITE: u64 = 1;
const PORT: u64 = 2;
const ACCESS: u64 = 3;

/// DR7 with breakpoint `n` enabled; `len` is 1, 2, 4 or 8.
fn enable(n: u32, kind: u64, len: u64) -> u64 {
    let code = [0, 0, 1, 0, 3, 0, 0, 0, 2][len as usize];
    1 << (2 * n) | (kind | code << 2) << (16 + 4 * n)
}

fn db(dr6: u64) -> Exit {
    Exit::Exception(Exception::db(dr6))
}

/// A machine with one breakpoint.
fn watching(n: u32, kind: u64, len: u64, at: u64) -> Machine {
    let mut machine = Machine::long().exiting();
    machine.state(|state| {
        state.dr[n as usize] = at;
        state.dr7 = enable(n, kind, len) | dr::DR7_FIXED;
    });
    machine
}

#[test]
fn debug_registers_read_what_was_written() {
    let mut machine = Machine::long().exiting();
    // mov dr0, rax; mov dr3, rcx; mov rsi, dr0; mov rdi, dr3
    let code = [0x0f, 0x23, 0xc0, 0x0f, 0x23, 0xd9, 0x0f, 0x21, 0xc6, 0x0f, 0x21, 0xdf];
    assert_eq!(machine.with(u64::MAX, 0x1234, 0, &code), Exit::Halt);
    let state = machine.now();
    assert_eq!((state.gpr[6], state.gpr[7]), (u64::MAX, 0x1234));
    assert_eq!((state.dr[0], state.dr[3]), (u64::MAX, 0x1234));
    // mov dr6, rax; mov rsi, dr6: fixed bits stay.
    let code = [0x0f, 0x23, 0xf0, 0x0f, 0x21, 0xf6];
    assert_eq!(machine.with(0, 0, 0, &code), Exit::Halt);
    assert_eq!(machine.now().gpr[6], 0xffff_0ff0);
    assert_eq!(machine.with(0xffff_ffff, 0, 0, &code), Exit::Halt);
    assert_eq!(machine.now().gpr[6], 0xffff_efff);
    // mov dr7, rax, with GD clear
    assert_eq!(machine.with(0xffff_df00, 0, 0, &[0x0f, 0x23, 0xf8]), Exit::Halt);
    assert_eq!(machine.now().dr7, 0xffff_0700);
}

#[test]
fn upper_halves_of_dr6_and_dr7_are_reserved() {
    for code in [[0x0f, 0x23, 0xf0], [0x0f, 0x23, 0xf8]] {
        let mut machine = Machine::long().exiting();
        assert_eq!(machine.with(1 << 32, 0, 0, &code), GP);
    }
}

#[test]
fn dr4_and_dr5_are_dr6_and_dr7_without_de() {
    let mut machine = Machine::long().exiting();
    // mov dr5, rax; mov rcx, dr7; mov rdx, dr4
    let code = [0x0f, 0x23, 0xe8, 0x0f, 0x21, 0xf9, 0x0f, 0x21, 0xe2];
    assert_eq!(machine.with(0x700, 0, 0, &code), Exit::Halt);
    let gpr = machine.now().gpr;
    assert_eq!((gpr[1], gpr[2]), (0x700, 0xffff_0ff0));
    machine.state(|state| state.cr4 |= cr4::DE);
    assert_eq!(machine.with(0x700, 0, 0, &code), UD);
}

#[test]
fn general_detect_guards_the_registers() {
    let mut machine = Machine::long().exiting();
    machine.state(|state| state.dr7 |= dr::DR7_GD);
    for code in [[0x0f, 0x21, 0xc0], [0x0f, 0x23, 0xc0], [0x0f, 0x21, 0xf8]] {
        assert_eq!(machine.with(0, 0, 0, &code), db(dr::DR6_BD));
        assert_eq!(machine.now().rip, CODE);
    }
}

#[test]
fn an_instruction_breakpoint_is_a_fault_that_rf_holds_back() {
    let mut machine = watching(2, EXECUTE, 1, CODE + 1);
    assert_eq!(machine.run_bytes(&[0x90, 0x90, 0xf4]), db(1 << 2));
    assert_eq!(machine.now().rip, CODE + 1);
    // Again, for nobody set RF.
    assert_eq!(machine.vcpu.run(10), db(1 << 2));
    machine.state(|state| state.rflags |= RF);
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
    assert_eq!(machine.now().rflags & RF, 0);
}

#[test]
fn an_instruction_breakpoint_is_met_at_the_first_byte_only() {
    let mut machine = watching(0, EXECUTE, 1, CODE + 2);
    // mov eax, 5; hlt
    assert_eq!(machine.run_bytes(&[0xb8, 5, 0, 0, 0, 0xf4]), Exit::Halt);
    // Its length does not count.
    let mut machine = watching(0, EXECUTE, 4, CODE + 2);
    assert_eq!(machine.run_bytes(&[0x90, 0x90, 0x90, 0xf4]), db(1));
    assert_eq!(machine.now().rip, CODE + 2);
}

#[test]
fn an_instruction_breakpoint_comes_before_what_the_instruction_raises() {
    let mut machine = watching(0, EXECUTE, 1, CODE);
    assert_eq!(machine.run_bytes(&[0x0f, 0x0b]), db(1));
    // Before the fault of its fetch too.
    let mut machine = watching(0, EXECUTE, 1, 1 << 32);
    machine.state(|state| state.rip = 1 << 32);
    assert_eq!(machine.vcpu.run(10), db(1));
}

#[test]
fn mov_ss_holds_back_a_breakpoint_on_the_next_instruction() {
    let mut machine = watching(0, EXECUTE, 1, CODE + 2);
    machine.state(|state| state.gpr[0] = DATA0.into());
    // mov ss, eax; nop; hlt
    assert_eq!(machine.run_bytes(&[0x8e, 0xd0, 0x90, 0xf4]), Exit::Halt);
}

#[test]
fn rf_holds_for_hlt_and_mov_to_cr8_alone() {
    let lower = [0x44, 0x0f, 0x22, 0xc0]; // mov cr8, rax
    for (code, exit) in [(&[0xf4][..], Exit::Halt), (&lower, Exit::Cr8Lowered)] {
        let mut machine = watching(0, EXECUTE, 1, CODE);
        machine.state(|state| (state.rflags, state.cr8) = (state.rflags | RF, 1));
        assert_eq!(machine.run_bytes(code), exit);
        assert_eq!(machine.now().rflags & RF, 0);
    }
}

#[test]
fn data_breakpoints_are_traps_behind_the_access() {
    let load = [0x8b, 0x00, 0xf4]; // mov eax, [rax]
    let store = [0x89, 0x00, 0xf4]; // mov [rax], eax
    let change = [0x01, 0x00, 0xf4]; // add [rax], eax
    for (kind, code, hit) in [
        (WRITE, load, false),
        (WRITE, store, true),
        (WRITE, change, true),
        (ACCESS, load, true),
        (ACCESS, store, true),
        (ACCESS, change, true),
    ] {
        let mut machine = watching(1, kind, 4, DATA + 8);
        machine.state(|state| state.gpr[0] = DATA + 8);
        let exit = machine.run_bytes(&code);
        assert_eq!(exit, if hit { db(2) } else { Exit::Halt }, "{kind} {code:x?}");
        assert_eq!(machine.now().rip, CODE + if hit { 2 } else { 3 });
        if hit {
            assert_eq!(machine.vcpu.run(10), Exit::Halt);
        }
    }
}

#[test]
fn an_access_that_overlaps_hits() {
    // Length of the watched bytes at DATA + 8, and offsets that a doubleword write hits.
    for (len, first, last) in [(1, 5, 8), (2, 5, 9), (4, 5, 11), (8, 5, 15)] {
        for offset in 0..24 {
            let mut machine = watching(3, WRITE, len, DATA + 8);
            machine.state(|state| state.gpr[0] = DATA + offset);
            let exit = machine.run_bytes(&[0x89, 0x00, 0xf4]);
            let hit = (first..=last).contains(&offset);
            assert_eq!(exit, if hit { db(8) } else { Exit::Halt }, "{len} {offset}");
        }
    }
}

#[test]
fn a_watched_page_that_is_in_the_tlb_already() {
    let mut machine = Machine::long().exiting();
    // mov [rax], ecx; mov dr0, rax; mov dr7, rdx; mov [rax], ecx
    let code = [0x89, 0x08, 0x0f, 0x23, 0xc0, 0x0f, 0x23, 0xfa, 0x89, 0x08];
    let dr7 = enable(0, WRITE, 4);
    assert_eq!(machine.with(DATA, 0, dr7, &code), db(1));
    assert_eq!(machine.now().rip, CODE + code.len() as u64);
}

#[test]
fn a_halt_is_ended_by_a_breakpoint_that_mov_ss_met() {
    let mut machine = watching(0, ACCESS, 2, DATA);
    machine.write(DATA, &DATA0.to_le_bytes());
    machine.state(|state| state.gpr[0] = DATA);
    // mov ss, [rax]; hlt
    assert_eq!(machine.run_bytes(&[0x8e, 0x10, 0xf4]), db(1));
    assert_eq!(machine.now().rip, CODE + 3);
}

#[test]
fn an_access_across_pages_is_watched_in_both() {
    for (at, hit) in [(DATA + 0xfff, 1), (DATA + 0x1000, 1), (DATA + 0x1002, 0)] {
        let mut machine = watching(0, WRITE, 1, at);
        machine.state(|state| state.gpr[0] = DATA + 0xffe);
        let exit = machine.run_bytes(&[0x89, 0x00, 0xf4]);
        assert_eq!(exit, if hit == 1 { db(1) } else { Exit::Halt });
    }
}

#[test]
fn a_breakpoint_on_what_faults_is_not_told() {
    let mut machine = watching(0, ACCESS, 1, DATA);
    // push [rax], to a stack that is not mapped
    machine.state(|state| (state.gpr[0], state.gpr[4]) = (DATA, 1 << 32));
    let exit = machine.run_bytes(&[0xff, 0x30]);
    assert_eq!(exit, Exit::Exception(Exception::pf(2, (1 << 32) - 8)));
    assert_eq!(machine.now().pending_debug, 0);
}

#[test]
fn a_device_may_be_watched() {
    let mut machine = watching(0, ACCESS, 4, 0x50_0000);
    machine.state(|state| state.gpr[0] = 0x50_0000);
    let exit = machine.run_bytes(&[0x8b, 0x00, 0xf4]);
    assert_eq!(exit, Exit::MmioRead { address: 0x50_0000, size: 4 });
    machine.vcpu.complete(1);
    assert_eq!(machine.vcpu.run(10), db(1));
    assert_eq!(machine.now().gpr[0], 1);
}

#[test]
fn repeated_moves_stop_behind_the_iteration() {
    let mut machine = watching(0, WRITE, 1, DATA + 2);
    machine.state(|state| (state.gpr[7], state.gpr[1]) = (DATA, 10));
    // rep stosb
    assert_eq!(machine.run_bytes(&[0xf3, 0xaa, 0xf4]), db(1));
    let state = machine.now();
    assert_eq!((state.gpr[1], state.gpr[7], state.rip), (7, DATA + 3, CODE));
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
    assert_eq!(machine.now().gpr[1], 0);
}

#[test]
fn ports_are_watched_with_de() {
    for (de, port, hit) in [(true, 0x82, true), (true, 0x84, false), (false, 0x82, false)] {
        let mut machine = watching(0, PORT, 4, 0x80);
        if de {
            machine.state(|state| state.cr4 |= cr4::DE);
        }
        machine.state(|state| state.gpr[2] = port);
        // out dx, al
        assert!(matches!(machine.run_bytes(&[0xee, 0xf4]), Exit::PortWrite { .. }));
        assert_eq!(machine.vcpu.run(10), if hit { db(1) } else { Exit::Halt });
    }
}

#[test]
fn several_hits_are_told_together() {
    let mut machine = watching(0, ACCESS, 4, DATA);
    machine.state(|state| {
        state.dr[1] = DATA + 2;
        state.dr7 |= enable(1, WRITE, 1);
        state.gpr[0] = DATA;
    });
    assert_eq!(machine.run_bytes(&[0x89, 0x00, 0xf4]), db(3));
}
