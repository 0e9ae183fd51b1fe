// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! XCHG, XADD, CMPXCHG and its wide forms; LOCK against another processor.

use iced_x86::code_asm::*;
use iced_x86::IcedError;
use vcpu_events::Exception;

use super::machine::{Machine, CODE, DATA, STACK};
use crate::flags::bit;
use crate::{Config, Cpuid, Exit, MsrTable, Vcpu};

#[test]
fn xadd_of_a_register_with_itself_doubles_it() {
    let mut machine = Machine::long();
    machine.state(|state| state.gpr[0] = 21);
    machine.run(|a| {
        a.xadd(rax, rax)?;
        a.hlt()
    });
    assert_eq!(machine.vcpu.state().gpr[0], 42);
}

#[test]
fn xchg_and_xadd_give_what_was_in_memory() {
    let mut machine = Machine::long();
    machine.write(DATA, &7u64.to_le_bytes());
    machine.state(|state| (state.gpr[0], state.gpr[1], state.gpr[3]) = (1, 2, DATA));
    machine.run(|a| {
        a.xchg(qword_ptr(rbx), rax)?;
        a.xadd(qword_ptr(rbx), rcx)?;
        a.hlt()
    });
    let state = machine.vcpu.state();
    assert_eq!((state.gpr[0], state.gpr[1]), (7, 1));
    assert_eq!(machine.read_u64(DATA), 3);
}

/// Comparand, what is in memory -> ZF, memory after; the accumulator always has what was there.
#[test]
fn cmpxchg_8_and_16_bytes() {
    for (wide, same) in [(false, true), (false, false), (true, true), (true, false)] {
        let mut machine = Machine::long();
        let (low, high) = (0x1111_2222u64, 0x3333_4444u64);
        let other = if same { low } else { low + 1 };
        match wide {
            false => machine.write(DATA, &(high << 32 | low).to_le_bytes()),
            true => machine.write(DATA, &(u128::from(high) << 64 | u128::from(low)).to_le_bytes()),
        }
        machine.state(|state| {
            state.gpr[..4].copy_from_slice(&[other, 6, high, 5]);
            state.gpr[6] = DATA;
            state.rflags = bit::FIXED | bit::STATUS & !bit::ZF;
        });
        machine.run(|a| {
            match wide {
                false => a.lock().cmpxchg8b(qword_ptr(rsi))?,
                true => a.lock().cmpxchg16b(xmmword_ptr(rsi))?,
            }
            a.hlt()
        });
        let state = machine.vcpu.state();
        let zf = if same { bit::ZF } else { 0 };
        assert_eq!(state.rflags, bit::FIXED | bit::STATUS & !bit::ZF | zf);
        assert_eq!((state.gpr[0], state.gpr[2]), (low, high));
        let (new_low, new_high) = if same { (5, 6) } else { (low, high) };
        let found = match wide {
            false => (machine.read_u64(DATA) & 0xffff_ffff, machine.read_u64(DATA) >> 32),
            true => (machine.read_u64(DATA), machine.read_u64(DATA + 8)),
        };
        assert_eq!(found, (new_low, new_high), "wide: {wide}, same: {same}");
    }
}

#[test]
fn cmpxchg16b_wants_alignment_before_a_page() {
    for at in [DATA + 8, (1 << 30) + 1] {
        let mut machine = Machine::long();
        machine.vcpu.set_exception_exits(u32::MAX);
        machine.state(|state| state.gpr[6] = at);
        let exit = machine.run(|a| a.cmpxchg16b(xmmword_ptr(rsi)));
        assert_eq!(exit, Exit::Exception(Exception::gp(0)));
    }
}

/// Runs code on two processors that share a memory, each in its thread.
fn on_two(code: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Machine {
    let mut machine = Machine::long();
    let mut assembler = CodeAssembler::new(64).unwrap();
    code(&mut assembler).unwrap();
    machine.write(CODE, &assembler.assemble(CODE).unwrap());
    machine.state(|state| (state.rip, state.gpr[3]) = (CODE, DATA));
    let mut second = Vcpu::new(Config {
        memory: machine.vcpu.cpu.memory.clone(),
        cpuid: Cpuid::new(),
        msrs: MsrTable::new(),
        tsc: Box::new(|executed| executed),
        physical_address_bits: 40,
    });
    let mut state = machine.vcpu.state();
    state.gpr[4] = STACK - 0x1000;
    second.set_state(&state).unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| second.run(u64::MAX));
        assert_eq!(machine.vcpu.run(u64::MAX), Exit::Halt);
        assert_eq!(other.join().unwrap(), Exit::Halt);
    });
    machine
}

const TIMES: u32 = 200_000;

#[test]
fn locked_increments_of_two_processors_all_count() {
    let machine = on_two(|a| {
        let mut again = a.create_label();
        a.mov(ecx, TIMES)?;
        a.set_label(&mut again)?;
        a.lock().inc(dword_ptr(rbx))?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.hlt()
    });
    assert_eq!(machine.read_u64(DATA), 2 * u64::from(TIMES));
}

#[test]
fn locked_exchanges_of_two_processors_all_count() {
    let machine = on_two(|a| {
        let (mut again, mut retry) = (a.create_label(), a.create_label());
        a.mov(esi, TIMES)?;
        a.set_label(&mut again)?;
        a.mov(eax, 3)?;
        a.lock().xadd(qword_ptr(rbx + 32), rax)?;
        // The two halves of [rbx + 16] count alike.
        a.mov(rdi, rbx)?;
        a.mov(rax, qword_ptr(rdi + 16))?;
        a.mov(rdx, qword_ptr(rdi + 24))?;
        a.set_label(&mut retry)?;
        a.push(rbx)?;
        a.lea(rbx, qword_ptr(rax + 1))?;
        a.lea(rcx, qword_ptr(rdx + 1))?;
        a.lock().cmpxchg16b(xmmword_ptr(rdi + 16))?;
        a.pop(rbx)?;
        a.jne(retry)?;
        a.dec(esi)?;
        a.jnz(again)?;
        a.hlt()
    });
    assert_eq!(machine.read_u64(DATA + 32), 6 * u64::from(TIMES));
    assert_eq!(machine.read_u64(DATA + 16), 2 * u64::from(TIMES));
    assert_eq!(machine.read_u64(DATA + 24), 2 * u64::from(TIMES));
}

#[test]
fn exchanges_without_lock_lose_nothing() {
    // Each has a number of its own, a third is in memory; they only change places.
    let machine = on_two(|a| {
        let mut again = a.create_label();
        a.mov(rax, rsp)?;
        a.mov(ecx, TIMES)?;
        a.set_label(&mut again)?;
        for _ in 0..16 {
            a.xchg(qword_ptr(rbx), rax)?;
        }
        a.dec(ecx)?;
        a.jnz(again)?;
        a.mov(qword_ptr(rsp), rax)?;
        a.hlt()
    });
    let mut found = [DATA, STACK, STACK - 0x1000].map(|at| machine.read_u64(at));
    found.sort();
    assert_eq!(found, [0, STACK - 0x1000, STACK]);
}

#[test]
fn a_spin_lock_of_xchg_and_pause_excludes() {
    let machine = on_two(|a| {
        let (mut again, mut spin, mut taken) =
            (a.create_label(), a.create_label(), a.create_label());
        a.mov(ecx, TIMES / 10)?;
        a.set_label(&mut again)?;
        a.mov(eax, 1)?;
        a.xchg(dword_ptr(rbx), eax)?;
        a.test(eax, eax)?;
        a.jz(taken)?;
        a.set_label(&mut spin)?;
        a.pause()?;
        a.cmp(dword_ptr(rbx), 0)?;
        a.jne(spin)?;
        a.jmp(again)?;
        a.set_label(&mut taken)?;
        a.inc(qword_ptr(rbx + 64))?;
        a.mov(dword_ptr(rbx), 0)?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.hlt()
    });
    assert_eq!(machine.read_u64(DATA + 64), 2 * u64::from(TIMES / 10));
}
