// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RFLAGS.TF (SDM vol. 3, "Single-Step Exception Condition").

use vcpu_events::Exception;

use super::Machine;
use crate::spec::dr::DR6_BS;
use crate::tests::machine::{CODE, CODE64, DATA, DATA0};
use crate::Exit;

const TF: u64 = 1 << 8;
const STEP: Exit = Exit::Exception(Exception::db(DR6_BS));

/// A machine about to step through `code`.
fn stepping(code: &[u8]) -> Machine {
    let mut machine = Machine::long().exiting();
    machine.write(CODE, code);
    machine.state(|state| {
        state.rip = CODE;
        state.rflags |= TF;
    });
    machine
}

/// Where each trap finds RIP, from CODE, until something else exits.
fn steps(machine: &mut Machine) -> (Vec<u64>, Exit) {
    let mut found = Vec::new();
    loop {
        match machine.vcpu.run(100) {
            STEP if found.len() < 20 => found.push(machine.now().rip.wrapping_sub(CODE)),
            exit => return (found, exit),
        }
    }
}

#[test]
fn a_trap_follows_every_instruction() {
    // nop; mov eax, 1; jmp +1; nop; ud2
    let mut machine = stepping(&[0x90, 0xb8, 1, 0, 0, 0, 0xeb, 1, 0x90, 0x0f, 0x0b]);
    let exit = Exit::Exception(Exception::ud());
    assert_eq!(steps(&mut machine), (vec![1, 6, 9], exit));
}

#[test]
fn popf_is_followed_by_its_old_tf() {
    let mut machine = stepping(&[0x9d, 0x90, 0x90, 0xf4]);
    let image = machine.now().gpr[4];
    machine.write(image, &2u64.to_le_bytes());
    // Clearing TF: the trap of POPF itself still comes.
    assert_eq!(steps(&mut machine), (vec![1], Exit::Halt));
    // Setting it: the trap comes after the next instruction.
    let mut machine = stepping(&[0x9d, 0x90, 0x90, 0x0f, 0x0b]);
    machine.state(|state| state.rflags &= !TF);
    machine.write(image, &TF.to_le_bytes());
    assert_eq!(steps(&mut machine).0, [2, 3]);
}

#[test]
fn sti_delays_interrupts_but_no_trap() {
    let mut machine = stepping(&[0xfb, 0x90, 0x0f, 0x0b]);
    assert_eq!(steps(&mut machine).0, [1, 2]);
}

#[test]
fn mov_ss_delays_the_trap() {
    // mov ss, eax; nop; nop; ud2
    let mut machine = stepping(&[0x8e, 0xd0, 0x90, 0x90, 0x0f, 0x0b]);
    machine.state(|state| state.gpr[0] = DATA0.into());
    assert_eq!(steps(&mut machine).0, [3, 4]);
}

#[test]
fn repeated_instructions_trap_after_every_iteration() {
    let mut machine = stepping(&[0xf3, 0xaa, 0x0f, 0x0b]);
    machine.state(|state| (state.gpr[7], state.gpr[1]) = (DATA, 3));
    assert_eq!(steps(&mut machine).0, [0, 0, 2]);
    assert_eq!(machine.now().gpr[7], DATA + 3);
}

#[test]
fn software_interrupts_clear_tf_and_do_not_trap() {
    let mut machine = stepping(&[0xcd, 0x40]);
    let handler = CODE + 0x100;
    let gate = handler & 0xffff | u64::from(CODE64) << 16 | 0x8e00 << 32 | handler >> 16 << 48;
    machine.write(crate::tests::machine::IDT + 16 * 0x40, &gate.to_le_bytes());
    machine.write(handler, &[0x90, 0xf4]);
    assert_eq!(steps(&mut machine), (vec![], Exit::Halt));
    assert_eq!(machine.now().rip, handler + 2);
    let pushed = machine.now().gpr[4] + 16;
    assert_eq!(machine.read_u64(pushed) & TF, TF);
}

#[test]
fn a_fault_is_not_followed_by_a_trap() {
    let mut machine = stepping(&[0x0f, 0x0b]);
    assert_eq!(machine.vcpu.run(10), Exit::Exception(Exception::ud()));
    assert_eq!(machine.now().pending_debug, 0);
}

#[test]
fn an_access_by_the_vmm_is_part_of_its_instruction() {
    let mut machine = stepping(&[0xe4, 0x60, 0x0f, 0x0b]);
    assert_eq!(machine.vcpu.run(10), Exit::PortRead { port: 0x60, size: 1 });
    machine.vcpu.complete(7);
    assert_eq!(machine.vcpu.run(10), STEP);
    let state = machine.now();
    assert_eq!((state.rip, state.gpr[0]), (CODE + 2, 7));
}

#[test]
fn a_halt_is_ended_by_its_trap() {
    let mut machine = stepping(&[0xf4]);
    assert_eq!(machine.vcpu.run(10), STEP);
    assert_eq!(machine.now().rip, CODE + 1);
}

#[test]
fn lowering_cr8_traps_too() {
    let mut machine = stepping(&[0x44, 0x0f, 0x22, 0xc0]);
    machine.state(|state| state.cr8 = 5);
    assert_eq!(machine.vcpu.run(10), Exit::Cr8Lowered);
    assert_eq!(machine.vcpu.run(10), STEP);
    assert_eq!(machine.now().rip, CODE + 4);
}

#[test]
fn a_debug_handler_runs_without_tf() {
    let mut machine = stepping(&[0x90, 0x90]);
    machine.vcpu.set_exception_exits(0);
    let handler = CODE + 0x100;
    let gate = handler & 0xffff | u64::from(CODE64) << 16 | 0x8e00 << 32 | handler >> 16 << 48;
    machine.write(crate::tests::machine::IDT + 16, &gate.to_le_bytes());
    machine.write(handler, &[0x90, 0xf4]);
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
    let state = machine.now();
    assert_eq!((state.rip, state.dr6 & DR6_BS), (handler + 2, DR6_BS));
    assert_eq!(machine.read_u64(state.gpr[4]), CODE + 1);
}
