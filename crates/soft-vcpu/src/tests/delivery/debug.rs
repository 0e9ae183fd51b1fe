// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Debug exceptions beside the delivery of other events.

use vcpu_events::{Event, Exception, Shadow};

use super::super::machine::{Machine, CODE, CODE64, DATA0, STACK, USER_CODE64, USER_DATA};
use super::super::tables::{DPL3, HANDLERS, INTERRUPT, IST1};
use super::{long_machine, software, VECTOR};
use crate::spec::dr;
use crate::{Exit, InvalidState};

const RF: u64 = 1 << 16;
/// DR7: breakpoint 0, 8 bytes, at writes or at all accesses.
const WRITES: u64 = 1 | 9 << 16;
const ACCESSES: u64 = 1 | 11 << 16;

fn watch(machine: &mut Machine, at: u64, dr7: u64) {
    machine.state(|state| (state.dr[0], state.dr7) = (at, dr7 | dr::DR7_FIXED));
}

#[test]
fn a_trap_whose_delivery_meets_its_own_breakpoint_spends_the_budget() {
    // The frame is written where the breakpoint is, on a stack that starts anew each time.
    let mut machine = long_machine();
    machine.gate(1, CODE64, HANDLERS + 16, INTERRUPT, 1);
    watch(&mut machine, IST1 - 8, WRITES);
    machine.write(CODE, &[0xf1]);
    machine.state(|state| state.rip = CODE);
    assert_eq!(machine.vcpu.run(1000), Exit::Budget);
    // One more than asked for, since a trap belongs to the instruction before it.
    assert_eq!(machine.vcpu.executed(), 1001);
    assert_eq!(machine.vcpu.state().pending_debug, 1);

    // In real mode the vector is read where the breakpoint is.
    let mut machine = Machine::real();
    machine.write(4, &[0x00, 0x20, 0, 0]);
    machine.write(0x2000, &[0xf4]);
    watch(&mut machine, 4, ACCESSES & !(8 << 16) | 12 << 16);
    machine.write(0x1000, &[0xf1]);
    machine.state(|state| state.rip = 0x1000);
    assert_eq!(machine.vcpu.run(1000), Exit::Budget);
}

#[test]
fn an_injected_exception_comes_before_a_pending_trap() {
    let mut machine = long_machine();
    machine.state(|state| state.pending_debug = dr::DR6_BS);
    machine.vcpu.inject(Event::Exception(Exception::pf(2, 0x1234))).unwrap();
    assert_eq!(machine.run(|a| a.nop()), Exit::Halt);
    // The trap is at the first instruction of the other's handler.
    assert_eq!((machine.handled(), machine.frame(8, 1)), (1, vec![HANDLERS + 16 * 14]));
    assert_eq!(machine.read_u64(machine.vcpu.state().gpr[4] + 48), CODE);
}

#[test]
fn a_pending_trap_comes_before_an_interrupt() {
    let mut machine = long_machine();
    machine.state(|state| (state.pending_debug, state.rflags) = (dr::DR6_BS, 0x202));
    machine.vcpu.inject(Event::Interrupt(VECTOR)).unwrap();
    assert_eq!(machine.run(|a| a.nop()), Exit::Halt);
    assert_eq!((machine.handled(), machine.frame(8, 1)), (1, vec![CODE]));
    assert_eq!(machine.vcpu.injected(), Some(Event::Interrupt(VECTOR)));
}

#[test]
fn a_delivery_that_fails_leaves_no_trap() {
    // The frame's first item meets the breakpoint; the third is on a page that is not there.
    const TOP: u64 = 9 << 21;
    let mut machine = long_machine();
    let directory = crate::tests::machine::PAGE_TABLES + 0x2000;
    machine.write(directory + 8 * 8, &0u64.to_le_bytes());
    machine.write(directory + 8 * 9, &0x20_0087u64.to_le_bytes());
    machine.state(|state| state.gpr[4] = TOP + 0x10);
    machine.vcpu.set_exception_exits(1 << 14);
    watch(&mut machine, TOP + 8, WRITES);
    let exit = machine.run(|a| a.int(i32::from(VECTOR)));
    assert_eq!(exit, Exit::Exception(Exception::pf(2, TOP - 8)));
    assert_eq!(machine.vcpu.idt_vectoring(), Some(software(VECTOR)));
    assert_eq!(machine.vcpu.state().pending_debug, 0);
}

#[test]
fn dr6_has_no_bits_that_it_has_not() {
    let mut machine = long_machine();
    machine.vcpu.inject(Event::Exception(Exception::db(u64::MAX))).unwrap();
    assert_eq!(machine.run(|a| a.nop()), Exit::Halt);
    let state = machine.vcpu.state();
    assert_eq!(state.dr6, dr::DR6_FIXED | dr::DR6_WRITABLE);
    assert_eq!(machine.vcpu.set_state(&state), Ok(()));
    for bit in [4, 12, 16, 40] {
        let mut state = machine.vcpu.state();
        state.pending_debug = 1 << bit;
        let refused = Err(InvalidState::PendingDebug(1 << bit));
        assert_eq!(machine.vcpu.set_state(&state), refused);
    }
}

#[test]
fn software_interrupts_push_no_rf() {
    for code in [&[0xcd, VECTOR][..], &[0xcc], &[0xf1]] {
        let mut machine = long_machine();
        machine.state(|state| state.rflags |= RF);
        assert_eq!(machine.run_bytes(code), Exit::Halt);
        assert_eq!(machine.frame(8, 3)[2] & RF, 0, "{code:x?}");
    }
    // A fault does, and an interrupt pushes it as it is.
    let mut machine = long_machine();
    assert_eq!(machine.run_bytes(&[0x0f, 0x0b]), Exit::Halt);
    assert_eq!(machine.frame(8, 3)[2] & RF, RF);
}

#[test]
fn an_exception_that_exits_keeps_the_shadow() {
    let mut machine = long_machine();
    machine.vcpu.set_exception_exits(1 << 6);
    // sti; ud2
    assert_eq!(machine.run_bytes(&[0xfb, 0x0f, 0x0b]), Exit::Exception(Exception::ud()));
    let state = machine.vcpu.state();
    assert_eq!((state.rip, state.shadow.sti), (CODE + 1, true));
    // mov ss, eax; ud2
    machine.state(|state| (state.gpr[0], state.shadow) = (DATA0.into(), Shadow::NONE));
    assert_eq!(machine.run_bytes(&[0x8e, 0xd0, 0x0f, 0x0b]), Exit::Exception(Exception::ud()));
    assert!(machine.vcpu.state().shadow.mov_ss);
    // Delivered, it ends it.
    machine.vcpu.set_exception_exits(0);
    assert_eq!(machine.run_bytes(&[0xfb, 0x0f, 0x0b]), Exit::Halt);
    assert!(!machine.vcpu.state().shadow.any());
}

#[test]
fn an_iret_whose_fault_exits_unblocks_no_nmi_yet() {
    for (exits, blocked) in [(1 << 13, true), (0, false)] {
        let mut machine = long_machine();
        machine.vcpu.set_exception_exits(exits);
        // The frame's CS is null.
        machine.write(STACK - 0x100, &[0; 40]);
        machine.state(|state| (state.gpr[4], state.nmi_blocked) = (STACK - 0x100, true));
        machine.run_bytes(&[0x48, 0xcf]);
        assert_eq!(machine.vcpu.state().nmi_blocked, blocked);
    }
}

#[test]
fn a_double_fault_exits_if_the_vmm_wants_that_one_only() {
    let mut machine = long_machine();
    machine.gate(13, CODE64, 0, INTERRUPT & !0x80, 0);
    machine.gate(VECTOR, CODE64, 0, INTERRUPT | DPL3, 0);
    machine.vcpu.set_exception_exits(1 << 8);
    machine.at(USER_CODE64, USER_DATA);
    assert_eq!(machine.run(|a| a.hlt()), Exit::Exception(Exception::df()));
    assert_eq!(machine.vcpu.idt_vectoring(), None);
    assert_eq!(machine.vcpu.state().rip, CODE);
}
