// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Multiplication and division.

use iced_x86::{Instruction, Mnemonic};
use vcpu_events::Exception;

use crate::cpu::Cpu;
use crate::decode::{Chosen, Form, Kind};
use crate::exec::sized;
use crate::int::{reg, Int, HIGH_BYTE};
use crate::op::{Flow, Op, Step, Trap};

pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    use Kind::{Imm, Mem, Reg};
    let size = form.size;
    let handler = match (instruction.mnemonic(), form.kinds) {
        (Mnemonic::Mul, [Reg, ..]) => sized!(size, mul_r),
        (Mnemonic::Mul, [Mem, ..]) => sized!(size, mul_m),
        (Mnemonic::Imul, [Reg, Kind::None, _]) => sized!(size, imul_r),
        (Mnemonic::Imul, [Mem, Kind::None, _]) => sized!(size, imul_m),
        (Mnemonic::Imul, [Reg, Reg, Kind::None]) => sized!(size, imul_rr),
        (Mnemonic::Imul, [Reg, Mem, Kind::None]) => sized!(size, imul_rm),
        (Mnemonic::Imul, [Reg, Reg, Imm]) => sized!(size, imul_rri),
        (Mnemonic::Imul, [Reg, Mem, Imm]) => sized!(size, imul_rmi),
        (Mnemonic::Div, [Reg, ..]) => sized!(size, div_r),
        (Mnemonic::Div, [Mem, ..]) => sized!(size, div_m),
        (Mnemonic::Idiv, [Reg, ..]) => sized!(size, idiv_r),
        (Mnemonic::Idiv, [Mem, ..]) => sized!(size, idiv_m),
        _ => None,
    };
    handler.map(Chosen::plain)
}

/// The register that holds the upper half of a product or dividend: AH for bytes, else DX.
#[inline(always)]
fn upper<T: Int>() -> u8 {
    if T::BITS == 8 {
        HIGH_BYTE
    } else {
        reg::RDX
    }
}

/// CF and OF: whether the upper half matters. The other four are undefined; they stay.
#[inline(always)]
fn overflow(cpu: &mut Cpu, wide: bool) {
    cpu.flags.set_cf(wide);
    cpu.flags.set_of(wide);
}

#[inline(always)]
fn mul<T: Int>(cpu: &mut Cpu, b: T) -> Step {
    let product = T::get(&cpu.gpr, reg::RAX).wide() * b.wide();
    let high = T::from_wide(product >> T::BITS);
    T::set(&mut cpu.gpr, reg::RAX, T::from_wide(product));
    T::set(&mut cpu.gpr, upper::<T>(), high);
    overflow(cpu, high.zx() != 0);
    Ok(Flow::Next)
}

fn mul_r<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let b = T::get(&cpu.gpr, op.dst);
    mul(cpu, b)
}

fn mul_m<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let b = cpu.load::<T>(op)?;
    mul(cpu, b)
}

/// The signed product, and whether it does not fit a `T`.
#[inline(always)]
fn signed<T: Int>(a: T, b: T) -> (i128, bool) {
    let product = i128::from(a.sx() as i64) * i128::from(b.sx() as i64);
    let low = T::from_wide(product as u128);
    (product, i128::from(low.sx() as i64) != product)
}

#[inline(always)]
fn imul<T: Int>(cpu: &mut Cpu, b: T) -> Step {
    let (product, wide) = signed(T::get(&cpu.gpr, reg::RAX), b);
    T::set(&mut cpu.gpr, reg::RAX, T::from_wide(product as u128));
    T::set(&mut cpu.gpr, upper::<T>(), T::from_wide((product >> T::BITS) as u128));
    overflow(cpu, wide);
    Ok(Flow::Next)
}

fn imul_r<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let b = T::get(&cpu.gpr, op.dst);
    imul(cpu, b)
}

fn imul_m<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let b = cpu.load::<T>(op)?;
    imul(cpu, b)
}

#[inline(always)]
fn imul_to<T: Int>(cpu: &mut Cpu, op: &Op, a: T, b: T) -> Step {
    let (product, wide) = signed(a, b);
    T::set(&mut cpu.gpr, op.dst, T::from_wide(product as u128));
    overflow(cpu, wide);
    Ok(Flow::Next)
}

fn imul_rr<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let (a, b) = (T::get(&cpu.gpr, op.dst), T::get(&cpu.gpr, op.src));
    imul_to(cpu, op, a, b)
}

fn imul_rm<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let (a, b) = (T::get(&cpu.gpr, op.dst), cpu.load(op)?);
    imul_to(cpu, op, a, b)
}

fn imul_rri<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let a = T::get(&cpu.gpr, op.src);
    imul_to(cpu, op, a, op.imm())
}

fn imul_rmi<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let a = cpu.load::<T>(op)?;
    imul_to(cpu, op, a, op.imm())
}

/// #DE: the divisor is 0, or the quotient does not fit.
#[cold]
fn divide_error(cpu: &mut Cpu) -> Trap {
    cpu.raise(Exception::de())
}

// The flags are undefined after a division; they stay.

#[inline(always)]
fn div<T: Int>(cpu: &mut Cpu, divisor: T) -> Step {
    let low = T::get(&cpu.gpr, reg::RAX);
    let high = T::get(&cpu.gpr, upper::<T>());
    // The quotient fits if, and only if, the upper half is less than the divisor.
    if high >= divisor {
        return Err(divide_error(cpu));
    }
    let (quotient, remainder) = if T::BITS < 64 {
        let (dividend, divisor) = (high.zx() << (T::BITS & 63) | low.zx(), divisor.zx());
        (T::from_u64(dividend / divisor), T::from_u64(dividend % divisor))
    } else if high.zx() == 0 {
        (T::from_u64(low.zx() / divisor.zx()), T::from_u64(low.zx() % divisor.zx()))
    } else {
        let (dividend, divisor) = (high.wide() << T::BITS | low.wide(), divisor.wide());
        (T::from_wide(dividend / divisor), T::from_wide(dividend % divisor))
    };
    T::set(&mut cpu.gpr, reg::RAX, quotient);
    T::set(&mut cpu.gpr, upper::<T>(), remainder);
    Ok(Flow::Next)
}

fn div_r<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let divisor = T::get(&cpu.gpr, op.dst);
    div(cpu, divisor)
}

fn div_m<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let divisor = cpu.load::<T>(op)?;
    div(cpu, divisor)
}

#[inline(always)]
fn idiv<T: Int>(cpu: &mut Cpu, divisor: T) -> Step {
    let low = T::get(&cpu.gpr, reg::RAX);
    let high = T::get(&cpu.gpr, upper::<T>());
    let Some((quotient, remainder)) = divide_signed(high, low, divisor) else {
        return Err(divide_error(cpu));
    };
    T::set(&mut cpu.gpr, reg::RAX, quotient);
    T::set(&mut cpu.gpr, upper::<T>(), remainder);
    Ok(Flow::Next)
}

fn idiv_r<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let divisor = T::get(&cpu.gpr, op.dst);
    idiv(cpu, divisor)
}

fn idiv_m<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let divisor = cpu.load::<T>(op)?;
    idiv(cpu, divisor)
}

/// Quotient and remainder of `high:low` by `divisor`; `None` is #DE.
#[inline(always)]
fn divide_signed<T: Int>(high: T, low: T, divisor: T) -> Option<(T, T)> {
    let by = divisor.sx() as i64;
    // The dividend has no more than 64 bits, as after CQO.
    let narrow = if T::BITS < 64 {
        Some((high.sx() << (T::BITS & 63) | low.zx()) as i64)
    } else {
        let low = low.zx() as i64;
        (high.sx() as i64 == low >> 63).then_some(low)
    };
    if let Some(dividend) = narrow {
        let quotient = dividend.checked_div(by)? as u64;
        let remainder = dividend.checked_rem(by)? as u64;
        let fits = T::from_u64(quotient).sx() == quotient;
        return fits.then_some((T::from_u64(quotient), T::from_u64(remainder)));
    }
    let dividend = i128::from(high.sx() as i64) << T::BITS | low.wide() as i128;
    let quotient = dividend.checked_div(i128::from(by))?;
    let remainder = dividend.checked_rem(i128::from(by))?;
    let fits = i128::from(quotient as i64) == quotient;
    fits.then_some((T::from_wide(quotient as u128), T::from_wide(remainder as u128)))
}
