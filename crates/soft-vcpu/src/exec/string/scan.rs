// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! SCAS and CMPS.

use super::bulk::row;
use super::{move_on, read_source, register, StringOp};
use crate::cpu::Cpu;
use crate::int::{reg, Int};
use crate::op::{flag, Op, Trap};
use crate::segment::ES;

/// Flags of `a - b`.
#[inline(always)]
fn compare<T: Int>(cpu: &mut Cpu, a: T, b: T) {
    cpu.flags.sub(a, b, T::from_u64(a.zx().wrapping_sub(b.zx())));
}

/// The operand at RDI, in ES.
#[inline(always)]
fn read_destination<T: Int>(cpu: &mut Cpu, op: &Op) -> Result<T, Trap> {
    let offset = register(cpu, op, reg::RDI);
    let at = cpu.linear(ES, offset, T::BYTES, false)?;
    cpu.read(ES, at)
}

/// Compares pairs until there is one after which the repetition ends, at most `elements`: how many
/// were compared.
#[inline(always)]
fn run<T: Int>(cpu: &mut Cpu, op: &Op, elements: u64, pair: impl Fn(u64) -> (T, T)) -> u64 {
    let while_equal = op.flags & flag::REP != 0;
    let mut done = 0;
    while done < elements {
        let (a, b) = pair(done);
        done += 1;
        if done == elements || (a == b) != while_equal {
            compare(cpu, a, b);
            break;
        }
    }
    done
}

pub(super) struct Scas;

impl StringOp for Scas {
    const CONDITIONAL: bool = true;

    fn one<T: Int>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
        let b: T = read_destination(cpu, op)?;
        let a = T::get(&cpu.gpr, reg::RAX);
        compare(cpu, a, b);
        move_on::<T>(cpu, op, &[reg::RDI], 1);
        Ok(())
    }

    fn bulk<T: Int>(cpu: &mut Cpu, op: &Op, most: u64) -> u64 {
        let destination = register(cpu, op, reg::RDI);
        let Some(at) = row::<T>(cpu, op, ES, destination, most, false) else { return 0 };
        let a = T::get(&cpu.gpr, reg::RAX);
        // SAFETY: the row was just found, and `run` stays within its elements.
        let done = run::<T>(cpu, op, at.elements, |n| (a, unsafe { at.get(n) }));
        move_on::<T>(cpu, op, &[reg::RDI], done);
        done
    }
}

pub(super) struct Cmps;

impl StringOp for Cmps {
    const CONDITIONAL: bool = true;

    fn one<T: Int>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
        let a: T = read_source(cpu, op)?;
        let b: T = read_destination(cpu, op)?;
        compare(cpu, a, b);
        move_on::<T>(cpu, op, &[reg::RSI, reg::RDI], 1);
        Ok(())
    }

    fn bulk<T: Int>(cpu: &mut Cpu, op: &Op, most: u64) -> u64 {
        let (source, destination) = (register(cpu, op, reg::RSI), register(cpu, op, reg::RDI));
        let Some(a) = row::<T>(cpu, op, op.seg, source, most, false) else { return 0 };
        let most = a.elements;
        let Some(b) = row::<T>(cpu, op, ES, destination, most, false) else { return 0 };
        // SAFETY: both rows were just found, the first is at least as long as the second, and
        // `run` stays within that.
        let done = run::<T>(cpu, op, b.elements, |n| unsafe { (a.get(n), b.get(n)) });
        move_on::<T>(cpu, op, &[reg::RSI, reg::RDI], done);
        done
    }
}
