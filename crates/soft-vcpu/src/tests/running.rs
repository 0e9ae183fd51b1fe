// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How runs end: budgets and kicks.

use iced_x86::code_asm::*;

use super::machine::{Machine, CODE, DATA};
use crate::Exit;

/// A program with a loop, a call, a repeated instruction and writes.
fn program(machine: &mut Machine) {
    let mut a = CodeAssembler::new(64).unwrap();
    let mut code = || {
        let mut again = a.create_label();
        let mut function = a.create_label();
        a.mov(ecx, 3)?;
        a.set_label(&mut again)?;
        a.push(rcx)?;
        a.mov(rdi, DATA)?;
        a.mov(ecx, 3)?;
        a.rep().stosb()?;
        a.pop(rcx)?;
        a.call(function)?;
        a.sti()?;
        a.nop()?;
        a.cli()?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.hlt()?;
        a.set_label(&mut function)?;
        a.add(eax, ecx)?;
        a.mov(dword_ptr(DATA + 0x100), eax)?;
        a.ret()
    };
    code().unwrap();
    machine.write(CODE, &a.assemble(CODE).unwrap());
    machine.state(|state| state.rip = CODE);
}

#[test]
fn a_budget_is_spent_exactly() {
    let mut single = Machine::long();
    program(&mut single);
    let mut states = vec![single.vcpu.state()];
    let mut executed = vec![0];
    while single.vcpu.run(1) == Exit::Budget {
        states.push(single.vcpu.state());
        executed.push(single.vcpu.executed());
    }
    let last = states.len() as u64;
    for (n, executed) in executed.iter().enumerate() {
        assert_eq!(*executed, n as u64);
    }
    // However the instructions are portioned, the states are the same.
    for budget in 2..last + 3 {
        let mut machine = Machine::long();
        program(&mut machine);
        let mut done = 0;
        loop {
            let exit = machine.vcpu.run(budget);
            done += budget;
            if exit == Exit::Halt {
                break;
            }
            assert_eq!((exit, machine.vcpu.executed()), (Exit::Budget, done));
            assert_eq!(machine.vcpu.state(), states[done as usize], "after {done}");
        }
        assert_eq!(machine.vcpu.executed(), last);
    }
}

#[test]
fn halt_counts_and_is_behind_the_instruction() {
    let mut machine = Machine::long();
    assert_eq!(machine.run_bytes(&[0x90, 0xf4]), Exit::Halt);
    assert_eq!((machine.vcpu.executed(), machine.vcpu.state().rip), (2, CODE + 2));
}

#[test]
fn a_loop_of_faults_spends_its_budget() {
    let mut machine = Machine::long();
    // #UD's gate leads to UD2 itself.
    let gate = CODE & 0xffff | 0x08 << 16 | 0x8e00 << 32 | CODE >> 16 << 48;
    machine.write(super::machine::IDT + 16 * 6, &gate.to_le_bytes());
    machine.write(CODE, &[0x0f, 0x0b]);
    machine.state(|state| (state.rip, state.gpr[4]) = (CODE, DATA + 0x8000));
    assert_eq!(machine.vcpu.run(100), Exit::Budget);
    assert_eq!(machine.vcpu.executed(), 100);
}

#[test]
fn an_event_at_the_end_of_a_budget() {
    let mut machine = Machine::long();
    let gate = CODE & 0xffff | 0x08 << 16 | 0x8e00 << 32 | CODE >> 16 << 48;
    machine.write(super::machine::IDT + 16, &gate.to_le_bytes());
    machine.write(CODE, &[0x90, 0x90, 0x90]);
    // The single-step trap of the only instruction is delivered after it.
    machine.state(|state| (state.rip, state.rflags) = (CODE + 1, state.rflags | 1 << 8));
    assert_eq!(machine.vcpu.run(1), Exit::Budget);
    let state = machine.vcpu.state();
    assert_eq!((state.rip, state.dr6 & 1 << 14), (CODE, 1 << 14));
}

#[test]
fn a_kick_ends_a_run_from_another_thread() {
    let mut machine = Machine::long();
    let kick = machine.vcpu.kick_handle();
    let thread = std::thread::spawn(move || kick.kick());
    // jmp $
    assert_eq!(run_forever(&mut machine, &[0xeb, 0xfe]), Exit::Kicked);
    thread.join().unwrap();
    assert_eq!(machine.vcpu.state().rip, CODE);
}

fn run_forever(machine: &mut Machine, code: &[u8]) -> Exit {
    machine.write(CODE, code);
    machine.state(|state| state.rip = CODE);
    machine.vcpu.run(u64::MAX)
}

#[test]
fn a_kick_before_a_run_ends_it_at_once() {
    let mut machine = Machine::long();
    machine.vcpu.kick_handle().kick();
    machine.vcpu.kick_handle().kick();
    assert_eq!(machine.run_bytes(&[0x90, 0xf4]), Exit::Kicked);
    assert_eq!(machine.vcpu.executed(), 0);
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
}

#[test]
fn a_kick_ends_a_repeated_instruction_that_would_take_years() {
    let mut machine = Machine::long();
    // Every linear address is the same page: tables that point to themselves.
    let tables = super::machine::PAGE_TABLES + 0x8000;
    for n in 0..512u64 {
        machine.write(tables + 8 * n, &(tables | 0x67).to_le_bytes());
    }
    machine.write(super::machine::PAGE_TABLES + 0x800, &(tables | 0x67).to_le_bytes());
    let kick = machine.vcpu.kick_handle();
    machine.state(|state| (state.gpr[6], state.gpr[1]) = (0xffff_8000_0000_0000, 1 << 46));
    let thread = std::thread::spawn(move || kick.kick());
    // rep lodsb
    assert_eq!(run_forever(&mut machine, &[0xf3, 0xac, 0xf4]), Exit::Kicked);
    thread.join().unwrap();
    assert_eq!(machine.vcpu.state().rip, CODE);
}

#[test]
fn a_kick_does_not_lose_the_access_under_way() {
    let mut machine = Machine::long();
    // in al, 0x60; hlt
    let exit = machine.run_bytes(&[0xe4, 0x60, 0xf4]);
    assert_eq!(exit, Exit::PortRead { port: 0x60, size: 1 });
    machine.vcpu.complete(0x5a);
    machine.vcpu.kick_handle().kick();
    assert_eq!(machine.vcpu.run(10), Exit::Kicked);
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
    assert_eq!(machine.vcpu.state().gpr[0], 0x5a);
}
