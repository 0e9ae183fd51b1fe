// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! FLD, FST, FILD, FIST, FBLD, FBSTP, FXCH, FCMOVcc and the constants.

use super::convert::{self, BCD_INDEFINITE};
use super::convert::{IntTarget, Source, Target};
use super::env::{Env, Outcome, Rounding};
use super::form::{on_memory, on_memory_by, on_registers, to_memory, to_memory_by};
use super::num::Num;
use crate::cpu::Cpu;
use crate::op::{Op, Step, Trap};
use crate::x87::{F80, X87};

/// Pushes; a full stack is an invalid operation.
#[inline(always)]
pub(super) fn push(x87: &mut X87, env: &mut Env, value: F80) -> Outcome<()> {
    let value = match x87.st(7) {
        None => value,
        Some(_) => env.stack_overflow()?,
    };
    x87.push(value);
    Ok(())
}

/// ST(i), or the response to its being empty.
#[inline(always)]
pub(super) fn need(x87: &X87, env: &mut Env, i: u8) -> Outcome<F80> {
    match x87.st(i) {
        Some(value) => Ok(value),
        None => env.stack_underflow(),
    }
}

/// FLD of single or double precision, FILD.
pub(super) fn load<T: Source>(cpu: &mut Cpu, op: &Op) -> Step {
    on_memory(cpu, op, |x87, env, value: T| {
        if x87.st(7).is_some() {
            return push(x87, env, F80::INDEFINITE);
        }
        let value = value.num();
        env.special(&value)?;
        // Processors push a denormal whether the exception is masked or not.
        let _ = env.denormal(value.denormal);
        push(x87, env, value.to_f80())
    })
}

fn read80(cpu: &mut Cpu, op: &Op) -> Result<u128, Trap> {
    let at = cpu.read_address(op, 10)?;
    let low: u64 = cpu.read(op.seg, at)?;
    let high: u16 = cpu.read(op.seg, at.wrapping_add(8))?;
    Ok(u128::from(low) | u128::from(high) << 64)
}

fn write80(cpu: &mut Cpu, op: &Op, value: u128) -> Result<(), Trap> {
    let at = cpu.write_address(op, 10)?;
    cpu.probe_write(op.seg, at, 10)?;
    cpu.write(op.seg, at, value as u64)?;
    cpu.write(op.seg, at.wrapping_add(8), (value >> 64) as u16)
}

/// FLD of 80 bits: whatever they are.
pub(super) fn load80(cpu: &mut Cpu, op: &Op) -> Step {
    on_memory_by(cpu, op, read80, |x87, env, bits| push(x87, env, F80::from_bits(bits)))
}

pub(super) fn load_bcd(cpu: &mut Cpu, op: &Op) -> Step {
    on_memory_by(cpu, op, read80, |x87, env, bits| push(x87, env, convert::from_bcd(bits)))
}

/// FLD ST(i).
pub(super) fn load_st(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| match x87.st(op.dst) {
        Some(value) => push(x87, env, value),
        None => {
            let value = env.stack_underflow()?;
            x87.push(value);
            Ok(())
        }
    })
}

/// FST and FSTP to single or double precision.
pub(super) fn store<T: Target, const POP: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    to_memory::<T, POP>(cpu, op, |x87, env| {
        let value = need(x87, env, 0)?;
        T::of(env, Num::of(value))
    })
}

/// FSTP to 80 bits: whatever they are.
pub(super) fn store80(cpu: &mut Cpu, op: &Op) -> Step {
    let value = |x87: &X87, env: &mut Env| need(x87, env, 0).map(F80::to_bits);
    to_memory_by::<_, true>(cpu, op, value, |cpu, bits| write80(cpu, op, bits))
}

pub(super) fn store_bcd(cpu: &mut Cpu, op: &Op) -> Step {
    let value = |x87: &X87, env: &mut Env| match x87.st(0) {
        Some(value) => convert::to_bcd(env, Num::of(value)),
        None => env.stack_underflow().map(|_| BCD_INDEFINITE),
    };
    to_memory_by::<_, true>(cpu, op, value, |cpu, bits| write80(cpu, op, bits))
}

/// FIST and FISTP.
pub(super) fn store_int<T: IntTarget, const POP: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    to_memory::<T, POP>(cpu, op, |x87, env| {
        let value = need(x87, env, 0)?;
        let rounding = env.rounding();
        convert::int(env, Num::of(value), rounding)
    })
}

/// FISTTP.
pub(super) fn store_chopped<T: IntTarget>(cpu: &mut Cpu, op: &Op) -> Step {
    to_memory::<T, true>(cpu, op, |x87, env| {
        let value = need(x87, env, 0)?;
        convert::int(env, Num::of(value), Rounding::Chop)
    })
}

/// FST ST(i) and FSTP ST(i).
pub(super) fn store_st<const POP: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| {
        let value = need(x87, env, 0)?;
        x87.set_st(op.dst, value);
        if POP {
            x87.pop();
        }
        Ok(())
    })
}

/// FSTPNCE, an undocumented FSTP ST(i): an empty ST(0) is no error, and is not copied.
pub(super) fn store_st_unchecked(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, _| {
        if let Some(value) = x87.st(0) {
            x87.set_st(op.dst, value);
        }
        x87.pop();
        Ok(())
    })
}

pub(super) fn exchange(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| {
        let (a, b) = (x87.st(0), x87.st(op.src));
        if a.is_none() || b.is_none() {
            env.stack_underflow()?;
        }
        x87.set_st(0, b.unwrap_or(F80::INDEFINITE));
        x87.set_st(op.src, a.unwrap_or(F80::INDEFINITE));
        Ok(())
    })
}

/// FCMOVcc; `CC` is the condition as Jcc numbers it. C1 stays but for a stack underflow.
pub(super) fn move_if<const CC: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    let holds = cpu.flags.condition::<CC>();
    on_registers(cpu, op, |x87, env| {
        env.keep_codes();
        let value = match (x87.st(0), x87.st(op.src)) {
            (Some(_), Some(value)) => value,
            _ => {
                let value = env.stack_underflow()?;
                x87.set_st(0, value);
                return Ok(());
            }
        };
        if holds {
            x87.set_st(0, value);
        }
        Ok(())
    })
}

/// A constant: its 66-bit value cut to 64 bits, and what rounding it makes of it.
struct Constant {
    chopped: F80,
    /// The rest behind the 64 bits is more than a half.
    nearest_is_up: bool,
}

/// log2(10), log2(e), pi, log10(2), ln(2): in the order of their opcodes.
const CONSTANTS: [Constant; 5] = [
    constant(0x4000, 0xd49a_784b_cd1b_8afe, false),
    constant(0x3fff, 0xb8aa_3b29_5c17_f0bb, true),
    constant(0x4000, 0xc90f_daa2_2168_c234, true),
    constant(0x3ffd, 0x9a20_9a84_fbcf_f798, true),
    constant(0x3ffe, 0xb172_17f7_d1cf_79ab, true),
];

const fn constant(sign_exponent: u16, mantissa: u64, nearest_is_up: bool) -> Constant {
    Constant { chopped: F80 { mantissa, sign_exponent }, nearest_is_up }
}

/// FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2: rounded as RC says, without telling.
pub(super) fn load_constant<const N: usize>(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| {
        let Constant { chopped, nearest_is_up } = CONSTANTS[N];
        let up = match env.rounding() {
            Rounding::Nearest => nearest_is_up,
            Rounding::Up => true,
            Rounding::Down | Rounding::Chop => false,
        };
        let mantissa = chopped.mantissa + u64::from(up);
        push(x87, env, F80 { mantissa, ..chopped })
    })
}

pub(super) fn load_one(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| push(x87, env, F80::ONE))
}

pub(super) fn load_zero(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| push(x87, env, F80::zero(false)))
}

/// FCHS (`FLIP`) and FABS: of anything, NaNs too.
pub(super) fn sign<const FLIP: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    on_registers(cpu, op, |x87, env| {
        let value = match x87.st(0) {
            Some(F80 { mantissa, sign_exponent }) => {
                let sign_exponent = match FLIP {
                    true => sign_exponent ^ 0x8000,
                    false => sign_exponent & 0x7fff,
                };
                F80 { mantissa, sign_exponent }
            }
            None => env.stack_underflow()?,
        };
        x87.set_st(0, value);
        Ok(())
    })
}
