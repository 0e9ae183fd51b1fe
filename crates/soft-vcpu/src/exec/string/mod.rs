// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! String instructions and REP.
//!
//! Each iteration commits RSI, RDI and RCX before the next begins, so that a fault or an exit
//! between two of them leaves an instruction that goes on where it was. Where both operands are
//! plain memory, many iterations are done at once.

mod bulk;
mod copy;
mod ports;
mod scan;

use iced_x86::{Instruction, Mnemonic};

use crate::cpu::Cpu;
use crate::decode::{Chosen, Form};
use crate::exec::sized;
use crate::flags::bit;
use crate::int::{reg, Int};
use crate::op::{flag, Flow, Handler, Op, Step, Trap, ADDRESS_MASK};

/// Iterations, one by one, after which the loop outside looks at events.
const PATIENCE: u64 = 4096;
/// Bytes done in bulk that count as one such iteration.
const BULK_BYTES: u64 = 16;
/// Iterations one by one before bulk is tried again where it was not possible.
const RETRY: u32 = 8;

pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    if !instruction.is_string_instruction() {
        return None;
    }
    let (size, repeated) =
        (form.size, instruction.has_rep_prefix() || instruction.has_repne_prefix());
    use Mnemonic::*;
    let handler = match instruction.mnemonic() {
        Movsb | Movsw | Movsd | Movsq => handler::<copy::Movs>(size, repeated),
        Stosb | Stosw | Stosd | Stosq => handler::<copy::Stos>(size, repeated),
        Lodsb | Lodsw | Lodsd | Lodsq => handler::<copy::Lods>(size, repeated),
        Scasb | Scasw | Scasd | Scasq => handler::<scan::Scas>(size, repeated),
        Cmpsb | Cmpsw | Cmpsd | Cmpsq => handler::<scan::Cmps>(size, repeated),
        Insb | Insw | Insd => handler::<ports::Ins>(size, repeated),
        // DX is the first operand.
        Outsb | Outsw | Outsd => handler::<ports::Outs>(form.size2, repeated),
        _ => None,
    };
    handler.map(Chosen::plain)
}

/// One of the seven.
trait StringOp {
    /// Whether REPE and REPNE look at ZF.
    const CONDITIONAL: bool = false;

    /// One iteration, RSI and RDI included.
    fn one<T: Int>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap>;

    /// At most `most` (at least 1) iterations at once, RSI and RDI included: how many. None if
    /// anything is in the way; [`StringOp::one`] then finds out what. A condition on ZF that ends
    /// the repetition ends this too.
    fn bulk<T: Int>(_: &mut Cpu, _: &Op, _most: u64) -> u64 {
        0
    }
}

fn handler<S: StringOp>(size: u8, repeated: bool) -> Option<Handler> {
    match repeated {
        true => sized!(size, repeat, S),
        false => sized!(size, once, S),
    }
}

fn once<T: Int, S: StringOp>(cpu: &mut Cpu, op: &Op) -> Step {
    S::one::<T>(cpu, op)?;
    Ok(Flow::Next)
}

fn repeat<T: Int, S: StringOp>(cpu: &mut Cpu, op: &Op) -> Step {
    let mut patience = if cpu.careful { 1 } else { PATIENCE };
    let mut retry = 0;
    loop {
        let count = register(cpu, op, reg::RCX);
        if count == 0 {
            return Ok(Flow::Next);
        }
        if patience == 0 {
            return Ok(again(cpu, op));
        }
        let mut done = 0;
        if !cpu.careful && retry == 0 {
            done = S::bulk::<T>(cpu, op, count.min(patience * BULK_BYTES / T::BYTES));
            retry = if done == 0 { RETRY } else { 0 };
        }
        if done == 0 {
            S::one::<T>(cpu, op)?;
            // Its accesses by the VMM are not those of the next.
            cpu.io.clear();
            done = 1;
            patience -= 1;
            retry = u32::saturating_sub(retry, 1);
        } else {
            patience = patience.saturating_sub((done * T::BYTES).div_ceil(BULK_BYTES));
        }
        advance(cpu, op, reg::RCX, done.wrapping_neg());
        if S::CONDITIONAL && cpu.flags.zf() != (op.flags & flag::REP != 0) {
            return Ok(Flow::Next);
        }
    }
}

/// Stops between two iterations, at the instruction itself. RF is set in what an event here
/// pushes, so that a breakpoint on the instruction is not met again (SDM vol. 3,
/// "Instruction-Breakpoint Exception Condition").
fn again(cpu: &mut Cpu, op: &Op) -> Flow {
    cpu.rip = op.rip;
    match cpu.careful && (cpu.dr7 & 0xff != 0 || cpu.flags.has(bit::TF)) {
        true => {
            cpu.flags.put(bit::RF, true);
            Flow::Far
        }
        false => Flow::Jump,
    }
}

/// RCX, RSI or RDI, as wide as addresses are.
#[inline(always)]
fn register(cpu: &Cpu, op: &Op, register: u8) -> u64 {
    cpu.gpr[usize::from(register & 15)] & ADDRESS_MASK[usize::from(op.asize & 3)]
}

/// Adds to RCX, RSI or RDI, as wide as addresses are.
#[inline(always)]
fn advance(cpu: &mut Cpu, op: &Op, register: u8, by: u64) {
    let value = cpu.gpr[usize::from(register & 15)].wrapping_add(by);
    match op.asize {
        0 => u16::set(&mut cpu.gpr, register, value as u16),
        1 => u32::set(&mut cpu.gpr, register, value as u32),
        _ => u64::set(&mut cpu.gpr, register, value),
    }
}

/// Moves RSI, RDI or both on by `elements` iterations: DF set is down.
#[inline(always)]
fn move_on<T: Int>(cpu: &mut Cpu, op: &Op, registers: &[u8], elements: u64) {
    let bytes = elements.wrapping_mul(T::BYTES);
    let by = if cpu.flags.has(bit::DF) { bytes.wrapping_neg() } else { bytes };
    for register in registers {
        advance(cpu, op, *register, by);
    }
}

/// The source: at RSI, in the segment that a prefix may have chosen.
#[inline(always)]
fn read_source<T: Int>(cpu: &mut Cpu, op: &Op) -> Result<T, Trap> {
    let offset = register(cpu, op, reg::RSI);
    let at = cpu.linear(op.seg, offset, T::BYTES, false)?;
    cpu.read(op.seg, at)
}
