// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! SSE floating point, compared with the processor that this runs on: every encoding, in its
//! register and memory forms, under every rounding mode, with and without FTZ and DAZ.

mod faults;
mod operands;
mod state;
mod unmasked;

use iced_x86::Mnemonic::{Rcpps, Rcpss, Rsqrtps, Rsqrtss};
use iced_x86::{Code, Mnemonic};

use super::simd::host::Host;
use super::simd::registers::{Registers, Rng};
use super::simd::soft::Soft;
use super::simd::{forms, forms_of, PAGE, SEEN};
use crate::sse::mxcsr;

#[test]
fn arithmetic_does_what_the_processor_does() {
    compare_all(|code| !is_conversion(code) && !forms::has_immediate(code));
}

#[test]
fn conversions_do_what_the_processor_does() {
    compare_all(is_conversion);
}

#[test]
fn comparisons_rounding_and_dot_products_do_what_the_processor_does() {
    compare_all(forms::has_immediate);
}

fn is_conversion(code: Code) -> bool {
    format!("{:?}", code.mnemonic()).starts_with("Cvt")
}

/// The encodings of this family but LDMXCSR and STMXCSR.
fn ours(wanted: fn(Code) -> bool) -> impl Iterator<Item = Code> {
    use Mnemonic::*;
    let others = [
        Fisttp,
        Crc32,
        Movnti,
        Lfence,
        Mfence,
        Sfence,
        Ldmxcsr,
        Stmxcsr,
        Prefetchnta,
        Prefetcht0,
        Prefetcht1,
        Prefetcht2,
    ];
    forms::codes().filter(move |code| {
        let mnemonic = code.mnemonic();
        forms::is_elsewhere(mnemonic) && !others.contains(&mnemonic) && wanted(*code)
    })
}

fn compare_all(wanted: fn(Code) -> bool) {
    let (mut host, mut soft) = (Host::new(), Soft::new());
    let mut rng = Rng(1985);
    for code in ours(wanted) {
        for memory in forms_of(code) {
            // As many choices of registers as immediates.
            let (rounds, operands) = if forms::has_immediate(code) { (256, 12) } else { (32, 48) };
            for round in 0..rounds {
                let bytes = forms::instruction(code, memory, round as u8, &mut rng);
                host.load(&bytes);
                soft.load(&bytes);
                for _ in 0..operands {
                    compare(&mut host, &mut soft, code, &bytes, &mut rng);
                }
            }
        }
    }
}

fn compare(host: &mut Host, soft: &mut Soft, code: Code, bytes: &[u8], rng: &mut Rng) {
    let mut before = registers(rng);
    let offset = match forms::memory_size(code) {
        16 => PAGE - 16 * (1 + rng.below(3) as usize),
        size => PAGE - size - [0, 0, 1, 3, 8, 16][rng.below(6) as usize],
    };
    (before.gpr[6], before.gpr[7]) = (offset as u64, offset as u64);
    let mut memory = [0; SEEN];
    for at in (offset - (PAGE - SEEN)..SEEN).step_by(16) {
        let end = SEEN.min(at + 16);
        memory[at..end].copy_from_slice(&operands::operand(rng).to_le_bytes()[..end - at]);
    }
    let (mut native_memory, mut soft_memory) = (memory, memory);
    let native = host.run(&before, &mut native_memory);
    let mut soft = soft.run(&before, &mut soft_memory);
    if matches!(code.mnemonic(), Rcpps | Rcpss | Rsqrtps | Rsqrtss) {
        for (soft, native) in soft.xmm.iter_mut().zip(native.xmm) {
            *soft = approximated(*soft, native);
        }
    }
    let case = || format!("{code:?} {bytes:02x?} with {before:x?}, memory {memory:02x?}");
    assert_eq!(native, soft, "native, soft: {}", case());
    assert_eq!(native_memory, soft_memory, "native, soft: {}", case());
}

/// `soft`, with those lanes taken from `native` that are as near as two approximations have to be
/// (SDM vol. 2, "RCPPS": the relative error is at most 1.5 * 2^-12).
fn approximated(soft: u128, native: u128) -> u128 {
    let lane = |value: u128, n: u32| f32::from_bits((value >> (32 * n)) as u32);
    (0..4).fold(0, |all, n| {
        let (ours, theirs) = (lane(soft, n), lane(native, n));
        let difference = (f64::from(ours) - f64::from(theirs)).abs();
        // Where a result is too small for a normal number each may find it so or not.
        let near = difference <= 1.5 / 4096.0 * f64::from(theirs).abs()
            || difference <= 1.001 * f64::from(f32::MIN_POSITIVE)
                && (ours == 0.0 || theirs == 0.0)
                && ours.is_sign_negative() == theirs.is_sign_negative();
        let lane = if near && theirs.is_finite() { theirs } else { ours };
        all | u128::from(lane.to_bits()) << (32 * n)
    })
}

/// Numbers of all kinds in the registers, any MXCSR that masks all exceptions.
fn registers(rng: &mut Rng) -> Registers {
    let mut registers = rng.registers();
    for register in &mut registers.xmm {
        *register = operands::operand(rng);
    }
    // Few differ from reset's, some have a single flag, some are anything.
    let any = rng.next() as u32 & 0xe07f;
    registers.mxcsr = mxcsr::MASKS
        | match rng.below(8) {
            0..=2 => any,
            3 => any & !mxcsr::FLAGS,
            4 | 5 => mxcsr::PE,
            6 => mxcsr::FLAGS,
            _ => 0,
        };
    registers
}
