// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Instructions with a memory operand: the quick way inline, all else out of line.

use crate::cpu::Cpu;
use crate::int::{Data, Int};
use crate::mem::{Address, Any};
use crate::op::{Flow, Op, Step};

/// Reads the memory operand, then goes on with it.
#[inline(always)]
pub(super) fn loaded<T: Data, F>(cpu: &mut Cpu, op: &Op, then: F) -> Step
where
    F: FnOnce(&mut Cpu, &Op, T) -> Step,
{
    loaded_by::<Any, T, F>(cpu, op, then)
}

/// The same, of an operand whose kind of address is known.
#[inline(always)]
pub(super) fn loaded_by<A: Address, T: Data, F>(cpu: &mut Cpu, op: &Op, then: F) -> Step
where
    F: FnOnce(&mut Cpu, &Op, T) -> Step,
{
    match cpu.try_load::<T, A>(op) {
        Some(value) => then(cpu, op, value),
        None => load(cpu, op, then),
    }
}

#[cold]
#[inline(never)]
fn load<T: Data, F>(cpu: &mut Cpu, op: &Op, then: F) -> Step
where
    F: FnOnce(&mut Cpu, &Op, T) -> Step,
{
    let value = cpu.load(op)?;
    then(cpu, op, value)
}

/// Writes the memory operand, which is all that is left to do.
#[inline(always)]
pub(super) fn stored<T: Data>(cpu: &mut Cpu, op: &Op, value: T) -> Step {
    stored_by::<Any, T>(cpu, op, value)
}

/// The same, to an operand whose kind of address is known.
#[inline(always)]
pub(super) fn stored_by<A: Address, T: Data>(cpu: &mut Cpu, op: &Op, value: T) -> Step {
    match cpu.try_store::<T, A>(op, value) {
        true => Ok(Flow::Next),
        false => store(cpu, op, value),
    }
}

#[cold]
#[inline(never)]
fn store<T: Data>(cpu: &mut Cpu, op: &Op, value: T) -> Step {
    cpu.store(op, value)?;
    Ok(Flow::Next)
}

/// Replaces the memory operand by what `change` makes of it, then goes on with the old value.
#[inline(always)]
pub(super) fn modified<A: Address, T: Int, C, F>(cpu: &mut Cpu, op: &Op, change: C, then: F) -> Step
where
    C: Fn(T) -> T,
    F: FnOnce(&mut Cpu, T),
{
    match cpu.try_modify::<T, A>(op, &change) {
        Some(old) => {
            then(cpu, old);
            Ok(Flow::Next)
        }
        None => modify(cpu, op, change, then),
    }
}

#[cold]
#[inline(never)]
fn modify<T: Int, C, F>(cpu: &mut Cpu, op: &Op, change: C, then: F) -> Step
where
    C: Fn(T) -> T,
    F: FnOnce(&mut Cpu, T),
{
    let old = cpu.modify(op, change)?;
    then(cpu, old);
    Ok(Flow::Next)
}
