// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Where operands come from and results go to, and the handlers that are generic over it.

use std::marker::PhantomData;

use iced_x86::{Instruction, OpKind};

use super::lanes::Vector;
use crate::cpu::Cpu;
use crate::int::{Data, Int};
use crate::op::{Flow, Handler, Op, Step, Trap};

/// What an instruction computes. `a` is the old destination, `b` the source, zero-extended.
pub(super) trait Compute {
    fn apply<F: File>(a: Vector, b: Vector, imm: u8) -> Vector;
}

/// A register file.
pub(super) trait File {
    /// Bytes of a register.
    const BYTES: usize;
    /// Before everything else.
    fn begin(cpu: &mut Cpu) -> Result<(), Trap>;
    /// Zero-extended.
    fn get(cpu: &Cpu, register: u8) -> Vector;
    /// Truncated.
    fn set(cpu: &mut Cpu, register: u8, value: Vector);
    /// The instruction used the file but writes none of it.
    fn touch(cpu: &mut Cpu);
}

/// XMM0 to XMM15.
pub(super) struct Xmm;

impl File for Xmm {
    const BYTES: usize = 16;
    #[inline(always)]
    fn begin(_: &mut Cpu) -> Result<(), Trap> {
        Ok(())
    }
    #[inline(always)]
    fn get(cpu: &Cpu, register: u8) -> Vector {
        let at = &cpu.sse.xmm[usize::from(register & 15)];
        // SAFETY: of the same size and alignment, and every value is valid. By its address, so that
        // it is a vector from the beginning.
        unsafe { std::ptr::from_ref(at).cast::<Vector>().read() }
    }
    #[inline(always)]
    fn set(cpu: &mut Cpu, register: u8, value: Vector) {
        let at = &mut cpu.sse.xmm[usize::from(register & 15)];
        // SAFETY: as for `get`.
        unsafe { std::ptr::from_mut(at).cast::<Vector>().write(value) };
    }
    #[inline(always)]
    fn touch(_: &mut Cpu) {}
}

/// MM0 to MM7 (SDM vol. 3, "Effect of MMX Instructions on x87 State").
pub(super) struct Mmx;

impl File for Mmx {
    const BYTES: usize = 8;
    #[inline(always)]
    fn begin(cpu: &mut Cpu) -> Result<(), Trap> {
        cpu.x87_ready()
    }
    #[inline(always)]
    fn get(cpu: &Cpu, register: u8) -> Vector {
        Vector::new(cpu.x87.mmx(register).into())
    }
    #[inline(always)]
    fn set(cpu: &mut Cpu, register: u8, value: Vector) {
        cpu.x87.enter_mmx();
        cpu.x87.set_mmx(register, value.bits() as u64);
    }
    #[inline(always)]
    fn touch(cpu: &mut Cpu) {
        cpu.x87.enter_mmx();
    }
}

/// A source operand.
pub(super) trait Source {
    /// Zero-extended.
    fn get(cpu: &mut Cpu, op: &Op) -> Result<Vector, Trap>;
}

/// The second operand is a register.
pub(super) struct Reg<F>(PhantomData<F>);
/// The second operand is a general register.
pub(super) struct Gpr<T>(PhantomData<T>);
/// Memory of any alignment.
pub(super) struct Mem<T>(PhantomData<T>);
/// 16 bytes of memory, or #GP(0) for any other than a multiple of 16.
pub(super) struct Aligned;
/// An immediate byte.
pub(super) struct Imm;

impl<F: File> Source for Reg<F> {
    #[inline(always)]
    fn get(cpu: &mut Cpu, op: &Op) -> Result<Vector, Trap> {
        Ok(F::get(cpu, op.src))
    }
}

impl<T: Int> Source for Gpr<T> {
    #[inline(always)]
    fn get(cpu: &mut Cpu, op: &Op) -> Result<Vector, Trap> {
        Ok(Vector::new(T::get(&cpu.gpr, op.src).wide()))
    }
}

impl<T: Data> Source for Mem<T> {
    #[inline(always)]
    fn get(cpu: &mut Cpu, op: &Op) -> Result<Vector, Trap> {
        cpu.load::<T>(op).map(|value| Vector::new(value.wide()))
    }
}

impl Source for Aligned {
    #[inline(always)]
    fn get(cpu: &mut Cpu, op: &Op) -> Result<Vector, Trap> {
        let at = cpu.read_address(op, 16)?;
        match at & 15 {
            0 => cpu.read(op.seg, at),
            _ => Err(cpu.gp()),
        }
    }
}

impl Source for Imm {
    #[inline(always)]
    fn get(_: &mut Cpu, op: &Op) -> Result<Vector, Trap> {
        Ok(Vector::new(u128::from(op.imm as u8)))
    }
}

/// Into a register of `F`.
pub(super) fn compute<F: File, S: Source, C: Compute>(cpu: &mut Cpu, op: &Op) -> Step {
    F::begin(cpu)?;
    let b = S::get(cpu, op)?;
    let result = C::apply::<F>(F::get(cpu, op.dst), b, op.imm as u8);
    F::set(cpu, op.dst, result);
    Ok(Flow::Next)
}

/// From a register of `F` into a general register.
pub(super) fn to_gpr<F: File, T: Int, C: Compute>(cpu: &mut Cpu, op: &Op) -> Step {
    F::begin(cpu)?;
    let result = C::apply::<F>(Vector::ZERO, F::get(cpu, op.src), op.imm as u8);
    F::touch(cpu);
    T::set(&mut cpu.gpr, op.dst, T::from_wide(result.bits()));
    Ok(Flow::Next)
}

/// From a register of `F` into memory of any alignment.
pub(super) fn store<F: File, T: Data, C: Compute>(cpu: &mut Cpu, op: &Op) -> Step {
    F::begin(cpu)?;
    let result = C::apply::<F>(Vector::ZERO, F::get(cpu, op.src), op.imm as u8);
    cpu.store(op, T::from_wide(result.bits()))?;
    F::touch(cpu);
    Ok(Flow::Next)
}

/// From an XMM register into 16 bytes of memory; #GP(0) if it is not aligned.
pub(super) fn store_aligned(cpu: &mut Cpu, op: &Op) -> Step {
    let at = cpu.write_address(op, 16)?;
    if at & 15 != 0 {
        return Err(cpu.gp());
    }
    let value = Xmm::get(cpu, op.src);
    cpu.write(op.seg, at, value)?;
    Ok(Flow::Next)
}

/// Whether operand `n` is in memory.
pub(super) fn is_memory(instruction: &Instruction, n: u32) -> bool {
    instruction.op_kind(n) == OpKind::Memory
}

/// Whether operand `n` is an MMX register.
pub(super) fn is_mmx(instruction: &Instruction, n: u32) -> bool {
    instruction.op_kind(n) == OpKind::Register && instruction.op_register(n).is_mm()
}

/// Forms `mm, mm/m64` and `xmm, xmm/m128`.
pub(super) fn both<C: Compute>(instruction: &Instruction) -> Option<Handler> {
    match (is_mmx(instruction, 0), is_memory(instruction, 1)) {
        (true, false) => Some(compute::<Mmx, Reg<Mmx>, C>),
        (true, true) => Some(compute::<Mmx, Mem<u64>, C>),
        (false, _) => xmm::<C>(instruction),
    }
}

/// Forms `mm, mm/m32` and `xmm, xmm/m128`: of MMX's source, the low half is used.
pub(super) fn both_low<C: Compute>(instruction: &Instruction) -> Option<Handler> {
    match (is_mmx(instruction, 0), is_memory(instruction, 1)) {
        (true, false) => Some(compute::<Mmx, Reg<Mmx>, C>),
        (true, true) => Some(compute::<Mmx, Mem<u32>, C>),
        (false, _) => xmm::<C>(instruction),
    }
}

/// Form `mm, mm/m64`.
pub(super) fn mmx<C: Compute>(instruction: &Instruction) -> Option<Handler> {
    match is_memory(instruction, 1) {
        false => Some(compute::<Mmx, Reg<Mmx>, C>),
        true => Some(compute::<Mmx, Mem<u64>, C>),
    }
}

/// Form `xmm, xmm/m128`.
pub(super) fn xmm<C: Compute>(instruction: &Instruction) -> Option<Handler> {
    match is_memory(instruction, 1) {
        false => Some(compute::<Xmm, Reg<Xmm>, C>),
        true => Some(compute::<Xmm, Aligned, C>),
    }
}

/// Form `xmm, xmm/m128` without alignment.
pub(super) fn xmm_unaligned<C: Compute>(instruction: &Instruction) -> Option<Handler> {
    part::<Vector, C>(instruction)
}

/// Form `xmm, xmm/m64`.
pub(super) fn xmm64<C: Compute>(instruction: &Instruction) -> Option<Handler> {
    part::<u64, C>(instruction)
}

/// Form `xmm, xmm/m32`.
pub(super) fn xmm32<C: Compute>(instruction: &Instruction) -> Option<Handler> {
    part::<u32, C>(instruction)
}

/// Form `xmm, xmm/m16`.
pub(super) fn xmm16<C: Compute>(instruction: &Instruction) -> Option<Handler> {
    part::<u16, C>(instruction)
}

fn part<T: Data, C: Compute>(instruction: &Instruction) -> Option<Handler> {
    match is_memory(instruction, 1) {
        false => Some(compute::<Xmm, Reg<Xmm>, C>),
        true => Some(compute::<Xmm, Mem<T>, C>),
    }
}

/// The handler for an instruction of a table. A line is `Mnemonic: |a, b, imm| result,` in the
/// section of its forms, a function above; `F` is the register file.
macro_rules! table {
    ($instruction:expr; $($forms:ident {$(
        $name:ident: |$a:pat_param, $b:pat_param $(, $imm:ident)?| $body:expr,
    )*})*) => {
        match $instruction.mnemonic() {
            $($(iced_x86::Mnemonic::$name => {
                struct Code;
                impl $crate::exec::simd::operands::Compute for Code {
                    #[inline(always)]
                    #[allow(unused_variables)]
                    fn apply<F: $crate::exec::simd::operands::File>(
                        $a: $crate::exec::simd::lanes::Vector,
                        $b: $crate::exec::simd::lanes::Vector,
                        imm: u8,
                    ) -> $crate::exec::simd::lanes::Vector {
                        $(let $imm = imm;)?
                        $body
                    }
                }
                $forms::<Code>($instruction)
            })*)*
            _ => None,
        }
    };
}
pub(super) use table;
