// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! BSF, BSR, POPCNT, CRC32.

use iced_x86::{Instruction, Mnemonic};

use crate::cpu::Cpu;
use crate::decode::{Chosen, Form, Kind};
use crate::exec::sized;
use crate::flags::bit;
use crate::int::Int;
use crate::op::{Flow, Op, Step};

pub(super) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    let size = form.size;
    let handler = match (instruction.mnemonic(), form.kinds[1]) {
        // A processor without LZCNT and BMI1 ignores the prefix that makes BSR LZCNT.
        (Mnemonic::Bsf | Mnemonic::Tzcnt, Kind::Reg) => sized!(size, bsf_r),
        (Mnemonic::Bsf | Mnemonic::Tzcnt, Kind::Mem) => sized!(size, bsf_m),
        (Mnemonic::Bsr | Mnemonic::Lzcnt, Kind::Reg) => sized!(size, bsr_r),
        (Mnemonic::Bsr | Mnemonic::Lzcnt, Kind::Mem) => sized!(size, bsr_m),
        (Mnemonic::Popcnt, Kind::Reg) => sized!(size, popcnt_r),
        (Mnemonic::Popcnt, Kind::Mem) => sized!(size, popcnt_m),
        (Mnemonic::Crc32, Kind::Reg) => sized!(form.size2, crc32_r),
        (Mnemonic::Crc32, Kind::Mem) => sized!(form.size2, crc32_m),
        _ => None,
    };
    handler.map(Chosen::plain)
}

/// The destination is left alone, upper half and all, where there is no bit: what all processors
/// do and programs count on. Flags other than ZF are undefined; here, as on AMD's, PF is the
/// index's and the others are clear.
#[inline(always)]
fn scan<T: Int>(cpu: &mut Cpu, op: &Op, source: T, index: u32) -> Step {
    if source.zx() == 0 {
        cpu.flags.result_with(0u32, false, false);
        return Ok(Flow::Next);
    }
    T::set(&mut cpu.gpr, op.dst, T::from_u64(u64::from(index)));
    // Not 0, even if the index is.
    cpu.flags.result_with(index | 0x100, false, false);
    Ok(Flow::Next)
}

#[inline(always)]
fn bsf<T: Int>(cpu: &mut Cpu, op: &Op, source: T) -> Step {
    scan(cpu, op, source, source.zx().trailing_zeros())
}

fn bsf_r<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = T::get(&cpu.gpr, op.src);
    bsf(cpu, op, source)
}

fn bsf_m<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = cpu.load::<T>(op)?;
    bsf(cpu, op, source)
}

#[inline(always)]
fn bsr<T: Int>(cpu: &mut Cpu, op: &Op, source: T) -> Step {
    scan(cpu, op, source, 63u32.wrapping_sub(source.zx().leading_zeros()))
}

fn bsr_r<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = T::get(&cpu.gpr, op.src);
    bsr(cpu, op, source)
}

fn bsr_m<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = cpu.load::<T>(op)?;
    bsr(cpu, op, source)
}

#[inline(always)]
fn popcnt<T: Int>(cpu: &mut Cpu, op: &Op, source: T) -> Step {
    let ones = u64::from(source.zx().count_ones());
    T::set(&mut cpu.gpr, op.dst, T::from_u64(ones));
    cpu.flags.set_status(if ones == 0 { bit::ZF } else { 0 });
    Ok(Flow::Next)
}

fn popcnt_r<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = T::get(&cpu.gpr, op.src);
    popcnt(cpu, op, source)
}

fn popcnt_m<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = cpu.load::<T>(op)?;
    popcnt(cpu, op, source)
}

/// The remainder by 11EDC6F41h (bit-reflected) of each byte.
const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut rest = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            rest = rest >> 1 ^ (rest & 1) * 0x82f6_3b78;
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
    }
    table
};

/// The destination is 32 bits, or 64 with the upper half 0. No flag changes.
#[inline(always)]
fn crc32<T: Int>(cpu: &mut Cpu, op: &Op, source: T) -> Step {
    let mut crc = u32::get(&cpu.gpr, op.dst);
    for byte in 0..T::BYTES {
        let next = (source.zx() >> (8 * byte)) as u8 ^ crc as u8;
        crc = crc >> 8 ^ CRC[usize::from(next)];
    }
    u32::set(&mut cpu.gpr, op.dst, crc);
    Ok(Flow::Next)
}

fn crc32_r<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = T::get(&cpu.gpr, op.src);
    crc32(cpu, op, source)
}

fn crc32_m<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let source = cpu.load::<T>(op)?;
    crc32(cpu, op, source)
}
