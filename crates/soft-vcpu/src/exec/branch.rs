// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Near jumps, calls and returns.

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::access::loaded;
use super::condition::{conditional, number};
use super::loops;
use super::stack::{peeked, pushed, Flat, Item, Stack};
use crate::cpu::Cpu;
use crate::decode::{Chosen, Form, Kind};
use crate::int::{Data, Int};
use crate::op::{Flow, Handler, Op, Step, Trap};
use crate::segment::CS;

pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    let handler = match form.kinds[0] {
        Kind::Branch if !is_far(instruction) => match form.mode.code64() {
            true if is_canonical(instruction.near_branch_target()) => {
                direct::<Free>(instruction, form)
            }
            true => direct::<Nowhere>(instruction, form),
            false => direct::<Limited>(instruction, form),
        },
        _ => match form.mode.code64() {
            true => indirect::<Canonical>(instruction, form),
            false => indirect::<Limited>(instruction, form),
        },
    };
    handler.map(|run| Chosen::ends(run).on_condition(condition(instruction, form)))
}

/// The condition of a branch that does nothing else than to go to its target.
fn condition(instruction: &Instruction, form: &Form) -> Option<u8> {
    let is_free = instruction.is_jcc_short_or_near()
        && form.mode.code64()
        && is_canonical(instruction.near_branch_target());
    is_free.then(|| number(instruction)).flatten()
}

fn is_far(instruction: &Instruction) -> bool {
    matches!(instruction.op0_kind(), OpKind::FarBranch16 | OpKind::FarBranch32)
}

fn is_canonical(address: u64) -> bool {
    (address as i64) << 16 >> 16 == address as i64
}

/// Where a branch may go; elsewhere it raises #GP(0), before it does anything.
pub(super) trait Reach: 'static {
    fn check(cpu: &mut Cpu, target: u64) -> Result<(), Trap>;
}

/// A target that was looked at when the instruction was decoded.
struct Free;
impl Reach for Free {
    #[inline(always)]
    fn check(_: &mut Cpu, _: u64) -> Result<(), Trap> {
        Ok(())
    }
}

/// A target that is not canonical.
struct Nowhere;
impl Reach for Nowhere {
    #[inline(always)]
    fn check(cpu: &mut Cpu, _: u64) -> Result<(), Trap> {
        Err(cpu.gp())
    }
}

/// 64-bit mode: canonical addresses.
struct Canonical;
impl Reach for Canonical {
    #[inline(always)]
    fn check(cpu: &mut Cpu, target: u64) -> Result<(), Trap> {
        match is_canonical(target) {
            true => Ok(()),
            false => Err(cpu.gp()),
        }
    }
}

/// The other modes: within the limit of CS.
struct Limited;
impl Reach for Limited {
    #[inline(always)]
    fn check(cpu: &mut Cpu, target: u64) -> Result<(), Trap> {
        match target <= u64::from(cpu.segment(CS).limit) {
            true => Ok(()),
            false => Err(cpu.gp()),
        }
    }
}

fn direct<R: Reach>(instruction: &Instruction, form: &Form) -> Option<Handler> {
    if instruction.is_jcc_short_or_near() {
        let cc = number(instruction)?;
        return Some(conditional!(cc, jcc, R));
    }
    match (instruction.mnemonic(), instruction.op0_kind(), form.mode.code64()) {
        (Mnemonic::Jmp, ..) => Some(jmp::<R>),
        (Mnemonic::Call, OpKind::NearBranch16, _) => Some(call::<R, Item<u16>>),
        (Mnemonic::Call, OpKind::NearBranch32, false) => Some(call::<R, Item<u32>>),
        (Mnemonic::Call, OpKind::NearBranch64, true) => Some(call::<R, Flat>),
        _ => loops::select::<R>(instruction),
    }
}

fn indirect<R: Reach>(instruction: &Instruction, form: &Form) -> Option<Handler> {
    match instruction.mnemonic() {
        Mnemonic::Jmp if instruction.is_jmp_near_indirect() => by_size::<R>(form, false),
        Mnemonic::Call if instruction.is_call_near_indirect() => by_size::<R>(form, true),
        Mnemonic::Ret => {
            use iced_x86::Code;
            match (instruction.code(), form.mode.code64()) {
                (Code::Retnw | Code::Retnw_imm16, _) => Some(ret::<R, Item<u16>>),
                (Code::Retnd | Code::Retnd_imm16, false) => Some(ret::<R, Item<u32>>),
                (Code::Retnq | Code::Retnq_imm16, true) => Some(ret::<R, Flat>),
                _ => None,
            }
        }
        _ => None,
    }
}

/// JMP or CALL through a register or memory.
fn by_size<R: Reach>(form: &Form, calls: bool) -> Option<Handler> {
    match (form.size, form.mode.code64()) {
        (2, _) => through::<R, Item<u16>>(form, calls),
        (4, false) => through::<R, Item<u32>>(form, calls),
        (8, true) => through::<R, Flat>(form, calls),
        _ => None,
    }
}

fn through<R: Reach, S: Stack>(form: &Form, calls: bool) -> Option<Handler> {
    match (form.kinds[0], calls) {
        (Kind::Reg, false) => Some(jmp_r::<R, S>),
        (Kind::Mem, false) => Some(jmp_m::<R, S>),
        (Kind::Reg, true) => Some(call_r::<R, S>),
        (Kind::Mem, true) => Some(call_m::<R, S>),
        _ => None,
    }
}

fn jcc<const CC: u8, R: Reach>(cpu: &mut Cpu, op: &Op) -> Step {
    if cpu.flags.condition::<CC>() {
        return jmp::<R>(cpu, op);
    }
    Ok(Flow::Next)
}

#[inline(always)]
pub(super) fn jmp<R: Reach>(cpu: &mut Cpu, op: &Op) -> Step {
    R::check(cpu, op.imm)?;
    cpu.rip = op.imm;
    Ok(Flow::Taken)
}

fn call<R: Reach, S: Stack>(cpu: &mut Cpu, op: &Op) -> Step {
    R::check(cpu, op.imm)?;
    pushed::<S, _>(cpu, op, S::Item::from_u64(op.next()), |cpu, op| {
        cpu.rip = op.imm;
        Ok(Flow::Taken)
    })
}

fn jmp_r<R: Reach, S: Stack>(cpu: &mut Cpu, op: &Op) -> Step {
    let target = S::Item::get(&cpu.gpr, op.dst).zx();
    jump::<R>(cpu, target)
}

fn jmp_m<R: Reach, S: Stack>(cpu: &mut Cpu, op: &Op) -> Step {
    loaded(cpu, op, |cpu, _, target: S::Item| jump::<R>(cpu, target.zx()))
}

#[inline(always)]
fn jump<R: Reach>(cpu: &mut Cpu, target: u64) -> Step {
    R::check(cpu, target)?;
    cpu.rip = target;
    Ok(Flow::Jump)
}

fn call_r<R: Reach, S: Stack>(cpu: &mut Cpu, op: &Op) -> Step {
    let target = S::Item::get(&cpu.gpr, op.dst).zx();
    call_to::<R, S>(cpu, op, target)
}

fn call_m<R: Reach, S: Stack>(cpu: &mut Cpu, op: &Op) -> Step {
    loaded(cpu, op, |cpu, op, target: S::Item| call_to::<R, S>(cpu, op, target.zx()))
}

#[inline(always)]
fn call_to<R: Reach, S: Stack>(cpu: &mut Cpu, op: &Op, target: u64) -> Step {
    R::check(cpu, target)?;
    pushed::<S, _>(cpu, op, S::Item::from_u64(op.next()), move |cpu, _| {
        cpu.rip = target;
        Ok(Flow::Jump)
    })
}

/// RET, and RET imm16, which pops that many bytes more.
fn ret<R: Reach, S: Stack>(cpu: &mut Cpu, op: &Op) -> Step {
    peeked::<S, _>(cpu, op, |cpu, op, target| {
        R::check(cpu, target.zx())?;
        S::drop_bytes(cpu, S::Item::BYTES + op.imm);
        cpu.rip = target.zx();
        Ok(Flow::Jump)
    })
}
