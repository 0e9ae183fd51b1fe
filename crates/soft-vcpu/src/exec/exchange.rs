// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! XCHG, XADD, and compare-and-exchange.

use iced_x86::{Instruction, Mnemonic};

use crate::cpu::Cpu;
use crate::decode::{Chosen, Form, Kind};
use crate::exec::sized;
use crate::int::{reg, Int};
use crate::op::{Flow, Handler, Op, Step};

pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    let handler = match (instruction.mnemonic(), form.kinds[0]) {
        (Mnemonic::Xchg, Kind::Reg) => sized!(form.size, xchg_r),
        (Mnemonic::Xchg, Kind::Mem) => sized!(form.size, xchg_m),
        (Mnemonic::Xadd, Kind::Reg) => sized!(form.size, xadd_r),
        (Mnemonic::Xadd, Kind::Mem) => sized!(form.size, xadd_m),
        (Mnemonic::Cmpxchg, Kind::Reg) => sized!(form.size, cmpxchg_r),
        (Mnemonic::Cmpxchg, Kind::Mem) => sized!(form.size, cmpxchg_m),
        (Mnemonic::Cmpxchg8b, Kind::Mem) => Some(cmpxchg8b as Handler),
        (Mnemonic::Cmpxchg16b, Kind::Mem) => Some(cmpxchg16b as Handler),
        _ => None,
    };
    handler.map(Chosen::plain)
}

fn xchg_r<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let (a, b) = (T::get(&cpu.gpr, op.dst), T::get(&cpu.gpr, op.src));
    T::set(&mut cpu.gpr, op.dst, b);
    T::set(&mut cpu.gpr, op.src, a);
    Ok(Flow::Next)
}

/// Locked with the prefix and without.
fn xchg_m<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let new = T::get(&cpu.gpr, op.src);
    let at = cpu.write_address(op, T::BYTES)?;
    let old = cpu.modify_at(op.seg, at, true, |_| new)?;
    T::set(&mut cpu.gpr, op.src, old);
    Ok(Flow::Next)
}

fn xadd_r<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let (a, b) = (T::get(&cpu.gpr, op.dst), T::get(&cpu.gpr, op.src));
    let sum = sum(a, b);
    cpu.flags.add(a, b, sum);
    T::set(&mut cpu.gpr, op.src, a);
    // Last: if both are the same register, it holds the sum.
    T::set(&mut cpu.gpr, op.dst, sum);
    Ok(Flow::Next)
}

fn xadd_m<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let b = T::get(&cpu.gpr, op.src);
    let a = cpu.modify(op, |a| sum(a, b))?;
    cpu.flags.add(a, b, sum(a, b));
    T::set(&mut cpu.gpr, op.src, a);
    Ok(Flow::Next)
}

#[inline(always)]
fn sum<T: Int>(a: T, b: T) -> T {
    T::from_u64(a.zx().wrapping_add(b.zx()))
}

/// Flags of CMP between the accumulator and what was found.
#[inline(always)]
fn compare<T: Int>(cpu: &mut Cpu, accumulator: T, found: T) {
    let difference = T::from_u64(accumulator.zx().wrapping_sub(found.zx()));
    cpu.flags.sub(accumulator, found, difference);
}

fn cmpxchg_r<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let accumulator = T::get(&cpu.gpr, reg::RAX);
    let found = T::get(&cpu.gpr, op.dst);
    let new = T::get(&cpu.gpr, op.src);
    compare(cpu, accumulator, found);
    // Only one of the two is written: with 32 bits, the other one keeps its upper half.
    match accumulator == found {
        true => T::set(&mut cpu.gpr, op.dst, new),
        false => T::set(&mut cpu.gpr, reg::RAX, found),
    }
    Ok(Flow::Next)
}

fn cmpxchg_m<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let accumulator = T::get(&cpu.gpr, reg::RAX);
    let new = T::get(&cpu.gpr, op.src);
    // What differs is written back as it is, as a processor does.
    let found = cpu.modify(op, |old| if old == accumulator { new } else { old })?;
    compare(cpu, accumulator, found);
    if accumulator != found {
        T::set(&mut cpu.gpr, reg::RAX, found);
    }
    Ok(Flow::Next)
}

/// The halves of the comparand and of the new value.
fn pairs<T: Int>(cpu: &Cpu) -> (T, T, T, T) {
    let get = |register| T::get(&cpu.gpr, register);
    (get(reg::RDX), get(reg::RAX), get(reg::RCX), get(reg::RBX))
}

fn cmpxchg8b(cpu: &mut Cpu, op: &Op) -> Step {
    let (high, low, new_high, new_low) = pairs::<u32>(cpu);
    let expected = u64::from(high) << 32 | u64::from(low);
    let new = u64::from(new_high) << 32 | u64::from(new_low);
    let found = cpu.modify(op, |old: u64| if old == expected { new } else { old })?;
    cpu.flags.set_zf(found == expected);
    if found != expected {
        u32::set(&mut cpu.gpr, reg::RDX, (found >> 32) as u32);
        u32::set(&mut cpu.gpr, reg::RAX, found as u32);
    }
    Ok(Flow::Next)
}

fn cmpxchg16b(cpu: &mut Cpu, op: &Op) -> Step {
    let (high, low, new_high, new_low) = pairs::<u64>(cpu);
    let expected = u128::from(high) << 64 | u128::from(low);
    let new = u128::from(new_high) << 64 | u128::from(new_low);
    let at = cpu.write_address(op, 16)?;
    if at % 16 != 0 {
        return Err(cpu.gp());
    }
    let found = cpu.compare_exchange_16(op.seg, at, expected, new)?;
    cpu.flags.set_zf(found == expected);
    if found != expected {
        u64::set(&mut cpu.gpr, reg::RDX, (found >> 64) as u64);
        u64::set(&mut cpu.gpr, reg::RAX, found as u64);
    }
    Ok(Flow::Next)
}
