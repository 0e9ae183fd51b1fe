// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From bytes to [`Op`]s: iced-x86 decodes, each family of instructions chooses its handlers.

mod availability;
mod operands;

use iced_x86::{Code, Decoder, DecoderError, DecoderOptions, Instruction, OpKind};

use crate::cpu::Cpu;
use crate::exec;
use crate::mode::Mode;
use crate::op::{Flow, Handler, Op, Step};

/// Bytes of an instruction at most.
pub(crate) const MAX_LENGTH: usize = 15;

/// What a family chose for an instruction.
#[derive(Clone, Copy)]
pub(crate) struct Chosen {
    run: Handler,
    ends: bool,
    alone: bool,
    aux: u8,
    joins: Option<Join>,
    condition: Option<u8>,
}

/// Gives the handler that carries out an instruction and the conditional branch behind it, for the
/// number of the branch's condition. It finds the branch by [`Op::ahead`].
pub(crate) type Join = fn(u8) -> Option<Handler>;

impl Chosen {
    /// An instruction that usually goes on at the next one.
    pub fn plain(run: Handler) -> Self {
        Chosen { run, ends: false, alone: false, aux: 0, joins: None, condition: None }
    }

    /// An instruction after which no other is decoded into the same block: it branches, or changes
    /// what decoding depends on.
    pub fn ends(run: Handler) -> Self {
        Chosen { ends: true, ..Chosen::plain(run) }
    }

    /// An instruction that is a block by itself, so that `Cpu::executed` is exact in it.
    pub fn alone(run: Handler) -> Self {
        Chosen { ends: true, alone: true, ..Chosen::plain(run) }
    }

    /// With [`Op::aux`].
    pub fn with_aux(self, aux: u8) -> Self {
        Chosen { aux, ..self }
    }

    /// An instruction that can be carried out together with a conditional branch behind it.
    pub fn joining(self, joins: Option<Join>) -> Self {
        Chosen { joins, ..self }
    }

    /// A conditional branch that raises nothing, with the number of its condition.
    pub fn on_condition(self, condition: Option<u8>) -> Self {
        Chosen { condition, ..self }
    }
}

/// The kind of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    None,
    Reg,
    Mem,
    Imm,
    Branch,
}

/// An instruction's shape, for choosing a handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// The first three operands.
    pub kinds: [Kind; 3],
    /// Bytes of the first operand (1, 2, 4, 8, 16 ...), if it is a register or memory.
    pub size: u8,
    /// Bytes of the second operand, the same.
    pub size2: u8,
    /// The mode it is decoded in.
    pub mode: Mode,
    /// There is a memory operand, and its linear address is a 64-bit register (or RIP, or nothing)
    /// and a displacement.
    pub plain: bool,
}

/// A decoded instruction and what the block builder must know of it.
pub(crate) struct Decoded {
    pub op: Op,
    pub ends: bool,
    pub alone: bool,
    joins: Option<Join>,
    condition: Option<u8>,
}

impl Decoded {
    /// Makes `first`, the instruction before this one, carry out both of them where that is
    /// possible. (The handler does the first one alone where the second is not to be executed.)
    pub fn join(&self, first: &mut Op, joins: Option<Join>) {
        let (Some(condition), Some(join)) = (self.condition, joins) else { return };
        let Ok(ahead) = i32::try_from(self.op.imm.wrapping_sub(first.rip) as i64) else { return };
        let Some(handler) = join(condition) else { return };
        (first.run, first.ahead) = (handler, ahead);
    }

    /// What [`Decoded::join`] wants to know of an instruction.
    pub fn joins(&self) -> Option<Join> {
        self.joins
    }
}

/// Why nothing was decoded.
pub(crate) enum Incomplete {
    /// The bytes end inside an instruction.
    NoMoreBytes,
}

/// Decodes the instruction at `rip`, the first of `bytes`. What is no instruction of this CPU
/// becomes one that raises #UD (or #GP(0) above 15 bytes).
pub(crate) fn decode(bytes: &[u8], rip: u64, mode: Mode) -> Result<Decoded, Incomplete> {
    let mut decoder = Decoder::with_ip(mode.bits(), bytes, rip, DecoderOptions::NONE);
    let instruction = decoder.decode();
    match decoder.last_error() {
        DecoderError::NoMoreBytes => Err(Incomplete::NoMoreBytes),
        DecoderError::None if is_exchange(&instruction, bytes, mode) => {
            Ok(translate(&without_rep(bytes, rip), rip, mode))
        }
        DecoderError::None => Ok(translate(&instruction, rip, mode)),
        _ => {
            let handler: Handler = if is_too_long(bytes, mode) { too_long } else { invalid };
            Ok(raising(&instruction, rip, handler))
        }
    }
}

/// Whether what iced-x86 calls invalid is no instruction because of its length: fourteen bytes do
/// not tell what it is.
fn is_too_long(bytes: &[u8], mode: Mode) -> bool {
    let Some(start) = bytes.get(..MAX_LENGTH - 1).filter(|_| bytes.len() >= MAX_LENGTH) else {
        return false;
    };
    let mut decoder = Decoder::new(mode.bits(), start, DecoderOptions::NONE);
    let _ = decoder.decode();
    decoder.last_error() == DecoderError::NoMoreBytes
}

/// F3 90 is PAUSE, but not if REX.B makes R8 of its register: then it is XCHG with a REP that does
/// not count, which iced-x86 does not know.
fn is_exchange(instruction: &Instruction, bytes: &[u8], mode: Mode) -> bool {
    instruction.code() == Code::Pause
        && mode.code64()
        && bytes.get(instruction.len().wrapping_sub(2)).is_some_and(|rex| rex & 0xf1 == 0x41)
}

/// The instruction with an idle prefix (DS) for each REP.
fn without_rep(bytes: &[u8], rip: u64) -> Instruction {
    let mut copy = [0; 15];
    for (to, from) in copy.iter_mut().zip(bytes) {
        *to = if *from == 0xf3 { 0x3e } else { *from };
    }
    Decoder::with_ip(64, &copy, rip, DecoderOptions::NONE).decode()
}

fn translate(instruction: &Instruction, rip: u64, mode: Mode) -> Decoded {
    let form = form(instruction, mode);
    if let Some(handler) = availability::refusal(instruction, mode) {
        return raising(instruction, rip, handler);
    }
    let Some(chosen) = exec::select(instruction, &form) else {
        return raising(instruction, rip, invalid);
    };
    let mut op = operands::op(instruction, rip, mode, chosen.run);
    op.osize = form.size;
    op.aux = chosen.aux;
    Decoded {
        op,
        ends: chosen.ends,
        alone: chosen.alone,
        joins: chosen.joins,
        condition: chosen.condition,
    }
}

fn raising(instruction: &Instruction, rip: u64, run: Handler) -> Decoded {
    let mut op = operands::bare(rip, run);
    op.len = instruction.len() as u8;
    Decoded { op, ends: true, alone: false, joins: None, condition: None }
}

fn invalid(cpu: &mut Cpu, _: &Op) -> Step {
    Err(cpu.ud())
}

fn too_long(cpu: &mut Cpu, _: &Op) -> Step {
    Err(cpu.gp())
}

/// NOP in its many encodings, prefetches and hints.
pub(crate) fn nothing(_: &mut Cpu, _: &Op) -> Step {
    Ok(Flow::Next)
}

fn form(instruction: &Instruction, mode: Mode) -> Form {
    let kind = |n: u32| match n < instruction.op_count() {
        false => Kind::None,
        true => match instruction.op_kind(n) {
            OpKind::Register => Kind::Reg,
            OpKind::NearBranch16
            | OpKind::NearBranch32
            | OpKind::NearBranch64
            | OpKind::FarBranch16
            | OpKind::FarBranch32 => Kind::Branch,
            OpKind::Immediate8
            | OpKind::Immediate8_2nd
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64 => Kind::Imm,
            _ => Kind::Mem,
        },
    };
    let kinds = [kind(0), kind(1), kind(2)];
    let size = |n: u32| match kinds[n as usize] {
        Kind::Reg => instruction.op_register(n).size() as u8,
        Kind::Mem => instruction.memory_size().size().min(255) as u8,
        _ => 0,
    };
    let plain = operands::is_plain(instruction, mode);
    Form { kinds, size: size(0), size2: size(1), mode, plain }
}
