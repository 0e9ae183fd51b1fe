// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM vol. 2, "Imm8 Control Byte Operation for
//! PCMPESTRI / PCMPESTRM / PCMPISTRI / PCMPISTRM").

use iced_x86::{Instruction, Mnemonic};

use super::lanes::{Lane, Vector};
use super::operands::{is_memory, File, Mem, Reg, Source, Xmm};
use crate::cpu::Cpu;
use crate::flags::bit;
use crate::int::reg::{RAX, RCX, RDX};
use crate::int::Int;
use crate::op::{Flow, Handler, Op, Step};

pub(super) fn select(instruction: &Instruction) -> Option<Handler> {
    let memory = instruction.op_count() == 3 && is_memory(instruction, 1);
    Some(match (instruction.mnemonic(), memory) {
        (Mnemonic::Pcmpistri, false) => index::<Reg<Xmm>, Implicit>,
        (Mnemonic::Pcmpistri, true) => index::<Mem<Vector>, Implicit>,
        (Mnemonic::Pcmpistrm, false) => mask::<Reg<Xmm>, Implicit>,
        (Mnemonic::Pcmpistrm, true) => mask::<Mem<Vector>, Implicit>,
        (Mnemonic::Pcmpestri, false) => index::<Reg<Xmm>, Explicit<u32>>,
        (Mnemonic::Pcmpestri, true) => index::<Mem<Vector>, Explicit<u32>>,
        (Mnemonic::Pcmpestrm, false) => mask::<Reg<Xmm>, Explicit<u32>>,
        (Mnemonic::Pcmpestrm, true) => mask::<Mem<Vector>, Explicit<u32>>,
        (Mnemonic::Pcmpestri64, false) => index::<Reg<Xmm>, Explicit<u64>>,
        (Mnemonic::Pcmpestri64, true) => index::<Mem<Vector>, Explicit<u64>>,
        (Mnemonic::Pcmpestrm64, false) => mask::<Reg<Xmm>, Explicit<u64>>,
        (Mnemonic::Pcmpestrm64, true) => mask::<Mem<Vector>, Explicit<u64>>,
        _ => return None,
    })
}

/// Elements of an operand, sign- or zero-extended, and how many of them are valid.
struct Text {
    elements: [i32; 16],
    valid: usize,
}

/// How long the operands are.
trait Length {
    /// Of the first operand (`register` is RAX) or the second (RDX): valid elements among `count`.
    fn valid(cpu: &Cpu, register: u8, elements: &[i32]) -> usize;
}

/// Up to the first 0.
struct Implicit;
/// Absolute values of RAX and RDX, or EAX and EDX.
struct Explicit<T>(std::marker::PhantomData<T>);

impl Length for Implicit {
    fn valid(_: &Cpu, _: u8, elements: &[i32]) -> usize {
        elements.iter().position(|element| *element == 0).unwrap_or(elements.len())
    }
}

impl<T: Int> Length for Explicit<T> {
    fn valid(cpu: &Cpu, register: u8, elements: &[i32]) -> usize {
        let length = T::get(&cpu.gpr, register).sx() as i64;
        length.unsigned_abs().min(elements.len() as u64) as usize
    }
}

impl Text {
    fn new<L: Length>(cpu: &Cpu, register: u8, value: Vector, imm: u8) -> Self {
        fn widen<T: Lane + Into<i32>>(value: Vector) -> [i32; 16] {
            let lanes = T::split(value);
            let mut elements = [0; 16];
            for (element, lane) in elements.iter_mut().zip(lanes.as_ref()) {
                *element = (*lane).into();
            }
            elements
        }
        let elements = match imm & 3 {
            0 => widen::<u8>(value),
            1 => widen::<u16>(value),
            2 => widen::<i8>(value),
            _ => widen::<i16>(value),
        };
        let valid = L::valid(cpu, register, elements.get(..count(imm)).unwrap_or(&[]));
        Text { elements, valid }
    }

    fn valid(&self) -> &[i32] {
        self.elements.get(..self.valid).unwrap_or(&self.elements)
    }
}

/// Elements of an operand.
fn count(imm: u8) -> usize {
    if imm & 1 == 0 {
        16
    } else {
        8
    }
}

/// Bits of the lowest `n` elements.
fn low_bits(n: usize) -> u32 {
    !(u32::MAX << (n & 31))
}

/// IntRes1: bit n tells of element n of `b`. Elements that are not valid compare as the manual's
/// table "Comparison Result for Each Element Pair BoolRes[i,j]" forces them to.
fn aggregate(a: &Text, b: &Text, imm: u8) -> u32 {
    let all = low_bits(count(imm));
    let each = |matches: &dyn Fn(i32) -> bool| {
        let bits = (0..).zip(b.valid()).map(|(n, element)| u32::from(matches(*element)) << n);
        bits.sum::<u32>()
    };
    match imm >> 2 & 3 {
        // Equal any.
        0 => each(&|element| a.valid().contains(&element)),
        // Ranges: of a pair, both must be valid.
        1 => each(&|element| {
            let mut pairs = a.valid().chunks_exact(2);
            pairs.any(|pair| matches!(pair, [low, high] if (*low..=*high).contains(&element)))
        }),
        // Equal each: beyond both ends is equal.
        2 => {
            let pairs = (0..).zip(a.valid().iter().zip(b.valid()));
            let equal = pairs.map(|(n, (a, b))| u32::from(a == b) << n).sum::<u32>();
            equal | all & !low_bits(a.valid.max(b.valid))
        }
        // Equal ordered: `a` is found in `b`, or its beginning at the last element.
        _ => {
            let found = |start: usize| {
                let room = count(imm) - start;
                let wanted = a.valid().get(..room).unwrap_or(a.valid());
                b.valid().get(start..).unwrap_or(&[]).starts_with(wanted)
            };
            (0..count(imm)).map(|n| u32::from(found(n)) << n).sum()
        }
    }
}

/// IntRes2 and its flags.
fn compare<L: Length>(cpu: &mut Cpu, a: Vector, b: Vector, imm: u8) -> u32 {
    let (a, b) = (Text::new::<L>(cpu, RAX, a, imm), Text::new::<L>(cpu, RDX, b, imm));
    let inverted = match imm >> 4 & 3 {
        1 => low_bits(count(imm)),
        3 => low_bits(b.valid),
        _ => 0,
    };
    let result = aggregate(&a, &b, imm) ^ inverted;
    let flag = |bit: u64, on: bool| if on { bit } else { 0 };
    cpu.flags.set_status(
        flag(bit::CF, result != 0)
            | flag(bit::ZF, b.valid < count(imm))
            | flag(bit::SF, a.valid < count(imm))
            | flag(bit::OF, result & 1 != 0),
    );
    result
}

/// PCMPxSTRI: the lowest or highest bit's number into ECX, the count of elements if there is none.
fn index<S: Source, L: Length>(cpu: &mut Cpu, op: &Op) -> Step {
    let b = S::get(cpu, op)?;
    let imm = op.imm as u8;
    let result = compare::<L>(cpu, Xmm::get(cpu, op.dst), b, imm);
    let found = match imm & 0x40 {
        0 => result.trailing_zeros(),
        _ => result.checked_ilog2().unwrap_or(32),
    };
    u32::set(&mut cpu.gpr, RCX, found.min(count(imm) as u32));
    Ok(Flow::Next)
}

/// PCMPxSTRM: the bits, or elements of ones, into XMM0.
fn mask<S: Source, L: Length>(cpu: &mut Cpu, op: &Op) -> Step {
    let b = S::get(cpu, op)?;
    let imm = op.imm as u8;
    let result = compare::<L>(cpu, Xmm::get(cpu, op.dst), b, imm);
    let value = match imm & 0x41 {
        0x40 => u8::build(|n| if result >> (n & 31) & 1 != 0 { 0xff } else { 0 }),
        0x41 => u16::build(|n| if result >> (n & 31) & 1 != 0 { 0xffff } else { 0 }),
        _ => Vector::new(result.into()),
    };
    Xmm::set(cpu, 0, value);
    Ok(Flow::Next)
}
