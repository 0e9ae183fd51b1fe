// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Faults on top of each other (SDM vol. 3, "Interrupt 8 - Double Fault Exception (#DF)").

use iced_x86::code_asm::*;
use vcpu_events::{Event, Exception};

use super::super::machine::{Machine, CODE, CODE64, TSS, USER_CODE64, USER_DATA};
use super::super::tables::{HANDLERS, INTERRUPT, IST1};
use super::{long_machine as machine, VECTOR};
use crate::Exit;

const NOT_PRESENT: u8 = INTERRUPT & !0x80;

#[test]
fn an_interrupt_through_a_missing_gate_is_np() {
    let mut machine = machine();
    machine.gate(VECTOR, CODE64, 0, NOT_PRESENT, 0);
    machine.state(|state| state.rflags = 0x202);
    machine.vcpu.inject(Event::Interrupt(VECTOR)).unwrap();
    assert_eq!(machine.run(|a| a.nop()), Exit::Halt);
    assert_eq!(machine.handled(), 11);
    assert_eq!(machine.frame(8, 2), [u64::from(VECTOR) * 8 + 3, CODE]);
}

#[test]
fn gp_through_a_missing_gate_is_a_double_fault() {
    let mut machine = machine();
    machine.gate(13, CODE64, 0, NOT_PRESENT, 0);
    machine.at(USER_CODE64, USER_DATA);
    assert_eq!(machine.run(|a| a.hlt()), Exit::Halt);
    assert_eq!(machine.handled(), 8);
    // Its error code is 0, its address the instruction's.
    assert_eq!(machine.frame(8, 3), [0, CODE, u64::from(USER_CODE64)]);
}

#[test]
fn a_page_fault_in_a_page_faults_delivery_is_a_double_fault_with_the_second_address() {
    let mut machine = machine();
    let handler = HANDLERS + 16 * 8;
    machine.gate(8, CODE64, handler, INTERRUPT, 1);
    machine.state(|state| state.gpr[4] = 0x4000_2000);
    let exit = machine.run(|a| a.mov(eax, dword_ptr(0x4123_4560u64)));
    assert_eq!((exit, machine.handled()), (Exit::Halt, 8));
    // RSP is just above 1 GiB, where nothing is mapped.
    let state = machine.vcpu.state();
    assert_eq!((state.cr2, state.gpr[4]), (0x4000_1ff8, IST1 - 48));
}

#[test]
fn a_page_fault_in_a_gps_delivery_is_just_that() {
    let mut machine = machine();
    machine.gate(14, CODE64, HANDLERS + 16 * 14, INTERRUPT, 1);
    machine.state(|state| state.gpr[4] = 0x4000_2000);
    let exit = machine.run(|a| {
        a.mov(eax, 0x1234)?;
        a.mov(ds, eax)
    });
    assert_eq!((exit, machine.handled()), (Exit::Halt, 14));
    assert_eq!(machine.vcpu.state().cr2, 0x4000_1ff8);
}

#[test]
fn without_a_double_fault_handler_there_is_shutdown() {
    let mut machine = machine();
    machine.gate(13, CODE64, 0, NOT_PRESENT, 0);
    machine.gate(8, CODE64, 0, NOT_PRESENT, 0);
    machine.at(USER_CODE64, USER_DATA);
    assert_eq!(machine.run(|a| a.hlt()), Exit::Shutdown);
    assert_eq!(machine.vcpu.idt_vectoring(), None);
}

#[test]
fn a_machine_without_any_table_shuts_down_at_its_first_fault() {
    for mut machine in [Machine::long(), Machine::protected()] {
        assert_eq!(machine.run(|a| a.ud2()), Exit::Shutdown);
    }
}

#[test]
fn a_fault_in_delivery_that_exits_tells_what_was_delivered() {
    let mut machine = machine();
    machine.gate(13, CODE64, 0, NOT_PRESENT, 0);
    machine.vcpu.set_exception_exits(1 << 11);
    machine.at(USER_CODE64, USER_DATA);
    let exit = machine.run(|a| a.hlt());
    assert_eq!(exit, Exit::Exception(Exception::np(13 * 8 + 3)));
    let first = Event::Exception(Exception::gp(0));
    assert_eq!(machine.vcpu.idt_vectoring(), Some(first));
    // The VMM makes the gate present and lets it go on.
    machine.gate(13, CODE64, HANDLERS + 16 * 13, INTERRUPT, 0);
    machine.vcpu.inject(first).unwrap();
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
    assert_eq!((machine.handled(), machine.frame(8, 2)), (13, vec![0, CODE]));
}

#[test]
fn a_page_fault_that_exits_has_not_touched_cr2() {
    let mut machine = machine();
    machine.vcpu.set_exception_exits(1 << 14);
    let exit = machine.run(|a| a.mov(eax, dword_ptr(0x4123_4560u64)));
    assert_eq!(exit, Exit::Exception(Exception::pf(0, 0x4123_4560)));
    assert_eq!(machine.vcpu.state().cr2, 0);
}

#[test]
fn a_debug_exception_tells_its_causes_in_dr6() {
    let mut machine = machine();
    machine.state(|state| (state.dr6, state.dr7) = (0xffff_0ff1, 0x2400));
    machine.vcpu.inject(Event::Exception(Exception::db(1 << 14 | 2))).unwrap();
    assert_eq!(machine.run(|a| a.nop()), Exit::Halt);
    let state = machine.vcpu.state();
    // B0 of before is gone, as is DR7.GD.
    assert_eq!((machine.handled(), state.dr6, state.dr7), (1, 0xffff_4ff2, 0x400));
}

#[test]
fn a_tss_that_is_not_there_reads_as_all_ones_and_does_not_panic() {
    let mut machine = machine();
    machine.at(USER_CODE64, USER_DATA);
    machine.state(|state| state.segments[7].base = 0x3fff_fff0);
    // 0x3fff_fff4 is no memory: the VMM is asked.
    let exit = machine.run(|a| a.hlt());
    assert_eq!(exit, Exit::MmioRead { address: 0x3fff_fff4, size: 8 });
    machine.vcpu.complete(TSS + 0x800);
    assert_eq!(machine.vcpu.idt_vectoring(), Some(Event::Exception(Exception::gp(0))));
    machine.vcpu.inject(Event::Exception(Exception::gp(0))).unwrap();
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
    assert_eq!((machine.handled(), machine.vcpu.state().gpr[4]), (13, TSS + 0x800 - 48));
}
