// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Decimal adjustment, by what it is for: arithmetic in decimal digits. The host has none of it in
//! 64-bit mode.

use crate::flags::bit::{AF, CF, PF, SF, ZF};
use crate::tests::machine::Machine;
use crate::Exit;

/// Runs code in 32-bit mode with AX, BL and CF given: AX and RFLAGS afterwards.
fn run(machine: &mut Machine, code: &[u8], ax: u16, bl: u8, carry: bool) -> (u16, u64) {
    machine.state(|state| {
        (state.gpr[0], state.gpr[3]) = (0x5555_0000 | u64::from(ax), u64::from(bl));
        state.rflags = 2 | u64::from(carry);
    });
    assert_eq!(machine.run_bytes(code), Exit::Halt);
    let state = machine.vcpu.state();
    assert_eq!(state.gpr[0] >> 16, 0x5555);
    (state.gpr[0] as u16, state.rflags)
}

/// Two digits in a byte.
fn packed(number: u16) -> u8 {
    (number / 10 % 10 * 16 + number % 10) as u8
}

#[test]
fn daa_after_adc_adds_packed_digits() {
    let mut machine = Machine::protected();
    for (a, b) in (0..100).flat_map(|a| (0..100).step_by(3).map(move |b| (a, b))) {
        let carry = (a + b) % 2 == 1;
        // adc al, bl; daa; hlt
        let code = [0x10, 0xd8, 0x27, 0xf4];
        let (ax, flags) = run(&mut machine, &code, packed(a).into(), packed(b), carry);
        let sum = a + b + u16::from(carry);
        assert_eq!(ax as u8, packed(sum), "{a} + {b}");
        assert_eq!(flags & CF != 0, sum > 99);
        assert_eq!(flags & ZF != 0, ax as u8 == 0);
        assert_eq!(flags & SF != 0, ax & 0x80 != 0);
        assert_eq!(flags & PF != 0, (ax as u8).count_ones() % 2 == 0);
    }
}

#[test]
fn das_after_sbb_subtracts_packed_digits() {
    let mut machine = Machine::protected();
    for (a, b) in (0..100).flat_map(|a| (0..100).step_by(3).map(move |b| (a, b))) {
        let carry = (a + b) % 2 == 1;
        // sbb al, bl; das; hlt
        let code = [0x18, 0xd8, 0x2f, 0xf4];
        let (ax, flags) = run(&mut machine, &code, packed(a).into(), packed(b), carry);
        let take = b + u16::from(carry);
        assert_eq!(ax as u8, packed(100 + a - take), "{a} - {b}");
        assert_eq!(flags & CF != 0, take > a);
        assert_eq!(flags & AF != 0, take % 10 > a % 10 || take % 10 == 0 && b % 10 == 9);
    }
}

/// SDM vol. 2, "DAS", operation, for what are no digits.
#[test]
fn das_of_what_is_no_digit() {
    let mut machine = Machine::protected();
    // das; hlt
    let (ax, flags) = run(&mut machine, &[0x2f, 0xf4], 0x0e, 0, false);
    assert_eq!((ax, flags & (CF | AF)), (0x08, AF));
    let (ax, flags) = run(&mut machine, &[0x2f, 0xf4], 0xee, 0, false);
    assert_eq!((ax, flags & (CF | AF)), (0x88, CF | AF));
    // 2 - 6 borrows by itself: stc; sbb al, 0 sets AF. mov al, 0; sub al, 1; mov al, 2; clc; das
    let code = [0xb0, 0, 0x2c, 1, 0xb0, 2, 0xf8, 0x2f, 0xf4];
    let (ax, flags) = run(&mut machine, &code, 0, 0, false);
    assert_eq!((ax, flags & (CF | AF)), (0xfc, CF | AF));
}

#[test]
fn aaa_and_aas_carry_into_ah() {
    let mut machine = Machine::protected();
    for (a, b) in (0..10u16).flat_map(|a| (0..10u16).map(move |b| (a, b))) {
        // add al, bl; aaa; hlt
        let (ax, flags) = run(&mut machine, &[0x00, 0xd8, 0x37, 0xf4], 0x300 | a, b as u8, false);
        let sum = a + b;
        assert_eq!(ax, 0x300 + sum / 10 * 0x100 + sum % 10);
        assert_eq!(flags & (CF | AF), if sum > 9 { CF | AF } else { 0 });
        // sub al, bl; aas; hlt
        let (ax, flags) = run(&mut machine, &[0x28, 0xd8, 0x3f, 0xf4], 0x300 | a, b as u8, false);
        let borrow = u16::from(b > a);
        assert_eq!(ax, 0x300 - borrow * 0x100 + (10 + a - b) % 10);
        assert_eq!(flags & (CF | AF), if b > a { CF | AF } else { 0 });
    }
}

#[test]
fn aam_splits_digits_and_aad_joins_them() {
    let mut machine = Machine::protected();
    for number in 0..=255u16 {
        // aam; hlt
        let (ax, flags) = run(&mut machine, &[0xd4, 10, 0xf4], 0xee00 | number, 0, true);
        assert_eq!(ax, number / 10 * 0x100 + number % 10);
        assert_eq!(flags & ZF != 0, number % 10 == 0);
        // aad 16; hlt
        let code = [0xd5, 16, 0xf4];
        let (ax, _) = run(&mut machine, &code, number << 4 & 0xf00 | number & 0xf, 0, true);
        assert_eq!(ax, number & 0xff);
    }
    machine.vcpu.set_exception_exits(1);
    let exit = machine.run_bytes(&[0xd4, 0]);
    assert_eq!(exit, Exit::Exception(vcpu_events::Exception::de()));
}

#[test]
fn there_is_no_decimal_adjustment_in_64_bit_mode() {
    let mut machine = Machine::long();
    machine.vcpu.set_exception_exits(1 << 6);
    for code in [[0x27, 0], [0x2f, 0], [0x37, 0], [0x3f, 0], [0xd4, 10], [0xd5, 10]] {
        let exit = machine.run_bytes(&code);
        assert_eq!(exit, Exit::Exception(vcpu_events::Exception::ud()), "{code:x?}");
    }
}
