// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! BT, BTS, BTR, BTC. CF is the bit as it was; the other flags stay (ZF by the manual, the rest,
//! undefined there, by all processors).

use iced_x86::{Instruction, Mnemonic};

use crate::cpu::Cpu;
use crate::decode::{Chosen, Form, Kind};
use crate::exec::sized;
use crate::int::Int;
use crate::op::{Flow, Handler, Op, Step, Trap};

pub(super) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    let handler = match instruction.mnemonic() {
        Mnemonic::Bt => match (form.kinds[0], form.kinds[1]) {
            (Kind::Reg, Kind::Reg) => sized!(form.size, bt_rr),
            (Kind::Reg, Kind::Imm) => sized!(form.size, bt_ri),
            (Kind::Mem, Kind::Reg) => sized!(form.size, bt_mr),
            (Kind::Mem, Kind::Imm) => sized!(form.size, bt_mi),
            _ => None,
        },
        Mnemonic::Bts => handler::<Set>(form),
        Mnemonic::Btr => handler::<Reset>(form),
        Mnemonic::Btc => handler::<Complement>(form),
        _ => None,
    };
    handler.map(Chosen::plain)
}

/// What happens to the bit.
trait Change {
    fn change(value: u64, bit: u64) -> u64;
}

struct Set;

impl Change for Set {
    #[inline(always)]
    fn change(value: u64, bit: u64) -> u64 {
        value | bit
    }
}

struct Reset;

impl Change for Reset {
    #[inline(always)]
    fn change(value: u64, bit: u64) -> u64 {
        value & !bit
    }
}

struct Complement;

impl Change for Complement {
    #[inline(always)]
    fn change(value: u64, bit: u64) -> u64 {
        value ^ bit
    }
}

fn handler<C: Change>(form: &Form) -> Option<Handler> {
    match (form.kinds[0], form.kinds[1]) {
        (Kind::Reg, Kind::Reg) => sized!(form.size, change_rr, C),
        (Kind::Reg, Kind::Imm) => sized!(form.size, change_ri, C),
        (Kind::Mem, Kind::Reg) => sized!(form.size, change_mr, C),
        (Kind::Mem, Kind::Imm) => sized!(form.size, change_mi, C),
        _ => None,
    }
}

/// The bit that `offset` selects in an operand.
#[inline(always)]
fn bit<T: Int>(offset: u64) -> u64 {
    1 << (offset & u64::from(T::BITS - 1))
}

/// The instruction with its memory operand moved to the one that holds the bit: the register is a
/// signed bit offset that reaches as far as it can.
#[inline(always)]
fn moved<T: Int>(op: &Op, offset: T) -> Op {
    let operands = (offset.sx() as i64).div_euclid(i64::from(T::BITS)) as u64;
    Op { disp: op.disp.wrapping_add(operands.wrapping_mul(T::BYTES)), ..*op }
}

#[inline(always)]
fn tested<T: Int>(cpu: &mut Cpu, value: T, bit: u64) -> Step {
    cpu.flags.set_cf(value.zx() & bit != 0);
    Ok(Flow::Next)
}

fn bt_rr<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let (value, offset) = (T::get(&cpu.gpr, op.dst), T::get(&cpu.gpr, op.src));
    tested(cpu, value, bit::<T>(offset.zx()))
}

fn bt_ri<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = T::get(&cpu.gpr, op.dst);
    tested(cpu, value, bit::<T>(op.imm))
}

fn bt_mr<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let offset = T::get(&cpu.gpr, op.src);
    let value = cpu.load::<T>(&moved(op, offset))?;
    tested(cpu, value, bit::<T>(offset.zx()))
}

fn bt_mi<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = cpu.load::<T>(op)?;
    tested(cpu, value, bit::<T>(op.imm))
}

fn change_rr<T: Int, C: Change>(cpu: &mut Cpu, op: &Op) -> Step {
    let offset = T::get(&cpu.gpr, op.src).zx();
    change_register::<T, C>(cpu, op, bit::<T>(offset))
}

fn change_ri<T: Int, C: Change>(cpu: &mut Cpu, op: &Op) -> Step {
    change_register::<T, C>(cpu, op, bit::<T>(op.imm))
}

#[inline(always)]
fn change_register<T: Int, C: Change>(cpu: &mut Cpu, op: &Op, bit: u64) -> Step {
    let value = T::get(&cpu.gpr, op.dst);
    T::set(&mut cpu.gpr, op.dst, T::from_u64(C::change(value.zx(), bit)));
    tested(cpu, value, bit)
}

fn change_mr<T: Int, C: Change>(cpu: &mut Cpu, op: &Op) -> Step {
    let offset = T::get(&cpu.gpr, op.src);
    let bit = bit::<T>(offset.zx());
    let value = change_memory::<T, C>(cpu, &moved(op, offset), bit)?;
    tested(cpu, value, bit)
}

fn change_mi<T: Int, C: Change>(cpu: &mut Cpu, op: &Op) -> Step {
    let bit = bit::<T>(op.imm);
    let value = change_memory::<T, C>(cpu, op, bit)?;
    tested(cpu, value, bit)
}

#[inline(always)]
fn change_memory<T: Int, C: Change>(cpu: &mut Cpu, op: &Op, bit: u64) -> Result<T, Trap> {
    cpu.modify(op, |value: T| T::from_u64(C::change(value.zx(), bit)))
}
