// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! PUSH and POP of general operands, PUSHA, POPA, ENTER, LEAVE.

use std::marker::PhantomData;

use iced_x86::{Code, Instruction, Mnemonic};

use crate::cpu::Cpu;
use crate::decode::{nothing, Chosen, Form, Kind};
use crate::exec::access::loaded;
use crate::int::{reg, Data, Int};
use crate::op::{Flow, Handler, Op, Step, Trap};
use crate::segment::{FLAT_STACK, SS};

const RSP: usize = reg::RSP as usize;
const RBP: usize = reg::RBP as usize;

/// Items of one size on the stack.
pub(super) trait Stack: 'static {
    /// One item.
    type Item: Int;
    /// Pushes; RSP changes only if it could be written.
    fn push(cpu: &mut Cpu, value: Self::Item) -> Result<(), Trap>;
    /// The item at an offset of the stack segment.
    fn read(cpu: &mut Cpu, sp: u64) -> Result<Self::Item, Trap>;
    /// Moves the top of stack.
    fn set_sp(cpu: &mut Cpu, sp: u64);

    /// Pushes if that needs nothing but a write; whether it did.
    #[inline(always)]
    fn try_push(_: &mut Cpu, _: Self::Item) -> bool {
        false
    }

    /// The item on top, if that needs nothing but a read.
    #[inline(always)]
    fn try_peek(_: &mut Cpu) -> Option<Self::Item> {
        None
    }

    /// The item on top.
    #[inline(always)]
    fn peek(cpu: &mut Cpu) -> Result<Self::Item, Trap> {
        Self::read(cpu, cpu.gpr[RSP])
    }

    /// Pops `len` bytes unread.
    #[inline(always)]
    fn drop_bytes(cpu: &mut Cpu, len: u64) {
        Self::set_sp(cpu, cpu.gpr[RSP].wrapping_add(len));
    }
}

/// 64-bit mode, 64-bit items: nothing to wrap, no limit.
pub(super) struct Flat;

impl Stack for Flat {
    type Item = u64;
    #[inline(always)]
    fn push(cpu: &mut Cpu, value: u64) -> Result<(), Trap> {
        let sp = cpu.gpr[RSP].wrapping_sub(8);
        cpu.write(FLAT_STACK, sp, value)?;
        cpu.gpr[RSP] = sp;
        Ok(())
    }
    #[inline(always)]
    fn read(cpu: &mut Cpu, sp: u64) -> Result<u64, Trap> {
        cpu.read(FLAT_STACK, sp)
    }
    #[inline(always)]
    fn set_sp(cpu: &mut Cpu, sp: u64) {
        cpu.gpr[RSP] = sp;
    }
    #[inline(always)]
    fn try_push(cpu: &mut Cpu, value: u64) -> bool {
        let sp = cpu.gpr[RSP].wrapping_sub(8);
        let done = cpu.try_write(sp, value);
        if done {
            cpu.gpr[RSP] = sp;
        }
        done
    }
    #[inline(always)]
    fn try_peek(cpu: &mut Cpu) -> Option<u64> {
        cpu.try_read(cpu.gpr[RSP])
    }
}

/// Any mode.
pub(super) struct Item<T>(PhantomData<T>);

impl<T: Int> Stack for Item<T> {
    type Item = T;
    #[inline(always)]
    fn push(cpu: &mut Cpu, value: T) -> Result<(), Trap> {
        cpu.push(value)
    }
    #[inline(always)]
    fn read(cpu: &mut Cpu, sp: u64) -> Result<T, Trap> {
        cpu.stack_read(sp & cpu.stack_mask)
    }
    #[inline(always)]
    fn set_sp(cpu: &mut Cpu, sp: u64) {
        cpu.set_sp(sp);
    }
}

/// Pushes, then goes on.
#[inline(always)]
pub(super) fn pushed<S: Stack, F>(cpu: &mut Cpu, op: &Op, value: S::Item, then: F) -> Step
where
    F: FnOnce(&mut Cpu, &Op) -> Step,
{
    match S::try_push(cpu, value) {
        true => then(cpu, op),
        false => push::<S, F>(cpu, op, value, then),
    }
}

#[cold]
#[inline(never)]
fn push<S: Stack, F>(cpu: &mut Cpu, op: &Op, value: S::Item, then: F) -> Step
where
    F: FnOnce(&mut Cpu, &Op) -> Step,
{
    S::push(cpu, value)?;
    then(cpu, op)
}

/// Reads the item on top, then goes on with it; nothing is popped.
#[inline(always)]
pub(super) fn peeked<S: Stack, F>(cpu: &mut Cpu, op: &Op, then: F) -> Step
where
    F: FnOnce(&mut Cpu, &Op, S::Item) -> Step,
{
    match S::try_peek(cpu) {
        Some(value) => then(cpu, op, value),
        None => peek::<S, F>(cpu, op, then),
    }
}

#[cold]
#[inline(never)]
fn peek<S: Stack, F>(cpu: &mut Cpu, op: &Op, then: F) -> Step
where
    F: FnOnce(&mut Cpu, &Op, S::Item) -> Step,
{
    let value = S::peek(cpu)?;
    then(cpu, op, value)
}

/// A handler that is generic over [`Stack`], for items of some bytes in some mode.
macro_rules! stacked {
    ($form:expr, $size:expr, $handler:ident) => {
        match ($size, $form.mode.code64()) {
            (2, _) => Some($handler::<Item<u16>> as Handler),
            (4, false) => Some($handler::<Item<u32>> as Handler),
            (8, true) => Some($handler::<Flat> as Handler),
            _ => None,
        }
    };
}

pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    let size = item_size(instruction, form);
    let handler = match (instruction.mnemonic(), form.kinds[0]) {
        (Mnemonic::Push, Kind::Reg) if instruction.op0_register().is_gpr() => {
            stacked!(form, size, push_r)
        }
        (Mnemonic::Push, Kind::Mem) => stacked!(form, size, push_m),
        (Mnemonic::Push, Kind::Imm) => stacked!(form, size, push_i),
        (Mnemonic::Pop, Kind::Reg) if instruction.op0_register().is_gpr() => {
            stacked!(form, size, pop_r)
        }
        (Mnemonic::Pop, Kind::Mem) => stacked!(form, size, pop_m),
        (Mnemonic::Pusha | Mnemonic::Pushad, _) => stacked!(form, size, push_all),
        (Mnemonic::Popa | Mnemonic::Popad, _) => stacked!(form, size, pop_all),
        (Mnemonic::Enter, _) => stacked!(form, size, enter),
        (Mnemonic::Leave, _) => stacked!(form, size, leave),
        _ => None,
    };
    handler.map(Chosen::plain)
}

/// Bytes of what is pushed or popped, where the first operand does not tell.
fn item_size(instruction: &Instruction, form: &Form) -> u8 {
    use Code::*;
    match instruction.code() {
        Push_imm16 | Pushw_imm8 | Pushaw | Popaw | Enterw_imm16_imm8 | Leavew => 2,
        Pushd_imm32 | Pushd_imm8 | Pushad | Popad | Enterd_imm16_imm8 | Leaved => 4,
        Pushq_imm32 | Pushq_imm8 | Enterq_imm16_imm8 | Leaveq => 8,
        _ => form.size,
    }
}

fn push_r<S: Stack>(cpu: &mut Cpu, op: &Op) -> Step {
    // PUSH RSP: the value before.
    let value = S::Item::get(&cpu.gpr, op.dst);
    pushed::<S, _>(cpu, op, value, nothing)
}

fn push_m<S: Stack>(cpu: &mut Cpu, op: &Op) -> Step {
    loaded(cpu, op, |cpu, op, value| pushed::<S, _>(cpu, op, value, nothing))
}

fn push_i<S: Stack>(cpu: &mut Cpu, op: &Op) -> Step {
    pushed::<S, _>(cpu, op, op.imm(), nothing)
}

fn pop_r<S: Stack>(cpu: &mut Cpu, op: &Op) -> Step {
    peeked::<S, _>(cpu, op, |cpu, op, value| {
        S::drop_bytes(cpu, S::Item::BYTES);
        // POP RSP: the value stays.
        S::Item::set(&mut cpu.gpr, op.dst, value);
        Ok(Flow::Next)
    })
}

/// The address is that of after the pop.
fn pop_m<S: Stack>(cpu: &mut Cpu, op: &Op) -> Step {
    let before = cpu.gpr[RSP];
    let value = S::peek(cpu)?;
    S::drop_bytes(cpu, S::Item::BYTES);
    let stored = cpu.store(op, value);
    if stored.is_err() {
        cpu.gpr[RSP] = before;
    }
    stored.map(|()| Flow::Next)
}

/// As PUSHA pushes them; SP is the one from before.
const ALL: [u8; 8] =
    [reg::RAX, reg::RCX, reg::RDX, reg::RBX, reg::RSP, reg::RBP, reg::RSI, reg::RDI];

fn push_all<S: Stack>(cpu: &mut Cpu, _: &Op) -> Step {
    let before = cpu.gpr;
    for register in ALL {
        let pushed = S::push(cpu, S::Item::get(&before, register));
        if let Err(trap) = pushed {
            cpu.gpr[RSP] = before[RSP];
            return Err(trap);
        }
    }
    Ok(Flow::Next)
}

fn pop_all<S: Stack>(cpu: &mut Cpu, _: &Op) -> Step {
    let mut popped = cpu.gpr;
    for (n, register) in (0..).zip(ALL.into_iter().rev()) {
        let value = S::read(cpu, cpu.gpr[RSP].wrapping_add(n * S::Item::BYTES))?;
        // SP's place is read past.
        if register != reg::RSP {
            S::Item::set(&mut popped, register, value);
        }
    }
    cpu.gpr = popped;
    S::drop_bytes(cpu, 8 * S::Item::BYTES);
    Ok(Flow::Next)
}

fn enter<S: Stack>(cpu: &mut Cpu, op: &Op) -> Step {
    let before = cpu.gpr[RSP];
    match enter_frame::<S>(cpu, op) {
        Ok(frame) => {
            S::Item::set(&mut cpu.gpr, reg::RBP, frame);
            Ok(Flow::Next)
        }
        Err(trap) => {
            cpu.gpr[RSP] = before;
            Err(trap)
        }
    }
}

/// SDM vol. 2, "ENTER", but for RBP: gives what it is to be.
fn enter_frame<S: Stack>(cpu: &mut Cpu, op: &Op) -> Result<S::Item, Trap> {
    let level = op.imm >> 16 & 31;
    S::push(cpu, S::Item::get(&cpu.gpr, reg::RBP))?;
    let frame = S::Item::get(&cpu.gpr, reg::RSP);
    for n in 1..level {
        let outer = S::read(cpu, cpu.gpr[RBP].wrapping_sub(n * S::Item::BYTES))?;
        S::push(cpu, outer)?;
    }
    if level > 0 {
        S::push(cpu, frame)?;
    }
    let sp = cpu.stack_below(op.imm & 0xffff);
    // It faults as a push at the new top would.
    let seg = if cpu.code64() { FLAT_STACK } else { SS };
    let at = cpu.linear(seg, sp, S::Item::BYTES, true)?;
    cpu.probe_write(seg, at, S::Item::BYTES)?;
    S::set_sp(cpu, sp);
    Ok(frame)
}

fn leave<S: Stack>(cpu: &mut Cpu, _: &Op) -> Step {
    let frame = cpu.gpr[RBP];
    let value = S::read(cpu, frame)?;
    S::set_sp(cpu, frame);
    S::drop_bytes(cpu, S::Item::BYTES);
    S::Item::set(&mut cpu.gpr, reg::RBP, value);
    Ok(Flow::Next)
}
