// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Moves between general registers, memory and immediates; extensions; addresses.

use iced_x86::{Instruction, Mnemonic, OpKind};

use crate::cpu::Cpu;
use crate::decode::{Chosen, Form, Kind};
use crate::exec::access::{loaded_by, stored_by};
use crate::exec::{addressed, sized};
use crate::int::{reg, Int};
use crate::mem::Address;
use crate::op::{Flow, Handler, Op, Step, ADDRESS_MASK};

pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    let handler = match instruction.mnemonic() {
        Mnemonic::Mov if is_general(instruction) => mov(form),
        Mnemonic::Movnti => mov(form),
        Mnemonic::Movzx => extension::<Zero>(form),
        Mnemonic::Movsx | Mnemonic::Movsxd => extension::<Sign>(form),
        Mnemonic::Lea => addressed!(form, lea),
        Mnemonic::Bswap => sized!(form.size, bswap),
        Mnemonic::Cbw => Some(widen::<u8, u16> as Handler),
        Mnemonic::Cwde => Some(widen::<u16, u32> as Handler),
        Mnemonic::Cdqe => Some(widen::<u32, u64> as Handler),
        Mnemonic::Cwd => Some(spread::<u16> as Handler),
        Mnemonic::Cdq => Some(spread::<u32> as Handler),
        Mnemonic::Cqo => Some(spread::<u64> as Handler),
        Mnemonic::Xlatb => Some(xlatb as Handler),
        _ => None,
    };
    handler.map(Chosen::plain)
}

/// No segment, control, debug or test register.
fn is_general(instruction: &Instruction) -> bool {
    (0..instruction.op_count())
        .filter(|n| instruction.op_kind(*n) == OpKind::Register)
        .all(|n| instruction.op_register(n).is_gpr())
}

fn mov(form: &Form) -> Option<Handler> {
    match (form.kinds[0], form.kinds[1]) {
        (Kind::Reg, Kind::Reg) => sized!(form.size, mov_rr),
        (Kind::Reg, Kind::Imm) => sized!(form.size, mov_ri),
        (Kind::Reg, Kind::Mem) => addressed!(form, mov_rm),
        (Kind::Mem, Kind::Reg) => addressed!(form, mov_mr),
        (Kind::Mem, Kind::Imm) => addressed!(form, mov_mi),
        _ => None,
    }
}

fn mov_rr<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = T::get(&cpu.gpr, op.src);
    T::set(&mut cpu.gpr, op.dst, value);
    Ok(Flow::Next)
}

fn mov_ri<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    T::set(&mut cpu.gpr, op.dst, op.imm());
    Ok(Flow::Next)
}

fn mov_rm<T: Int, A: Address>(cpu: &mut Cpu, op: &Op) -> Step {
    loaded_by::<A, T, _>(cpu, op, |cpu, op, value| {
        T::set(&mut cpu.gpr, op.dst, value);
        Ok(Flow::Next)
    })
}

fn mov_mr<T: Int, A: Address>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = T::get(&cpu.gpr, op.src);
    stored_by::<A, T>(cpu, op, value)
}

fn mov_mi<T: Int, A: Address>(cpu: &mut Cpu, op: &Op) -> Step {
    stored_by::<A, T>(cpu, op, op.imm())
}

/// How the upper half of the destination follows from the source.
trait Extend: 'static {
    fn of<T: Int>(value: T) -> u64;
}

struct Zero;
impl Extend for Zero {
    #[inline(always)]
    fn of<T: Int>(value: T) -> u64 {
        value.zx()
    }
}

struct Sign;
impl Extend for Sign {
    #[inline(always)]
    fn of<T: Int>(value: T) -> u64 {
        value.sx()
    }
}

fn extension<E: Extend>(form: &Form) -> Option<Handler> {
    match (form.kinds[1], form.size2) {
        (Kind::Reg, 1) => sized!(form.size, extend_rr, u8, E),
        (Kind::Reg, 2) => sized!(form.size, extend_rr, u16, E),
        (Kind::Reg, 4) => sized!(form.size, extend_rr, u32, E),
        (Kind::Mem, 1) => addressed!(form, extend_rm, u8, E),
        (Kind::Mem, 2) => addressed!(form, extend_rm, u16, E),
        (Kind::Mem, 4) => addressed!(form, extend_rm, u32, E),
        _ => None,
    }
}

fn extend_rr<T: Int, S: Int, E: Extend>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = E::of(S::get(&cpu.gpr, op.src));
    T::set(&mut cpu.gpr, op.dst, T::from_u64(value));
    Ok(Flow::Next)
}

fn extend_rm<T: Int, S: Int, E: Extend, A: Address>(cpu: &mut Cpu, op: &Op) -> Step {
    loaded_by::<A, S, _>(cpu, op, |cpu, op, value| {
        T::set(&mut cpu.gpr, op.dst, T::from_u64(E::of(value)));
        Ok(Flow::Next)
    })
}

fn lea<T: Int, A: Address>(cpu: &mut Cpu, op: &Op) -> Step {
    let offset = A::offset(cpu, op);
    T::set(&mut cpu.gpr, op.dst, T::from_u64(offset));
    Ok(Flow::Next)
}

/// BSWAP; what it does to 16 bits is undefined, processors clear them.
fn bswap<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = T::get(&cpu.gpr, op.dst).zx();
    let swapped = match T::BITS {
        16 => 0,
        bits => value.swap_bytes() >> (64 - bits),
    };
    T::set(&mut cpu.gpr, op.dst, T::from_u64(swapped));
    Ok(Flow::Next)
}

/// CBW, CWDE, CDQE: the accumulator's lower half, sign-extended.
fn widen<S: Int, T: Int>(cpu: &mut Cpu, _: &Op) -> Step {
    let value = S::get(&cpu.gpr, reg::RAX).sx();
    T::set(&mut cpu.gpr, reg::RAX, T::from_u64(value));
    Ok(Flow::Next)
}

/// CWD, CDQ, CQO: the accumulator's sign all over the data register.
fn spread<T: Int>(cpu: &mut Cpu, _: &Op) -> Step {
    let sign = (T::get(&cpu.gpr, reg::RAX).sx() as i64 >> 63) as u64;
    T::set(&mut cpu.gpr, reg::RDX, T::from_u64(sign));
    Ok(Flow::Next)
}

/// The index is AL, where a memory operand has a whole register.
fn xlatb(cpu: &mut Cpu, op: &Op) -> Step {
    let index = u8::get(&cpu.gpr, reg::RAX).zx();
    let base = cpu.gpr[usize::from(reg::RBX)];
    let offset = base.wrapping_add(index) & ADDRESS_MASK[usize::from(op.asize & 3)];
    let at = cpu.linear(op.seg, offset, 1, false)?;
    let value: u8 = cpu.read(op.seg, at)?;
    u8::set(&mut cpu.gpr, reg::RAX, value);
    Ok(Flow::Next)
}
