// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Shifts and rotates.

use super::{instruction, Instruction, Random, Soft};
use crate::flags::bit::{AF, CF, OF, STATUS};
use crate::tests::machine::{Machine, DATA};
use crate::Exit;

/// AL, AX, EAX, RAX by CL and by 1; the second byte selects the operation.
macro_rules! group {
    ($modrm:literal) => {
        [
            (8, instruction!(0xd2, $modrm), instruction!(0xd0, $modrm)),
            (16, instruction!(0x66, 0xd3, $modrm), instruction!(0x66, 0xd1, $modrm)),
            (32, instruction!(0xd3, $modrm), instruction!(0xd1, $modrm)),
            (64, instruction!(0x48, 0xd3, $modrm), instruction!(0x48, 0xd1, $modrm)),
        ]
    };
}

type Group = [(u64, Instruction, Instruction); 4];

/// `undefined` tells from masked count (not 0) and size which flags are undefined.
fn every_count(group: Group, undefined: fn(u64, u64) -> u64) {
    let (mut soft, mut random) = (Soft::new(), Random(1));
    for (size, by_cl, by_one) in group {
        for count in 0..256 {
            let masked = count & if size == 64 { 63 } else { 31 };
            for _ in 0..16 {
                let mut before = random.registers();
                before.rcx = before.rcx & !0xff | count;
                let undefined = if masked == 0 { 0 } else { undefined(masked, size) };
                soft.compare(by_cl, before, undefined);
            }
        }
        for _ in 0..256 {
            soft.compare(by_one, random.registers(), undefined(1, size));
        }
    }
}

fn after_shift(count: u64, size: u64) -> u64 {
    let of = if count == 1 { 0 } else { OF };
    AF | of | if count >= size { CF } else { 0 }
}

fn after_sar(count: u64, _: u64) -> u64 {
    AF | if count == 1 { 0 } else { OF }
}

fn after_rotate(count: u64, _: u64) -> u64 {
    if count == 1 {
        0
    } else {
        OF
    }
}

#[test]
fn shl() {
    every_count(group!(0xe0), after_shift);
}

#[test]
fn shl_by_its_other_encoding() {
    every_count(group!(0xf0), after_shift);
}

#[test]
fn shr() {
    every_count(group!(0xe8), after_shift);
}

#[test]
fn sar() {
    every_count(group!(0xf8), after_sar);
}

#[test]
fn rol() {
    every_count(group!(0xc0), after_rotate);
}

#[test]
fn ror() {
    every_count(group!(0xc8), after_rotate);
}

#[test]
fn rcl() {
    every_count(group!(0xd0), after_rotate);
}

#[test]
fn rcr() {
    every_count(group!(0xd8), after_rotate);
}

#[test]
fn the_high_byte_registers_shift_too() {
    let (mut soft, mut random) = (Soft::new(), Random(2));
    for _ in 0..1000 {
        // rcl ah, 1; sar dh, 1; shl ch, 1
        soft.compare(instruction!(0xd0, 0xd4), random.registers(), 0);
        soft.compare(instruction!(0xd0, 0xfe), random.registers(), AF);
        soft.compare(instruction!(0xd0, 0xe5), random.registers(), AF);
    }
}

#[test]
fn shld_and_shrd() {
    let (mut soft, mut random) = (Soft::new(), Random(3));
    // shld/shrd ax/eax/rax, dx/edx/rdx, cl
    let all = [
        (16, instruction!(0x66, 0x0f, 0xa5, 0xd0)),
        (16, instruction!(0x66, 0x0f, 0xad, 0xd0)),
        (32, instruction!(0x0f, 0xa5, 0xd0)),
        (32, instruction!(0x0f, 0xad, 0xd0)),
        (64, instruction!(0x48, 0x0f, 0xa5, 0xd0)),
        (64, instruction!(0x48, 0x0f, 0xad, 0xd0)),
    ];
    for (size, instruction) in all {
        for count in 0..256 {
            let masked = count & if size == 64 { 63 } else { 31 };
            for _ in 0..16 {
                let mut before = random.registers();
                before.rcx = before.rcx & !0xff | count;
                match masked {
                    0 => soft.compare(instruction, before, 0),
                    1 => soft.compare(instruction, before, AF),
                    _ if masked <= size => soft.compare(instruction, before, AF | OF),
                    // The result is undefined; there is one.
                    _ => assert!(soft.execute(instruction.bytes, before).is_ok()),
                }
            }
        }
    }
}

#[test]
fn counts_beyond_16_shift_an_operand_of_16_bits_into_itself() {
    // What Intel's processors since the P6 do: shld ax, dx, 20; shrd ax, dx, 20
    let mut soft = Soft::new();
    let before = super::Registers { rax: 0x1234, rcx: 20, rdx: 0xabcd, flags: 0 };
    let left = soft.execute(&[0x66, 0x0f, 0xa5, 0xd0], before).unwrap();
    assert_eq!(left.rax, 0xbcd1);
    let right = soft.execute(&[0x66, 0x0f, 0xad, 0xd0], before).unwrap();
    assert_eq!(right.rax, 0x4abc);
}

#[test]
fn immediate_counts_are_masked_like_cl() {
    let (mut soft, mut random) = (Soft::new(), Random(4));
    for _ in 0..200 {
        // shl eax, 0; shl eax, 32; ror al, 40; shld rax, rdx, 68; rcl ax, 17
        soft.compare(instruction!(0xc1, 0xe0, 0), random.registers(), 0);
        soft.compare(instruction!(0xc1, 0xe0, 32), random.registers(), 0);
        soft.compare(instruction!(0xc0, 0xc8, 40), random.registers(), OF);
        soft.compare(instruction!(0x48, 0x0f, 0xa4, 0xd0, 68), random.registers(), AF | OF);
        soft.compare(instruction!(0x66, 0xc1, 0xd0, 17), random.registers(), OF);
    }
}

#[test]
fn memory_is_shifted_like_a_register() {
    let mut machine = Machine::long();
    // sar byte [rbx], 2; rcr word [rbx+2], cl; shl dword [rbx+4], 1; shrd [rbx+8], rdx, cl; hlt
    let code = [
        &[0xc0, 0x3b, 2][..],
        &[0x66, 0xd3, 0x5b, 2],
        &[0xd1, 0x63, 4],
        &[0x48, 0x0f, 0xad, 0x53, 8],
        &[0xf4],
    ];
    machine.write(DATA, &0x8765_4321_0001_00f1u64.to_le_bytes());
    machine.write(DATA + 8, &0x0123_4567_89ab_cdefu64.to_le_bytes());
    machine.state(|state| {
        (state.gpr[3], state.gpr[1], state.gpr[2]) = (DATA, 4, 0xa);
        state.rflags = 2 | STATUS;
    });
    assert_eq!(machine.run_bytes(&code.concat()), Exit::Halt);
    // -15 >> 2 = -4, CF 0; 0001 rotated by 4 through CF 0; 87654321 * 2.
    assert_eq!(machine.read_u64(DATA), 0x0eca_8642_2000_00fc);
    assert_eq!(machine.read_u64(DATA + 8), 0xa012_3456_789a_bcde);
    let state = machine.vcpu.state();
    assert_eq!(state.rflags & (CF | OF), CF | OF);
}

#[test]
fn lock_is_no_prefix_for_a_shift() {
    let mut machine = Machine::long();
    machine.vcpu.set_exception_exits(1 << 6);
    machine.state(|state| state.gpr[3] = DATA);
    let exit = machine.run_bytes(&[0xf0, 0xd1, 0x23]);
    assert_eq!(exit, Exit::Exception(vcpu_events::Exception::ud()));
}
