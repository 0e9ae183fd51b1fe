// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Exceptions that MXCSR does not mask (SDM vol. 1, "SIMD Floating-Point Exceptions").

use vcpu_events::Exception;

use super::faults::machine;
use crate::spec::cr4;
use crate::sse::mxcsr::{DAZ, DE, FTZ, IE, MASKS, MASK_SHIFT, OE, PE, UE, ZE};
use crate::tests::machine::CODE;
use crate::Exit;

const ADDPS: [u8; 3] = [0x0f, 0x58, 0xc1];
const ADDSD: [u8; 4] = [0xf2, 0x0f, 0x58, 0xc1];
const ADDSUBPS: [u8; 4] = [0xf2, 0x0f, 0xd0, 0xc1];
const HADDPD: [u8; 4] = [0x66, 0x0f, 0x7c, 0xc1];
const MULPS: [u8; 3] = [0x0f, 0x59, 0xc1];
const MULSD: [u8; 4] = [0xf2, 0x0f, 0x59, 0xc1];
const DIVPS: [u8; 3] = [0x0f, 0x5e, 0xc1];
const DIVSD: [u8; 4] = [0xf2, 0x0f, 0x5e, 0xc1];
const SQRTPS: [u8; 3] = [0x0f, 0x51, 0xc1];
const MAXPS: [u8; 3] = [0x0f, 0x5f, 0xc1];
const CMPLTPS: [u8; 4] = [0x0f, 0xc2, 0xc1, 1];
const UCOMISD: [u8; 4] = [0x66, 0x0f, 0x2e, 0xc1];
const COMISD: [u8; 4] = [0x66, 0x0f, 0x2f, 0xc1];
const CVTSD2SS: [u8; 4] = [0xf2, 0x0f, 0x5a, 0xc1];
const CVTPD2PS: [u8; 4] = [0x66, 0x0f, 0x5a, 0xc1];
const CVTTSD2SI: [u8; 5] = [0xf2, 0x48, 0x0f, 0x2c, 0xc1];
const CVTSI2SS: [u8; 4] = [0xf3, 0x0f, 0x2a, 0xc1];
const CVTPS2PI: [u8; 3] = [0x0f, 0x2d, 0xc1];
const ROUNDSD: [u8; 6] = [0x66, 0x0f, 0x3a, 0x0b, 0xc1, 4];
const ROUNDSD_QUIETLY: [u8; 6] = [0x66, 0x0f, 0x3a, 0x0b, 0xc1, 12];
const DPPS: [u8; 6] = [0x66, 0x0f, 0x3a, 0x40, 0xc1, 0xff];

fn ps(lanes: [f32; 4]) -> u128 {
    lanes.iter().rev().fold(0, |value, lane| value << 32 | u128::from(lane.to_bits()))
}

fn pd(lanes: [f64; 2]) -> u128 {
    u128::from(lanes[0].to_bits()) | u128::from(lanes[1].to_bits()) << 64
}

fn sd(value: f64) -> u128 {
    pd([value, 1.0])
}

/// What an instruction with XMM0 and XMM1 does while `unmasked` are not masked: the flags that it
/// sets; it raises #XM and changes nothing else if that is said.
struct Case {
    what: &'static str,
    instruction: &'static [u8],
    operands: (u128, u128),
    unmasked: u32,
    control: u32,
    flags: u32,
    raises: bool,
}

fn check(case: &Case) {
    let mut machine = machine();
    let mxcsr = MASKS & !(case.unmasked << MASK_SHIFT) | case.control;
    machine.state(|state| {
        (state.xmm[0], state.xmm[1]) = case.operands;
        state.mxcsr = mxcsr;
        state.gpr[1] = 0x7fff_ffff;
        state.rip = CODE;
    });
    let before = machine.vcpu.state();
    let exit = machine.run_bytes(&[case.instruction, &[0xf4]].concat());
    let mut after = machine.vcpu.state();
    assert_eq!(after.mxcsr ^ mxcsr, case.flags, "{}: flags", case.what);
    if !case.raises {
        return assert_eq!(exit, Exit::Halt, "{}", case.what);
    }
    let xm = Exception::new(19, None).unwrap();
    assert_eq!(exit, Exit::Exception(xm), "{}", case.what);
    after.mxcsr = mxcsr;
    if case.instruction == CVTPS2PI {
        (after.ftw, after.fsw) = (before.ftw, before.fsw);
    }
    assert_eq!(after, before, "{}", case.what);
}

macro_rules! cases {
    ($($what:literal: $instruction:ident $a:expr, $b:expr; unmasked $unmasked:expr
        $(, control $control:expr)? => $flags:expr, $raises:literal;)*) => {
        [$(Case {
            what: $what,
            instruction: &$instruction,
            operands: ($a, $b),
            unmasked: $unmasked,
            control: 0 $(| $control)?,
            flags: $flags,
            raises: $raises,
        }),*]
    };
}

const MIN32: f32 = f32::MIN_POSITIVE;
const TINY32: f32 = 1e-40;
const SNAN32: u32 = 0x7fa0_0000;
const ONE: [f32; 4] = [1.0; 4];

#[test]
fn an_exception_before_the_computation_leaves_the_later_flags_alone() {
    let snan = f32::from_bits(SNAN32);
    let cases = cases! {
        "SNaN beside an inexact lane":
            ADDPS ps([snan, 1.0, 0.0, 0.0]), ps([1.0, 1e-9, 0.0, 0.0]); unmasked IE => IE, true;
        "the same, masked":
            ADDPS ps([snan, 1.0, 0.0, 0.0]), ps([1.0, 1e-9, 0.0, 0.0]); unmasked 0 => IE | PE, false;
        "SNaN masked beside an inexact lane that is not":
            ADDPS ps([snan, 1.0, 0.0, 0.0]), ps([1.0, 1e-9, 0.0, 0.0]); unmasked PE
            => IE | PE, true;
        "a divisor of 0, beside a third":
            DIVPS ps(ONE), ps([0.0, 3.0, 1.0, 1.0]); unmasked ZE => ZE, true;
        "a divisor of 0 and 0/0, of which one is masked":
            DIVPS ps([1.0, 0.0, 1.0, 1.0]), ps([0.0, 0.0, 1.0, 1.0]); unmasked ZE => IE | ZE, true;
        "a denormal beside a third":
            DIVPS ps([TINY32, 1.0, 1.0, 1.0]), ps([1.0, 3.0, 1.0, 1.0]); unmasked DE => DE, true;
        "a denormal that DAZ takes for 0":
            DIVPS ps([TINY32, 1.0, 1.0, 1.0]), ps([1.0, 3.0, 1.0, 1.0]); unmasked DE, control DAZ
            => PE, false;
        "the root of -1": SQRTPS ps(ONE), ps([-1.0; 4]); unmasked IE => IE, true;
        "the maximum of a QNaN": MAXPS ps([f32::NAN; 4]), ps(ONE); unmasked IE => IE, true;
        "less than a QNaN": CMPLTPS ps([f32::NAN; 4]), ps(ONE); unmasked IE => IE, true;
        "COMISD with a QNaN": COMISD sd(f64::NAN), sd(1.0); unmasked IE => IE, true;
        "UCOMISD with a QNaN": UCOMISD sd(f64::NAN), sd(1.0); unmasked IE => 0, false;
        "2^63 to 64 bits": CVTTSD2SI sd(0.0), sd(9.3e18); unmasked IE => IE, true;
        "2^31 to 32 bits": CVTPS2PI ps(ONE), ps([3e9, 0.5, 0.0, 0.0]); unmasked IE => IE, true;
        "an upper lane that does not count":
            CVTPS2PI ps(ONE), ps([3.0, 0.0, 3e9, 0.5]); unmasked IE | PE => 0, false;
    };
    cases.iter().for_each(check);
}

#[test]
fn a_tiny_result_is_an_underflow_exact_or_not() {
    let cases = cases! {
        "half of the smallest normal number":
            MULPS ps([MIN32, 1.0, 1.0, 1.0]), ps([0.5, 1.0, 1.0, 1.0]); unmasked UE => UE, true;
        "the same, masked":
            MULPS ps([MIN32, 1.0, 1.0, 1.0]), ps([0.5, 1.0, 1.0, 1.0]); unmasked 0 => 0, false;
        "the same while only the inexact result is not masked":
            MULPS ps([MIN32, 1.0, 1.0, 1.0]), ps([0.5, 1.0, 1.0, 1.0]); unmasked PE => 0, false;
        "FTZ, which changes it": MULPS ps([MIN32, 1.0, 1.0, 1.0]), ps([0.5, 1.0, 1.0, 1.0]);
            unmasked 0, control FTZ => UE | PE, false;
        "FTZ, which means nothing then": MULPS ps([MIN32, 1.0, 1.0, 1.0]), ps([0.5, 1.0, 1.0, 1.0]);
            unmasked UE, control FTZ => UE, true;
        "a product of rounded significand":
            MULPS ps([MIN32 * 1.3, 1.0, 1.0, 1.0]), ps([0.3, 1.0, 1.0, 1.0]); unmasked UE
            => UE | PE, true;
        "a power of 2 below the smallest denormal": MULSD sd(2f64.powi(-600)), sd(2f64.powi(-600));
            unmasked UE => UE, true;
        "the same, masked": MULSD sd(2f64.powi(-600)), sd(2f64.powi(-600)); unmasked 0
            => UE | PE, false;
        "a tiny lane beside a third":
            DIVPS ps([MIN32, 1.0, 1.0, 1.0]), ps([2.0, 3.0, 1.0, 1.0]); unmasked UE
            => UE | PE, true;
        "a difference":
            ADDSUBPS ps([MIN32 * 1.5, 0.0, 0.0, 0.0]), ps([MIN32, 0.0, 0.0, 0.0]); unmasked UE
            => UE, true;
        "2^-140 in single precision": CVTSD2SS sd(0.0), sd(2f64.powi(-140)); unmasked UE => UE, true;
        "2^-140 in the first of two": CVTPD2PS sd(0.0), pd([2f64.powi(-140), 0.1]); unmasked UE
            => UE | PE, true;
        "the first step of a dot product":
            DPPS ps([MIN32, 1.0, 1.0, 1.0]), ps([0.5, 0.1, 1.0, 1e-9]); unmasked UE => UE, true;
        "zero": MULSD sd(0.0), sd(1e-300); unmasked UE | PE => 0, false;
    };
    cases.iter().for_each(check);
}

#[test]
fn an_overflow_is_inexact_only_if_its_significand_is() {
    let (max32, max64) = (2f32.powi(127), 2f64.powi(1023));
    let cases = cases! {
        "2^127 twice": ADDPS ps([max32, 1.0, 1.0, 1.0]), ps([max32, 1.0, 1.0, 1.0]); unmasked OE
            => OE, true;
        "the same, masked": ADDPS ps([max32, 1.0, 1.0, 1.0]), ps([max32, 1.0, 1.0, 1.0]); unmasked 0
            => OE | PE, false;
        "the same while the inexact result is not masked":
            ADDPS ps([max32, 1.0, 1.0, 1.0]), ps([max32, 1.0, 1.0, 1.0]); unmasked PE
            => OE | PE, true;
        "2^127 twice beside 1 + 1e-9":
            ADDPS ps([max32, 1.0, 1.0, 1.0]), ps([max32, 1e-9, 1.0, 1.0]); unmasked OE
            => OE | PE, true;
        "2^1023 twice": ADDSD sd(max64), sd(max64); unmasked OE => OE, true;
        "in the upper pair": HADDPD sd(0.0), pd([max64, max64]); unmasked OE => OE, true;
        "2^1023 / 0.5": DIVSD sd(max64), sd(0.5); unmasked OE => OE, true;
        "2^1023 / 0.3": DIVSD sd(max64), sd(0.3); unmasked OE => OE | PE, true;
        "2^128 in single precision": CVTSD2SS sd(0.0), sd(2f64.powi(128)); unmasked OE => OE, true;
        "10^39 in single precision": CVTSD2SS sd(0.0), sd(1e39); unmasked OE => OE | PE, true;
        "an overflow that is not masked, an underflow that is":
            MULPS ps([max32, MIN32, 1.0, 1.0]), ps([2.0, 2f32.powi(-30), 1.0, 1.0]); unmasked OE
            => OE | UE | PE, true;
        "infinity": ADDSD sd(f64::INFINITY), sd(max64); unmasked OE | PE => 0, false;
    };
    cases.iter().for_each(check);
}

#[test]
fn an_inexact_result_is_an_exception_too() {
    let cases = cases! {
        "1 + 1e-20": ADDSD sd(1.0), sd(1e-20); unmasked PE => PE, true;
        "1.5 rounded": ROUNDSD sd(0.0), sd(1.5); unmasked PE => PE, true;
        "1.5 rounded without a word": ROUNDSD_QUIETLY sd(0.0), sd(1.5); unmasked PE => 0, false;
        "2^31 - 1 in single precision": CVTSI2SS sd(0.0), sd(0.0); unmasked PE => PE, true;
    };
    cases.iter().for_each(check);
}

/// SDM vol. 3, "Control Registers", CR4.OSXMMEXCPT.
#[test]
fn without_osxmmexcpt_it_is_ud() {
    let mut machine = machine();
    machine.state(|state| {
        state.cr4 &= !cr4::OSXMMEXCPT;
        state.mxcsr = MASKS & !(ZE << MASK_SHIFT);
        (state.xmm[0], state.xmm[1]) = (sd(1.0), sd(0.0));
    });
    assert_eq!(machine.run_bytes(&DIVSD), Exit::Exception(Exception::ud()));
    assert_eq!(machine.vcpu.state().mxcsr & ZE, ZE);
    assert_eq!(machine.vcpu.state().xmm[0], sd(1.0));
}

/// Flags are sticky: only new exceptions count.
#[test]
fn a_flag_that_is_set_already_raises_nothing() {
    let mut machine = machine();
    machine.state(|state| {
        state.mxcsr = IE | ZE | PE;
        (state.xmm[0], state.xmm[1]) = (sd(1.0), sd(2.0));
    });
    assert_eq!(machine.run_bytes(&[&DIVSD[..], &[0xf4]].concat()), Exit::Halt);
    assert_eq!(machine.vcpu.state().mxcsr, IE | ZE | PE);
    assert_eq!(machine.vcpu.state().xmm[0], sd(0.5));
}
