// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Addition, subtraction, logic.

use iced_x86::{Instruction, Mnemonic};

use crate::cpu::Cpu;
use crate::decode::{Chosen, Form, Kind};
use crate::exec::access::{loaded_by, modified};
use crate::exec::{addressed, compare, sized};
use crate::flags::Flags;
use crate::int::Int;
use crate::mem::Address;
use crate::op::{Flow, Handler, Op, Step};

pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    let handler = match instruction.mnemonic() {
        Mnemonic::Add => binary::<Add>(form),
        Mnemonic::Or => binary::<Or>(form),
        Mnemonic::Adc => binary::<Adc>(form),
        Mnemonic::Sbb => binary::<Sbb>(form),
        Mnemonic::And => binary::<And>(form),
        Mnemonic::Sub => binary::<Sub>(form),
        Mnemonic::Xor if is_same_register(instruction, form) => sized!(form.size, clear),
        Mnemonic::Xor => binary::<Xor>(form),
        Mnemonic::Cmp | Mnemonic::Test => compare::handler(instruction, form),
        Mnemonic::Inc => unary::<Inc>(form),
        Mnemonic::Dec => unary::<Dec>(form),
        Mnemonic::Neg => unary::<Neg>(form),
        Mnemonic::Not => unary::<Not>(form),
        _ => None,
    };
    handler.map(|run| Chosen::plain(run).joining(compare::join(instruction, form)))
}

pub(super) fn is_same_register(instruction: &Instruction, form: &Form) -> bool {
    form.kinds[..2] == [Kind::Reg, Kind::Reg]
        && instruction.op0_register() == instruction.op1_register()
}

/// What an instruction of two operands makes of them; `carry` is CF, 0 or 1.
pub(super) trait Binary: 'static {
    fn of<T: Int>(a: T, b: T, carry: u64) -> T;
    fn flags<T: Int>(flags: &mut Flags, a: T, b: T, result: T);
}

macro_rules! binary {
    ($name:ident, $kind:ident, |$a:ident, $b:ident, $carry:ident| $result:expr) => {
        pub(super) struct $name;
        impl Binary for $name {
            #[inline(always)]
            fn of<T: Int>(a: T, b: T, $carry: u64) -> T {
                let ($a, $b) = (a.zx(), b.zx());
                T::from_u64($result)
            }
            binary!(@flags $kind);
        }
    };
    (@flags logic) => {
        #[inline(always)]
        fn flags<T: Int>(flags: &mut Flags, _: T, _: T, result: T) {
            flags.logic(result);
        }
    };
    (@flags $kind:ident) => {
        #[inline(always)]
        fn flags<T: Int>(flags: &mut Flags, a: T, b: T, result: T) {
            flags.$kind(a, b, result);
        }
    };
}

binary!(Add, add, |a, b, _carry| a.wrapping_add(b));
binary!(Adc, add, |a, b, carry| a.wrapping_add(b).wrapping_add(carry));
binary!(Sub, sub, |a, b, _carry| a.wrapping_sub(b));
binary!(Sbb, sub, |a, b, carry| a.wrapping_sub(b).wrapping_sub(carry));
binary!(And, logic, |a, b, _carry| a & b);
binary!(Or, logic, |a, b, _carry| a | b);
binary!(Xor, logic, |a, b, _carry| a ^ b);

fn binary<B: Binary>(form: &Form) -> Option<Handler> {
    match (form.kinds[0], form.kinds[1]) {
        (Kind::Reg, Kind::Reg) => sized!(form.size, rr, B),
        (Kind::Reg, Kind::Imm) => sized!(form.size, ri, B),
        (Kind::Reg, Kind::Mem) => addressed!(form, rm, B),
        (Kind::Mem, Kind::Reg) => addressed!(form, mr, B),
        (Kind::Mem, Kind::Imm) => addressed!(form, mi, B),
        _ => None,
    }
}

/// The result, flags set.
#[inline(always)]
pub(super) fn apply<T: Int, B: Binary>(cpu: &mut Cpu, a: T, b: T) -> T {
    let result = B::of(a, b, u64::from(cpu.flags.cf()));
    B::flags(&mut cpu.flags, a, b, result);
    result
}

fn rr<T: Int, B: Binary>(cpu: &mut Cpu, op: &Op) -> Step {
    let (a, b) = (T::get(&cpu.gpr, op.dst), T::get(&cpu.gpr, op.src));
    let result = apply::<T, B>(cpu, a, b);
    T::set(&mut cpu.gpr, op.dst, result);
    Ok(Flow::Next)
}

#[inline(always)]
pub(super) fn ri<T: Int, B: Binary>(cpu: &mut Cpu, op: &Op) -> Step {
    let a = T::get(&cpu.gpr, op.dst);
    let result = apply::<T, B>(cpu, a, op.imm());
    T::set(&mut cpu.gpr, op.dst, result);
    Ok(Flow::Next)
}

fn rm<T: Int, B: Binary, A: Address>(cpu: &mut Cpu, op: &Op) -> Step {
    loaded_by::<A, T, _>(cpu, op, |cpu, op, b| {
        let a = T::get(&cpu.gpr, op.dst);
        let result = apply::<T, B>(cpu, a, b);
        T::set(&mut cpu.gpr, op.dst, result);
        Ok(Flow::Next)
    })
}

fn mr<T: Int, B: Binary, A: Address>(cpu: &mut Cpu, op: &Op) -> Step {
    let b = T::get(&cpu.gpr, op.src);
    to_memory::<T, B, A>(cpu, op, b)
}

fn mi<T: Int, B: Binary, A: Address>(cpu: &mut Cpu, op: &Op) -> Step {
    to_memory::<T, B, A>(cpu, op, op.imm())
}

#[inline(always)]
fn to_memory<T: Int, B: Binary, A: Address>(cpu: &mut Cpu, op: &Op, b: T) -> Step {
    let carry = u64::from(cpu.flags.cf());
    let change = move |a: T| B::of(a, b, carry);
    let then = move |cpu: &mut Cpu, a: T| B::flags(&mut cpu.flags, a, b, change(a));
    modified::<A, T, _, _>(cpu, op, change, then)
}

/// XOR of a register with itself.
fn clear<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let zero = T::from_u64(0);
    cpu.flags.logic(zero);
    T::set(&mut cpu.gpr, op.dst, zero);
    Ok(Flow::Next)
}

/// What an instruction of one operand makes of it.
pub(super) trait Unary: 'static {
    fn of<T: Int>(a: T) -> T;
    fn flags<T: Int>(flags: &mut Flags, a: T, result: T);
}

pub(super) struct Inc;
impl Unary for Inc {
    #[inline(always)]
    fn of<T: Int>(a: T) -> T {
        T::from_u64(a.zx().wrapping_add(1))
    }
    #[inline(always)]
    fn flags<T: Int>(flags: &mut Flags, _: T, result: T) {
        flags.inc(result);
    }
}

pub(super) struct Dec;
impl Unary for Dec {
    #[inline(always)]
    fn of<T: Int>(a: T) -> T {
        T::from_u64(a.zx().wrapping_sub(1))
    }
    #[inline(always)]
    fn flags<T: Int>(flags: &mut Flags, _: T, result: T) {
        flags.dec(result);
    }
}

struct Neg;
impl Unary for Neg {
    #[inline(always)]
    fn of<T: Int>(a: T) -> T {
        T::from_u64(a.zx().wrapping_neg())
    }
    #[inline(always)]
    fn flags<T: Int>(flags: &mut Flags, a: T, result: T) {
        flags.sub(T::from_u64(0), a, result);
    }
}

struct Not;
impl Unary for Not {
    #[inline(always)]
    fn of<T: Int>(a: T) -> T {
        T::from_u64(!a.zx())
    }
    #[inline(always)]
    fn flags<T: Int>(_: &mut Flags, _: T, _: T) {}
}

fn unary<U: Unary>(form: &Form) -> Option<Handler> {
    match form.kinds[0] {
        Kind::Reg => sized!(form.size, unary_r, U),
        Kind::Mem => addressed!(form, unary_m, U),
        _ => None,
    }
}

#[inline(always)]
pub(super) fn unary_r<T: Int, U: Unary>(cpu: &mut Cpu, op: &Op) -> Step {
    let a = T::get(&cpu.gpr, op.dst);
    let result = U::of(a);
    U::flags(&mut cpu.flags, a, result);
    T::set(&mut cpu.gpr, op.dst, result);
    Ok(Flow::Next)
}

fn unary_m<T: Int, U: Unary, A: Address>(cpu: &mut Cpu, op: &Op) -> Step {
    let then = |cpu: &mut Cpu, a| U::flags(&mut cpu.flags, a, U::of(a));
    modified::<A, T, _, _>(cpu, op, U::of::<T>, then)
}
