// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Alignment checking (SDM vol. 3, "Alignment Check Exception (#AC)").

use vcpu_events::Exception;

use super::Machine;
use crate::flags::bit;
use crate::spec::cr0;
use crate::tests::machine::{CODE, DATA};
use crate::Exit;

const AC: Exit = Exit::Exception(Exception::ac());
const DONE: Exit = Exit::Exception(Exception::ud());

fn checking(user: bool, am: bool, ac: bool) -> Machine {
    let mut machine = Machine::long().exiting();
    if user {
        machine = machine.user();
    }
    machine.state(|state| {
        state.cr0 |= if am { cr0::AM } else { 0 };
        state.rflags |= if ac { bit::AC } else { 0 };
    });
    machine
}

/// Accesses by RBX, each followed by UD2, and their size.
const ACCESSES: [(&[u8], u64); 9] = [
    (&[0x8a, 0x03], 1),             // mov al, [rbx]
    (&[0x66, 0x8b, 0x03], 2),       // mov ax, [rbx]
    (&[0x8b, 0x03], 4),             // mov eax, [rbx]
    (&[0x48, 0x8b, 0x03], 8),       // mov rax, [rbx]
    (&[0x48, 0x89, 0x03], 8),       // mov [rbx], rax
    (&[0x01, 0x03], 4),             // add [rbx], eax
    (&[0xf0, 0x48, 0x01, 0x03], 8), // lock add [rbx], rax
    (&[0x0f, 0x10, 0x03], 16),      // movups xmm0, [rbx]
    (&[0xff, 0x33], 8),             // push [rbx]
];

#[test]
fn unaligned_accesses_of_user_code_fault_if_it_wants_them_to() {
    for (code, size) in ACCESSES {
        for offset in [0, 1, 2, 4, 8, 0xffc, 0xfff] {
            for n in 0..8 {
                let (user, am, ac) = (n & 1 != 0, n & 2 != 0, n & 4 != 0);
                let mut machine = checking(user, am, ac);
                // Twice, so that the TLB knows the page, and has what the first access left.
                for _ in 0..2 {
                    machine.state(|state| state.gpr[3] = DATA + offset);
                    let exit = machine.run_bytes(&[code, &[0x0f, 0x0b]].concat());
                    let faults = n == 7 && offset % size != 0;
                    assert_eq!(exit, if faults { AC } else { DONE }, "{code:x?} {offset} {n}");
                    if faults {
                        assert_eq!(machine.now().rip, CODE);
                    }
                }
            }
        }
    }
}

#[test]
fn the_stack_is_checked_too() {
    let mut machine = checking(true, true, true);
    machine.state(|state| state.gpr[4] = DATA + 0x104);
    // push rax
    assert_eq!(machine.run_bytes(&[0x50, 0x0f, 0x0b]), AC);
    assert_eq!(machine.now().gpr[4], DATA + 0x104);
}

#[test]
fn repeated_moves_are_checked_each() {
    let mut machine = checking(true, true, true);
    machine.state(|state| {
        (state.gpr[1], state.gpr[6], state.gpr[7]) = (8, DATA, DATA + 0x202);
    });
    // rep movsw, then rep movsd
    assert_eq!(machine.run_bytes(&[0xf3, 0x66, 0xa5, 0x0f, 0x0b]), DONE);
    machine.state(|state| state.gpr[1] = 8);
    assert_eq!(machine.run_bytes(&[0xf3, 0xa5, 0x0f, 0x0b]), AC);
    assert_eq!(machine.now().gpr[1], 8);
}

#[test]
fn a_port_is_not_read_for_a_place_that_is_not_aligned() {
    let mut machine = checking(true, true, true);
    machine.state(|state| {
        state.rflags |= 3 << 12;
        (state.gpr[2], state.gpr[7]) = (0x60, DATA + 1);
    });
    // insw
    assert_eq!(machine.run_bytes(&[0x66, 0x6d, 0x0f, 0x0b]), AC);
    machine.state(|state| state.gpr[7] = DATA);
    let read = Exit::PortRead { port: 0x60, size: 2 };
    assert_eq!(machine.run_bytes(&[0x66, 0x6d, 0x0f, 0x0b]), read);
}

#[test]
fn the_x87_state_asks_for_the_alignment_of_its_environment() {
    // fnsave [rbx]; frstor [rbx], with 32-bit and with 16-bit fields
    let forms: [(&[u8], u64); 4] = [
        (&[0xdd, 0x33], 4),
        (&[0xdd, 0x23], 4),
        (&[0x66, 0xdd, 0x33], 2),
        (&[0x66, 0xdd, 0x23], 2),
    ];
    for (code, alignment) in forms {
        for offset in 0..8 {
            let mut machine = checking(true, true, true);
            machine.state(|state| state.gpr[3] = DATA + offset);
            let exit = machine.run_bytes(&[code, &[0x0f, 0x0b]].concat());
            let expected = if offset % alignment == 0 { DONE } else { AC };
            assert_eq!(exit, expected, "{code:x?} at {offset}");
        }
    }
}
