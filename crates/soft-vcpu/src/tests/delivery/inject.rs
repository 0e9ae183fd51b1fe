// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! When an event gets through: RFLAGS.IF, shadows, NMI blocking, windows; and instructions that
//! are events.

use vcpu_events::{Event, Exception, Origin, Shadow, Window};

use super::super::machine::{Machine, CODE, CODE64, DATA0, STACK, USER_CODE64, USER_DATA};
use super::super::tables::{DPL3, HANDLERS, INTERRUPT};
use super::{long_machine as machine, raised, software, VECTOR};
use crate::Exit;

const IF: u64 = 0x200;
/// No memory is here.
const DEVICE: u64 = 0x80_0000;

#[test]
fn an_interrupt_waits_for_if_and_the_instruction_behind_sti() {
    let mut machine = machine();
    machine.vcpu.inject(Event::Interrupt(VECTOR)).unwrap();
    let exit = machine.run(|a| {
        a.nop()?;
        a.sti()?;
        a.nop()?;
        a.nop()
    });
    assert_eq!((exit, machine.handled()), (Exit::Halt, u64::from(VECTOR)));
    assert_eq!(machine.frame(8, 1), [CODE + 3]);
    assert_eq!(machine.vcpu.injected(), None);
}

#[test]
fn an_interrupt_waits_for_the_instruction_behind_mov_ss_and_pop_ss() {
    for pop in [false, true] {
        let mut machine = Machine::protected();
        machine.handlers(super::super::machine::CODE32, INTERRUPT);
        machine.state(|state| {
            (state.rflags, state.gpr[0]) = (IF | 2, u64::from(DATA0));
        });
        // MOV DS, PUSH SS or NOP; then the load; then two of one byte.
        let code: &[u8] = if pop {
            &[0x16, 0x17, 0x90, 0x90, 0xf4]
        } else {
            &[0x90, 0x8e, 0xd0, 0x90, 0x90, 0xf4]
        };
        let behind = CODE + if pop { 3 } else { 4 };
        machine.write(CODE, code);
        machine.state(|state| state.rip = CODE);
        // Up to the load, which leaves the shadow.
        assert_eq!(machine.vcpu.run(2), Exit::Budget);
        let shadow = Shadow { mov_ss: true, ..Shadow::NONE };
        assert_eq!(machine.vcpu.state().shadow, shadow);
        machine.vcpu.inject(Event::Interrupt(VECTOR)).unwrap();
        assert_eq!(machine.vcpu.run(10), Exit::Halt);
        assert_eq!(machine.frame(4, 1), [behind]);
    }
}

#[test]
fn lss_leaves_no_shadow() {
    let mut machine = machine();
    let pointer = 0x20_0000;
    machine.write(pointer, &[0, 0x70, 0, 0, DATA0 as u8, 0]);
    machine.state(|state| (state.rip, state.gpr[3]) = (CODE, pointer));
    // LSS ESP, [RBX].
    machine.write(CODE, &[0x0f, 0xb2, 0x23, 0xf4]);
    assert_eq!(machine.vcpu.run(1), Exit::Budget);
    assert_eq!(machine.vcpu.state().shadow, Shadow::NONE);
    assert_eq!(machine.vcpu.state().gpr[4], 0x7000);
}

#[test]
fn an_nmi_ignores_if_and_blocks_the_next_until_iret() {
    let mut machine = machine();
    // NOP; NOP; IRETQ, and a HLT behind the instruction that comes back.
    machine.write(HANDLERS + 16 * 2, &[0x90, 0x90, 0x48, 0xcf]);
    machine.write(CODE, &[0x90, 0xf4]);
    machine.state(|state| state.rip = CODE);
    machine.vcpu.inject(Event::Nmi).unwrap();
    // Delivery counts as one.
    assert_eq!(machine.vcpu.run(2), Exit::Budget);
    assert!(machine.vcpu.interruptibility().nmi_blocked);
    machine.vcpu.inject(Event::Nmi).unwrap();
    assert_eq!(machine.vcpu.run(1), Exit::Budget);
    assert_eq!(machine.vcpu.injected(), Some(Event::Nmi));
    // IRETQ, then the second delivery before anything else.
    assert_eq!(machine.vcpu.run(2), Exit::Budget);
    assert_eq!(machine.vcpu.injected(), None);
    assert!(machine.vcpu.interruptibility().nmi_blocked);
    assert_eq!((machine.vcpu.state().rip, machine.frame(8, 1)), (HANDLERS + 32, vec![CODE]));
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
    assert_eq!(machine.vcpu.state().rip, CODE + 2);
    assert!(!machine.vcpu.interruptibility().nmi_blocked);
}

#[test]
fn an_iret_that_faults_unblocks_nmis_too() {
    let mut machine = machine();
    machine.state(|state| (state.nmi_blocked, state.rflags) = (true, 0x4002));
    // NT.
    assert_eq!(machine.run(|a| a.iretq()), Exit::Halt);
    assert_eq!(machine.handled(), 13);
    assert!(!machine.vcpu.interruptibility().nmi_blocked);
}

#[test]
fn a_window_exits_where_the_event_gets_through() {
    let mut machine = machine();
    machine.vcpu.request_window(Window { interrupt: true, nmi: false });
    let exit = machine.run(|a| {
        a.nop()?;
        a.sti()?;
        a.nop()?;
        a.hlt()
    });
    assert_eq!((exit, machine.vcpu.state().rip), (Exit::InterruptWindow, CODE + 3));
    machine.vcpu.request_window(Window { interrupt: false, nmi: true });
    machine.state(|state| state.nmi_blocked = true);
    machine.state(|state| state.gpr[4] = STACK);
    machine.write(STACK, &frame(CODE + 3));
    // IRETQ to the HLT, and the window before it.
    machine.write(CODE + 0x100, &[0x90, 0x48, 0xcf]);
    machine.state(|state| state.rip = CODE + 0x100);
    assert_eq!(machine.vcpu.run(100), Exit::NmiWindow);
    assert_eq!(machine.vcpu.state().rip, CODE + 3);
}

fn frame(rip: u64) -> Vec<u8> {
    let frame = [rip, u64::from(CODE64), 2, STACK, u64::from(DATA0)];
    frame.iter().flat_map(|item| item.to_le_bytes()).collect()
}

#[test]
fn int3_into_and_int1_return_behind_themselves() {
    let cases: [(&[u8], u64, u64); 3] =
        [(&[0xcc], 3, CODE + 1), (&[0xcd, 3], 3, CODE + 2), (&[0xf1], 1, CODE + 1)];
    for (code, vector, behind) in cases {
        let mut machine = machine();
        machine.state(|state| state.dr6 = 0xffff_0ff1);
        assert_eq!(machine.run_bytes(code), Exit::Halt);
        assert_eq!((machine.handled(), machine.frame(8, 1)), (vector, vec![behind]));
        // Not even INT1 tells a cause; none of them is a fault.
        assert_eq!(machine.vcpu.state().dr6, 0xffff_0ff1);
        assert_eq!(machine.frame(8, 3)[2], 2);
    }
    let mut machine = Machine::protected();
    machine.handlers(super::super::machine::CODE32, INTERRUPT);
    machine.state(|state| state.rflags = 0x802);
    assert_eq!(machine.run_bytes(&[0xce]), Exit::Halt);
    assert_eq!((machine.handled(), machine.frame(4, 1)), (4, vec![CODE + 1]));
    machine.state(|state| state.rflags = 2);
    assert_eq!(machine.run_bytes(&[0xce, 0xf4]), Exit::Halt);
    assert_eq!(machine.vcpu.state().rip, CODE + 2);
}

#[test]
fn at_level_3_only_int1_passes_a_gate_of_level_0() {
    let gp = |vector: u64| vec![vector * 8 + 2, CODE];
    let cases: [(&[u8], Option<u64>); 3] =
        [(&[0xcc], Some(3)), (&[0xcd, 3], Some(3)), (&[0xf1], None)];
    for (code, refused) in cases {
        let mut machine = machine();
        machine.at(USER_CODE64, USER_DATA);
        assert_eq!(machine.run_bytes(code), Exit::Halt);
        match refused {
            Some(vector) => {
                assert_eq!((machine.handled(), machine.frame(8, 2)), (13, gp(vector)));
            }
            None => assert_eq!((machine.handled(), machine.frame(8, 1)), (1, vec![CODE + 1])),
        }
        machine.gate(3, CODE64, HANDLERS + 16 * 3, INTERRUPT | DPL3, 0);
        machine.at(USER_CODE64, USER_DATA);
        assert_eq!(machine.run_bytes(code), Exit::Halt);
        assert_ne!(machine.handled(), 13);
    }
}

#[test]
fn a_hardware_breakpoint_exception_passes_a_gate_of_level_0() {
    let mut machine = machine();
    machine.at(USER_CODE64, USER_DATA);
    let breakpoint = Exception::new(3, None).unwrap();
    machine.vcpu.inject(Event::Exception(breakpoint)).unwrap();
    assert_eq!(machine.run(|a| a.nop()), Exit::Halt);
    assert_eq!((machine.handled(), machine.frame(8, 1)), (3, vec![CODE]));
    machine.at(USER_CODE64, USER_DATA);
    let breakpoint = breakpoint.from_instruction(Origin::Software { length: 1 }).unwrap();
    assert_eq!(raised(&mut machine, Event::Exception(breakpoint)), Exception::gp(3 * 8 + 2));
}

#[test]
fn a_stack_on_a_device_makes_exits_and_the_event_is_injected_again() {
    let mut machine = machine();
    machine.state(|state| (state.gpr[4], state.rflags) = (DEVICE + 0x100, IF | 2));
    let event = Event::Interrupt(VECTOR);
    machine.vcpu.inject(event).unwrap();
    let mut exit = machine.run(|a| a.nop());
    let frame = [u64::from(DATA0), DEVICE + 0x100, IF | 2, u64::from(CODE64), CODE];
    for (n, value) in (1..).zip(frame) {
        let address = DEVICE + 0x100 - 8 * n;
        assert_eq!(exit, Exit::MmioWrite { address, size: 8, value });
        assert_eq!(machine.vcpu.idt_vectoring(), Some(event));
        // Nothing of the processor has changed yet.
        assert_eq!((machine.vcpu.state().rip, machine.vcpu.state().rflags), (CODE, IF | 2));
        machine.vcpu.inject(event).unwrap();
        exit = machine.vcpu.run(100);
    }
    assert_eq!((exit, machine.handled()), (Exit::Halt, u64::from(VECTOR)));
    assert_eq!(machine.vcpu.idt_vectoring(), None);
    assert_eq!(machine.vcpu.state().gpr[4], DEVICE + 0x100 - 40);
}

#[test]
fn an_event_that_is_not_injected_again_is_lost() {
    let mut machine = machine();
    machine.state(|state| (state.gpr[4], state.rflags) = (DEVICE + 0x100, IF | 2));
    machine.vcpu.inject(Event::Interrupt(VECTOR)).unwrap();
    let exit = machine.run(|a| a.hlt());
    assert!(matches!(exit, Exit::MmioWrite { .. }));
    assert_eq!(machine.vcpu.run(100), Exit::Halt);
    assert_eq!(machine.vcpu.state().rip, CODE + 1);
}

#[test]
fn int_n_onto_a_device_is_executed_again_where_it_is_not_injected() {
    let mut machine = machine();
    machine.state(|state| state.gpr[4] = DEVICE + 0x100);
    let exit = machine.run(|a| a.int(i32::from(VECTOR)));
    assert_eq!(machine.vcpu.idt_vectoring(), Some(software(VECTOR)));
    assert_eq!(machine.vcpu.run(100), exit);
    machine.vcpu.inject(software(VECTOR)).unwrap();
    assert_ne!(machine.vcpu.run(100), exit);
}

#[test]
fn a_waiting_interrupt_does_not_stand_in_the_way_of_another_events_delivery() {
    let mut machine = machine();
    machine.state(|state| (state.gpr[4], state.rflags) = (DEVICE + 0x100, 2));
    machine.vcpu.inject(Event::Interrupt(VECTOR)).unwrap();
    let mut exit = machine.run(|a| a.ud2());
    let event = Event::Exception(Exception::ud());
    for _ in 0..5 {
        assert!(matches!(exit, Exit::MmioWrite { .. }), "{exit:?}");
        assert_eq!(machine.vcpu.idt_vectoring(), Some(event));
        machine.vcpu.inject(event).unwrap();
        assert_eq!(machine.vcpu.injected(), Some(event));
        exit = machine.vcpu.run(100);
    }
    assert_eq!((exit, machine.handled()), (Exit::Halt, 6));
    // IF was clear all the time.
    assert_eq!(machine.vcpu.injected(), Some(Event::Interrupt(VECTOR)));
}

#[test]
fn what_one_delivery_asked_for_is_no_answer_for_another() {
    let mut machine = machine();
    machine.state(|state| (state.gpr[4], state.rflags) = (DEVICE + 0x100, IF | 2));
    machine.vcpu.inject(Event::Interrupt(VECTOR)).unwrap();
    let exit = machine.run(|a| a.nop());
    machine.vcpu.inject(Event::Interrupt(VECTOR + 1)).unwrap();
    // Its frame is written from the start.
    assert_eq!(machine.vcpu.run(100), exit);
    assert_eq!(machine.vcpu.idt_vectoring(), Some(Event::Interrupt(VECTOR + 1)));
}

#[test]
fn each_sort_of_event_has_one_place() {
    let mut machine = machine();
    machine.state(|state| state.rflags = 2);
    machine.vcpu.inject(Event::Interrupt(VECTOR)).unwrap();
    assert_eq!(machine.vcpu.inject(Event::Nmi).unwrap_err().waiting, Event::Interrupt(VECTOR));
    machine.vcpu.inject(software(VECTOR)).unwrap();
    let second = machine.vcpu.inject(Event::Exception(Exception::ud()));
    assert_eq!(second.unwrap_err().waiting, software(VECTOR));
}

#[test]
fn a_halt_is_ended_by_an_event_that_gets_through_behind_it() {
    let mut machine = machine();
    machine.state(|state| state.rflags = 2);
    machine.vcpu.inject(Event::Interrupt(VECTOR)).unwrap();
    let exit = machine.run(|a| {
        a.sti()?;
        a.hlt()
    });
    assert_eq!((exit, machine.handled()), (Exit::Halt, u64::from(VECTOR)));
    assert_eq!(machine.frame(8, 1), [CODE + 2]);
}
