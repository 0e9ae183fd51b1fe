// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The shapes of x87 handlers: what surrounds an operation on registers, with a memory operand read
//! first, or with one written last.

use super::env::{Env, Outcome};
use crate::cpu::{Cause, Cpu};
use crate::int::Data;
use crate::mem::PAGE;
use crate::op::{Flow, Op, Step, Trap};
use crate::segment::{CS, DS, FLAT, FLAT_STACK, SS};
use crate::x87::{status, X87};

/// An instruction on registers alone. An `Err` of `operation` has left its exceptions in the `Env`
/// and changed no register: the instruction is complete, and the next one that waits raises #MF.
#[inline(always)]
pub(super) fn on_registers(
    cpu: &mut Cpu,
    op: &Op,
    operation: impl FnOnce(&mut X87, &mut Env) -> Outcome<()>,
) -> Step {
    cpu.x87_ready()?;
    let mut env = Env::new(cpu.x87.control);
    let _ = operation(&mut cpu.x87, &mut env);
    finish(cpu, op, &env);
    Ok(Flow::Next)
}

/// An instruction that reads memory.
#[inline(always)]
pub(super) fn on_memory<T: Data>(
    cpu: &mut Cpu,
    op: &Op,
    operation: impl FnOnce(&mut X87, &mut Env, T) -> Outcome<()>,
) -> Step {
    on_memory_by(cpu, op, |cpu, op| cpu.load::<T>(op), operation)
}

/// As [`on_memory`], for operands of a size of their own.
#[inline(always)]
pub(super) fn on_memory_by<T>(
    cpu: &mut Cpu,
    op: &Op,
    load: impl FnOnce(&mut Cpu, &Op) -> Result<T, Trap>,
    operation: impl FnOnce(&mut X87, &mut Env, T) -> Outcome<()>,
) -> Step {
    cpu.x87_ready()?;
    let value = load(cpu, op)?;
    let mut env = Env::new(cpu.x87.control);
    let _ = operation(&mut cpu.x87, &mut env, value);
    data_pointer(cpu, op);
    finish(cpu, op, &env);
    Ok(Flow::Next)
}

/// An instruction that writes memory, and pops if it wrote.
#[inline(always)]
pub(super) fn to_memory<T: Data, const POP: bool>(
    cpu: &mut Cpu,
    op: &Op,
    operation: impl FnOnce(&X87, &mut Env) -> Outcome<T>,
) -> Step {
    to_memory_by::<T, POP>(cpu, op, operation, |cpu, value| cpu.store(op, value))
}

/// As [`to_memory`], for operands of a size of their own.
#[inline(always)]
pub(super) fn to_memory_by<T, const POP: bool>(
    cpu: &mut Cpu,
    op: &Op,
    operation: impl FnOnce(&X87, &mut Env) -> Outcome<T>,
    store: impl FnOnce(&mut Cpu, T) -> Result<(), Trap>,
) -> Step {
    cpu.x87_ready()?;
    let mut env = Env::new(cpu.x87.control);
    if let Ok(value) = operation(&cpu.x87, &mut env) {
        store(cpu, value)?;
        if POP {
            cpu.x87.pop();
        }
    }
    data_pointer(cpu, op);
    finish(cpu, op, &env);
    Ok(Flow::Next)
}

/// FDP and FDS.
#[inline(always)]
fn data_pointer(cpu: &mut Cpu, op: &Op) {
    cpu.x87.fdp = cpu.offset(op);
    let segment = match op.seg {
        FLAT => DS,
        FLAT_STACK => SS,
        segment => segment,
    };
    cpu.x87.fds = cpu.segment(segment).selector;
}

/// The status word and the instruction pointer.
#[inline(always)]
pub(super) fn finish(cpu: &mut Cpu, op: &Op, env: &Env) {
    cpu.x87.fcs = cpu.segment(CS).selector;
    cpu.x87.fip = op.rip;
    let status = cpu.x87.status & !env.written | env.codes & env.written;
    cpu.x87.status = status | env.raised;
    if env.raised != 0 {
        note(cpu, op, env);
    }
}

#[cold]
fn note(cpu: &mut Cpu, op: &Op, env: &Env) {
    cpu.x87.summarize();
    if env.raised & status::EXCEPTIONS & !cpu.x87.control != 0 {
        if let Some(fop) = opcode(cpu, op) {
            cpu.x87.fop = fop;
        }
    }
}

/// The opcode of the instruction under way, from its bytes: the low three bits of the first byte
/// behind the prefixes, then the second one.
fn opcode(cpu: &mut Cpu, op: &Op) -> Option<u16> {
    let base = if cpu.code64() { 0 } else { cpu.base[usize::from(CS)] };
    let mut byte = |n: u8| {
        let linear = base.wrapping_add(op.rip).wrapping_add(u64::from(n));
        let linear = if cpu.code64() { linear } else { linear & 0xffff_ffff };
        match cpu.fetch_page(linear) {
            // SAFETY: the byte is in the page at `host`.
            Ok((Some(host), _)) => Some(unsafe { u8::load(host.add((linear % PAGE) as usize)) }),
            Ok((None, _)) => None,
            Err(Trap) => {
                cpu.trap = Cause::None;
                None
            }
        }
    };
    for n in 0..op.len {
        let first = byte(n)?;
        if first & 0xf8 == 0xd8 {
            return Some(u16::from(first & 7) << 8 | u16::from(byte(n.wrapping_add(1))?));
        }
    }
    None
}
