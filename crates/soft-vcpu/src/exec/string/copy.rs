// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! MOVS, STOS, LODS.

use super::bulk::{self, row};
use super::{move_on, read_source, register, StringOp};
use crate::cpu::Cpu;
use crate::int::{reg, Int};
use crate::op::{Op, Trap};
use crate::segment::ES;

/// The destination: at RDI, in ES.
#[inline(always)]
fn write_destination<T: Int>(cpu: &mut Cpu, op: &Op, value: T) -> Result<(), Trap> {
    let offset = register(cpu, op, reg::RDI);
    let at = cpu.linear(ES, offset, T::BYTES, true)?;
    cpu.write(ES, at, value)
}

pub(super) struct Movs;

impl StringOp for Movs {
    fn one<T: Int>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
        let value: T = read_source(cpu, op)?;
        write_destination(cpu, op, value)?;
        move_on::<T>(cpu, op, &[reg::RSI, reg::RDI], 1);
        Ok(())
    }

    fn bulk<T: Int>(cpu: &mut Cpu, op: &Op, most: u64) -> u64 {
        let (source, destination) = (register(cpu, op, reg::RSI), register(cpu, op, reg::RDI));
        let Some(from) = row::<T>(cpu, op, op.seg, source, most, false) else { return 0 };
        let most = from.elements;
        let Some(to) = row::<T>(cpu, op, ES, destination, most, true) else { return 0 };
        // SAFETY: both rows were just found, the first is at least as long as the second.
        unsafe { bulk::copy::<T>(&to, &from, to.elements) };
        move_on::<T>(cpu, op, &[reg::RSI, reg::RDI], to.elements);
        to.elements
    }
}

pub(super) struct Stos;

impl StringOp for Stos {
    fn one<T: Int>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
        let value = T::get(&cpu.gpr, reg::RAX);
        write_destination(cpu, op, value)?;
        move_on::<T>(cpu, op, &[reg::RDI], 1);
        Ok(())
    }

    fn bulk<T: Int>(cpu: &mut Cpu, op: &Op, most: u64) -> u64 {
        let destination = register(cpu, op, reg::RDI);
        let Some(to) = row::<T>(cpu, op, ES, destination, most, true) else { return 0 };
        // SAFETY: the row was just found.
        unsafe { bulk::fill(&to, to.elements, T::get(&cpu.gpr, reg::RAX)) };
        move_on::<T>(cpu, op, &[reg::RDI], to.elements);
        to.elements
    }
}

pub(super) struct Lods;

impl StringOp for Lods {
    fn one<T: Int>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
        let value: T = read_source(cpu, op)?;
        T::set(&mut cpu.gpr, reg::RAX, value);
        move_on::<T>(cpu, op, &[reg::RSI], 1);
        Ok(())
    }

    fn bulk<T: Int>(cpu: &mut Cpu, op: &Op, most: u64) -> u64 {
        let source = register(cpu, op, reg::RSI);
        let Some(from) = row::<T>(cpu, op, op.seg, source, most, false) else { return 0 };
        // Only the last one stays.
        // SAFETY: the row was just found, and has at least one element.
        let value: T = unsafe { from.get(from.elements - 1) };
        T::set(&mut cpu.gpr, reg::RAX, value);
        move_on::<T>(cpu, op, &[reg::RSI], from.elements);
        from.elements
    }
}
