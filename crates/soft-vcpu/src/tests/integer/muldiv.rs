// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Multiplication and division.

use vcpu_events::Exception;

use super::{instruction, Instruction, Random, Registers, Soft};
use crate::flags::bit::{AF, PF, SF, STATUS, ZF};

const AFTER_MUL: u64 = SF | ZF | AF | PF;

/// MUL, IMUL, DIV or IDIV by CL, CX, ECX, RCX.
macro_rules! group {
    ($modrm:literal) => {
        [
            (8, instruction!(0xf6, $modrm)),
            (16, instruction!(0x66, 0xf7, $modrm)),
            (32, instruction!(0xf7, $modrm)),
            (64, instruction!(0x48, 0xf7, $modrm)),
        ]
    };
}

#[test]
fn products_of_the_accumulator() {
    let (mut soft, mut random) = (Soft::new(), Random(1));
    for (_, instruction) in [group!(0xe1), group!(0xe9)].concat() {
        for _ in 0..5000 {
            soft.compare(instruction, random.registers(), AFTER_MUL);
        }
    }
}

#[test]
fn products_of_two_and_three_operands() {
    let (mut soft, mut random) = (Soft::new(), Random(2));
    let all = [
        // imul ax/eax/rax, cx/ecx/rcx
        instruction!(0x66, 0x0f, 0xaf, 0xc1),
        instruction!(0x0f, 0xaf, 0xc1),
        instruction!(0x48, 0x0f, 0xaf, 0xc1),
        // imul ax/eax/rax, cx/ecx/rcx, -3
        instruction!(0x66, 0x6b, 0xc1, 0xfd),
        instruction!(0x6b, 0xc1, 0xfd),
        instruction!(0x48, 0x6b, 0xc1, 0xfd),
        // imul ax/eax/rax, cx/ecx/rcx, large
        instruction!(0x66, 0x69, 0xc1, 0x34, 0x92),
        instruction!(0x69, 0xc1, 0x78, 0x56, 0x34, 0x92),
        instruction!(0x48, 0x69, 0xc1, 0x78, 0x56, 0x34, 0x92),
    ];
    for instruction in all {
        for _ in 0..5000 {
            soft.compare(instruction, random.registers(), AFTER_MUL);
        }
    }
}

/// The dividend, sign-extended, and the divisor.
fn operands(before: &Registers, size: u32, signed: bool) -> (i128, i128) {
    let extend = |value: u64| {
        let shift = 64 - size;
        match signed {
            true => i128::from((value << shift) as i64 >> shift),
            false => i128::from(value << shift >> shift),
        }
    };
    let (high, low) = match size {
        8 => (before.rax >> 8 & 0xff, before.rax & 0xff),
        _ => (before.rdx, before.rax & (u64::MAX >> (64 - size))),
    };
    (extend(high) << size | i128::from(low), extend(before.rcx))
}

/// Whether there is a quotient that fits.
fn divides(before: &Registers, size: u32, signed: bool) -> bool {
    let (dividend, divisor) = operands(before, size, signed);
    if divisor == 0 {
        return false;
    }
    if !signed {
        return dividend as u128 / (divisor as u128) < 1 << size;
    }
    let Some(quotient) = dividend.checked_div(divisor) else { return false };
    (-(1i128 << (size - 1))..1 << (size - 1)).contains(&quotient)
}

fn divisions(group: [(u32, Instruction); 4], signed: bool) {
    let (mut soft, mut random) = (Soft::new(), Random(3));
    for (size, instruction) in group {
        let mut errors = 0;
        for number in 0..20_000 {
            let mut before = random.registers();
            // A small upper half, so that there is a quotient more often than not.
            match number % 4 {
                0 => {}
                1 if signed => before.rdx = ((before.rax << (64 - size)) as i64 >> 63) as u64,
                1 => before.rdx = 0,
                _ => before.rdx = (before.rdx as i64 >> 40) as u64,
            }
            if divides(&before, size, signed) {
                soft.compare(instruction, before, STATUS);
            } else {
                errors += 1;
                let soft = soft.execute(instruction.bytes, before);
                assert_eq!(soft, Err(Exception::de()), "{size} {before:x?}");
            }
        }
        assert!((100..15_000).contains(&errors), "{size}: {errors}");
    }
}

#[test]
fn div() {
    divisions(group!(0xf1), false);
}

#[test]
fn idiv() {
    divisions(group!(0xf9), true);
}

#[test]
fn a_quotient_at_the_edge_of_what_fits() {
    let mut soft = Soft::new();
    let one = |rax, rdx, rcx| Registers { rax, rdx, rcx, flags: 0 };
    let idiv = group!(0xf9).map(|(_, instruction)| instruction.bytes);
    let fits = |result: Result<Registers, Exception>| result.is_ok();
    // -128 fits a byte, 128 does not.
    assert!(fits(soft.execute(idiv[0], one(0xff80, 0, 1))));
    assert!(!fits(soft.execute(idiv[0], one(0xff80, 0, 0xff))));
    assert!(fits(soft.execute(idiv[3], one(1 << 63, u64::MAX, 1))));
    assert!(!fits(soft.execute(idiv[3], one(1 << 63, u64::MAX, u64::MAX))));
    assert!(!fits(soft.execute(idiv[3], one(0, 1 << 63, u64::MAX))));
    assert!(!fits(soft.execute(idiv[2], one(0, 1 << 31, u64::MAX))));
}
