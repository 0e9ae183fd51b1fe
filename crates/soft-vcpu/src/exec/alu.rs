// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Addition, subtraction, logic.

use iced_x86::{Instruction, Mnemonic};

use crate::cpu::Cpu;
use crate::decode::{Chosen, Form, Kind};
use crate::exec::sized;
use crate::int::Int;
use crate::op::{Flow, Op, Step};

pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    let handler = match (instruction.mnemonic(), form.kinds[0], form.kinds[1]) {
        (Mnemonic::Add, Kind::Reg, Kind::Reg) => sized!(form.size, add_rr),
        (Mnemonic::Add, Kind::Reg, Kind::Imm) => sized!(form.size, add_ri),
        (Mnemonic::Add, Kind::Reg, Kind::Mem) => sized!(form.size, add_rm),
        (Mnemonic::Add, Kind::Mem, Kind::Reg) => sized!(form.size, add_mr),
        _ => None,
    };
    handler.map(Chosen::plain)
}

fn add<T: Int>(cpu: &mut Cpu, a: T, b: T) -> T {
    let result = T::from_u64(a.zx().wrapping_add(b.zx()));
    cpu.flags.add(a, b, result);
    result
}

fn add_rr<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let (a, b) = (T::get(&cpu.gpr, op.dst), T::get(&cpu.gpr, op.src));
    let result = add(cpu, a, b);
    T::set(&mut cpu.gpr, op.dst, result);
    Ok(Flow::Next)
}

fn add_ri<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let a = T::get(&cpu.gpr, op.dst);
    let result = add(cpu, a, op.imm());
    T::set(&mut cpu.gpr, op.dst, result);
    Ok(Flow::Next)
}

fn add_rm<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let (a, b) = (T::get(&cpu.gpr, op.dst), cpu.load(op)?);
    let result = add(cpu, a, b);
    T::set(&mut cpu.gpr, op.dst, result);
    Ok(Flow::Next)
}

fn add_mr<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let b = T::get(&cpu.gpr, op.src);
    let a = cpu.modify(op, |a: T| T::from_u64(a.zx().wrapping_add(b.zx())))?;
    add(cpu, a, b);
    Ok(Flow::Next)
}
