// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! CMP and TEST; what often has a conditional branch behind it, together with that.

use std::marker::PhantomData;

use iced_x86::{Instruction, Mnemonic};

use super::alu::{apply, is_same_register, ri, unary_r, Add, And, Binary, Dec, Inc, Sub, Unary};
use super::join::{branch, joined, Joined};
use crate::cpu::Cpu;
use crate::decode::{Form, Join, Kind};
use crate::exec::access::loaded_by;
use crate::exec::sized;
use crate::int::Int;
use crate::mem::{Address, Any, Plain};
use crate::op::{Flow, Handler, Op, Step};

/// The handler of CMP and TEST.
pub(super) fn handler(instruction: &Instruction, form: &Form) -> Option<Handler> {
    match instruction.mnemonic() {
        Mnemonic::Cmp => comparison::<Sub>(form),
        _ if is_same_register(instruction, form) => sized!(form.size, compare, And, Itself),
        _ => comparison::<And>(form),
    }
}

fn comparison<B: Binary>(form: &Form) -> Option<Handler> {
    match (form.kinds[0], form.kinds[1], form.plain) {
        (Kind::Reg, Kind::Reg, _) => sized!(form.size, compare, B, RegReg),
        (Kind::Reg, Kind::Imm, _) => sized!(form.size, compare, B, RegImm),
        (Kind::Reg, Kind::Mem, true) => sized!(form.size, compare, B, RegMem<Plain>),
        (Kind::Reg, Kind::Mem, false) => sized!(form.size, compare, B, RegMem<Any>),
        (Kind::Mem, Kind::Reg, true) => sized!(form.size, compare, B, MemReg<Plain>),
        (Kind::Mem, Kind::Reg, false) => sized!(form.size, compare, B, MemReg<Any>),
        (Kind::Mem, Kind::Imm, true) => sized!(form.size, compare, B, MemImm<Plain>),
        (Kind::Mem, Kind::Imm, false) => sized!(form.size, compare, B, MemImm<Any>),
        _ => None,
    }
}

/// [`joined`] for an instruction's size in bytes; of 16-bit ones there are few.
macro_rules! join_sized {
    ($form:expr, $name:ident $(, $arg:ty)*) => {
        match $form.size {
            1 => Some(joined::<$name<u8 $(, $arg)*>> as Join),
            4 => Some(joined::<$name<u32 $(, $arg)*>> as Join),
            8 => Some(joined::<$name<u64 $(, $arg)*>> as Join),
            _ => None,
        }
    };
}

/// How an instruction is carried out together with a conditional branch, if it often has one
/// behind it.
pub(super) fn join(instruction: &Instruction, form: &Form) -> Option<Join> {
    match (instruction.mnemonic(), form.kinds[0], form.kinds[1]) {
        (Mnemonic::Test, ..) if is_same_register(instruction, form) => {
            join_sized!(form, Compare, And, Itself)
        }
        (Mnemonic::Test, Kind::Reg, Kind::Imm) => join_sized!(form, Compare, And, RegImm),
        (Mnemonic::Test, Kind::Mem, Kind::Imm) if form.plain => {
            join_sized!(form, Compare, And, MemImm<Plain>)
        }
        (Mnemonic::Cmp, Kind::Reg, Kind::Reg) => join_sized!(form, Compare, Sub, RegReg),
        (Mnemonic::Cmp, Kind::Reg, Kind::Imm) => join_sized!(form, Compare, Sub, RegImm),
        (Mnemonic::Cmp, Kind::Reg, Kind::Mem) if form.plain => {
            join_sized!(form, Compare, Sub, RegMem<Plain>)
        }
        (Mnemonic::Cmp, Kind::Mem, Kind::Reg) if form.plain => {
            join_sized!(form, Compare, Sub, MemReg<Plain>)
        }
        (Mnemonic::Cmp, Kind::Mem, Kind::Imm) if form.plain => {
            join_sized!(form, Compare, Sub, MemImm<Plain>)
        }
        (Mnemonic::And, Kind::Reg, Kind::Imm) => join_sized!(form, Immediate, And),
        (Mnemonic::Add, Kind::Reg, Kind::Imm) => join_sized!(form, Immediate, Add),
        (Mnemonic::Sub, Kind::Reg, Kind::Imm) => join_sized!(form, Immediate, Sub),
        (Mnemonic::Inc, Kind::Reg, _) => join_sized!(form, Step1, Inc),
        (Mnemonic::Dec, Kind::Reg, _) => join_sized!(form, Step1, Dec),
        _ => None,
    }
}

/// Where two operands come from.
trait Operands: 'static {
    /// Gets them, then goes on with them.
    fn get<T: Int, F>(cpu: &mut Cpu, op: &Op, then: F) -> Step
    where
        F: FnOnce(&mut Cpu, &Op, T, T) -> Step;
}

macro_rules! operands {
    ($name:ident $(<$a:ident>)?, |$cpu:ident, $op:ident, $then:ident| $body:expr) => {
        struct $name $(<$a>(PhantomData<$a>))?;
        impl $(<$a: Address>)? Operands for $name $(<$a>)? {
            #[inline(always)]
            fn get<T: Int, F>($cpu: &mut Cpu, $op: &Op, $then: F) -> Step
            where
                F: FnOnce(&mut Cpu, &Op, T, T) -> Step,
            {
                $body
            }
        }
    };
}

operands!(RegReg, |cpu, op, then| {
    let (a, b) = (T::get(&cpu.gpr, op.dst), T::get(&cpu.gpr, op.src));
    then(cpu, op, a, b)
});
operands!(Itself, |cpu, op, then| {
    let a = T::get(&cpu.gpr, op.dst);
    then(cpu, op, a, a)
});
operands!(RegImm, |cpu, op, then| {
    let a = T::get(&cpu.gpr, op.dst);
    then(cpu, op, a, op.imm())
});
operands!(RegMem<A>, |cpu, op, then| loaded_by::<A, T, _>(cpu, op, |cpu, op, b| {
    let a = T::get(&cpu.gpr, op.dst);
    then(cpu, op, a, b)
}));
operands!(MemReg<A>, |cpu, op, then| loaded_by::<A, T, _>(cpu, op, |cpu, op, a| {
    let b = T::get(&cpu.gpr, op.src);
    then(cpu, op, a, b)
}));
operands!(MemImm<A>, |cpu, op, then| loaded_by::<A, T, _>(cpu, op, |cpu, op, a| {
    then(cpu, op, a, op.imm())
}));

/// Flags alone.
fn compare<T: Int, B: Binary, O: Operands>(cpu: &mut Cpu, op: &Op) -> Step {
    O::get(cpu, op, |cpu, _, a: T, b| {
        apply::<T, B>(cpu, a, b);
        Ok(Flow::Next)
    })
}

struct Compare<T, B, O>(PhantomData<(T, B, O)>);

impl<T: Int, B: Binary, O: Operands> Joined for Compare<T, B, O> {
    #[inline(always)]
    fn run<const CC: u8>(cpu: &mut Cpu, op: &Op) -> Step {
        O::get(cpu, op, |cpu, op, a: T, b| {
            apply::<T, B>(cpu, a, b);
            branch::<CC>(cpu, op)
        })
    }
}

/// An instruction on a register and an immediate.
struct Immediate<T, B>(PhantomData<(T, B)>);

impl<T: Int, B: Binary> Joined for Immediate<T, B> {
    #[inline(always)]
    fn run<const CC: u8>(cpu: &mut Cpu, op: &Op) -> Step {
        ri::<T, B>(cpu, op)?;
        branch::<CC>(cpu, op)
    }
}

/// INC and DEC of a register.
struct Step1<T, U>(PhantomData<(T, U)>);

impl<T: Int, U: Unary> Joined for Step1<T, U> {
    #[inline(always)]
    fn run<const CC: u8>(cpu: &mut Cpu, op: &Op) -> Step {
        unary_r::<T, U>(cpu, op)?;
        branch::<CC>(cpu, op)
    }
}
