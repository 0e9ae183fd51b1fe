// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Bit tests and scans, POPCNT, CRC32.

use super::{instruction, Instruction, Random, Soft};
use crate::flags::bit::{AF, CF, OF, PF, SF, STATUS, ZF};
use crate::tests::machine::{Machine, DATA};
use crate::Exit;

const AFTER_BT: u64 = OF | SF | AF | PF;

fn many(instructions: &[Instruction], undefined: u64) {
    let (mut soft, mut random) = (Soft::new(), Random(1));
    for instruction in instructions {
        for _ in 0..5000 {
            soft.compare(*instruction, random.registers(), undefined);
        }
    }
}

#[test]
fn bit_tests_of_registers() {
    macro_rules! group {
        ($opcode:literal, $modrm:literal) => {
            [
                // ax/eax/rax, cx/ecx/rcx
                instruction!(0x66, 0x0f, $opcode, 0xc8),
                instruction!(0x0f, $opcode, 0xc8),
                instruction!(0x48, 0x0f, $opcode, 0xc8),
                // ax/eax/rax, immediate beyond the size
                instruction!(0x66, 0x0f, 0xba, $modrm, 0x25),
                instruction!(0x0f, 0xba, $modrm, 0x45),
                instruction!(0x48, 0x0f, 0xba, $modrm, 0x7f),
            ]
        };
    }
    many(&group!(0xa3, 0xe0), AFTER_BT);
    many(&group!(0xab, 0xe8), AFTER_BT);
    many(&group!(0xb3, 0xf0), AFTER_BT);
    many(&group!(0xbb, 0xf8), AFTER_BT);
}

#[test]
fn a_bit_offset_in_a_register_reaches_beyond_the_operand() {
    // (instruction, CX/ECX/RCX, byte of memory that changes, its bit)
    let set = |rex_or_size: &'static [u8]| [rex_or_size, &[0x0f, 0xab, 0x0b]].concat();
    let all: [(Vec<u8>, i64, i64, u32); 8] = [
        (set(&[]), 31, 3, 7),
        (set(&[]), 100, 12, 4),
        (set(&[]), -1, -1, 7),
        (set(&[]), -32, -4, 0),
        (set(&[0x66]), -17, -3, 7),
        // Only CX counts: 8001h is -32767.
        (set(&[0x66]), 0x7_8001, -4096, 1),
        (set(&[0x48]), 0x4000, 0x800, 0),
        (set(&[0x48]), -0x4001, -0x801, 7),
    ];
    for (code, offset, byte, bit) in all {
        let mut machine = Machine::long();
        let at = DATA + 0x1_0000;
        machine.state(|state| (state.gpr[3], state.gpr[1]) = (at, offset as u64));
        let code = [&code[..], &[0xf4]].concat();
        for carry in [0, CF] {
            assert_eq!(machine.run_bytes(&code), Exit::Halt);
            assert_eq!(machine.vcpu.state().rflags & CF, carry, "{code:x?}");
            let found = machine.read_u64(at.wrapping_add_signed(byte));
            assert_eq!(found & 0xff, 1 << bit, "{code:x?} {offset}");
        }
    }
}

#[test]
fn locked_bit_tests_change_memory_and_tell_the_bit() {
    let mut machine = Machine::long();
    machine.state(|state| (state.gpr[3], state.gpr[1]) = (DATA, 5));
    // lock bts [rbx], ecx; lock btr qword [rbx], 5; lock btc word [rbx], 15; bt [rbx], cx; hlt
    let code = [
        &[0xf0, 0x0f, 0xab, 0x0b][..],
        &[0xf0, 0x48, 0x0f, 0xba, 0x33, 5],
        &[0x0f, 0x92, 0xc0],
        &[0xf0, 0x66, 0x0f, 0xba, 0x3b, 15],
        &[0x66, 0x0f, 0xa3, 0x0b],
        &[0xf4],
    ];
    assert_eq!(machine.run_bytes(&code.concat()), Exit::Halt);
    let state = machine.vcpu.state();
    assert_eq!((state.gpr[0] & 1, state.rflags & CF), (1, 0));
    assert_eq!(machine.read_u64(DATA), 0x8000);
}

#[test]
fn a_bit_test_with_lock_that_only_reads_is_undefined() {
    let mut machine = Machine::long();
    machine.vcpu.set_exception_exits(1 << 6);
    machine.state(|state| state.gpr[3] = DATA);
    let exit = machine.run_bytes(&[0xf0, 0x0f, 0xa3, 0x0b]);
    assert_eq!(exit, Exit::Exception(vcpu_events::Exception::ud()));
}

#[test]
fn bit_scans() {
    let all = [
        // bsf/bsr ax/eax/rax, cx/ecx/rcx
        instruction!(0x66, 0x0f, 0xbc, 0xc1),
        instruction!(0x0f, 0xbc, 0xc1),
        instruction!(0x48, 0x0f, 0xbc, 0xc1),
        instruction!(0x66, 0x0f, 0xbd, 0xc1),
        instruction!(0x0f, 0xbd, 0xc1),
        instruction!(0x48, 0x0f, 0xbd, 0xc1),
    ];
    many(&all, STATUS & !ZF);
}

#[test]
fn a_scan_of_nothing_leaves_the_destination() {
    let mut soft = Soft::new();
    let before = super::Registers { rax: u64::MAX, rcx: 0, rdx: 0, flags: 0 };
    for bytes in [&[0x0f, 0xbc, 0xc1][..], &[0x0f, 0xbd, 0xc1], &[0x66, 0x0f, 0xbd, 0xc1]] {
        let after = soft.execute(bytes, before).unwrap();
        assert_eq!((after.rax, after.flags & ZF), (u64::MAX, ZF));
    }
}

#[test]
fn lzcnt_and_tzcnt_are_scans_here() {
    let mut soft = Soft::new();
    let before = super::Registers { rax: 0, rcx: 0x1_0010, rdx: 0, flags: 0 };
    assert_eq!(soft.execute(&[0xf3, 0x0f, 0xbc, 0xc1], before).unwrap().rax, 4);
    assert_eq!(soft.execute(&[0xf3, 0x48, 0x0f, 0xbd, 0xc1], before).unwrap().rax, 16);
}

#[test]
fn popcnt() {
    let all = [
        instruction!(0x66, 0xf3, 0x0f, 0xb8, 0xc1),
        instruction!(0xf3, 0x0f, 0xb8, 0xc1),
        instruction!(0xf3, 0x48, 0x0f, 0xb8, 0xc1),
    ];
    many(&all, 0);
}

#[test]
fn crc32() {
    let all = [
        // eax, cl/ch/cx/ecx; rax, cl/rcx
        instruction!(0xf2, 0x0f, 0x38, 0xf0, 0xc1),
        instruction!(0xf2, 0x0f, 0x38, 0xf0, 0xc5),
        instruction!(0x66, 0xf2, 0x0f, 0x38, 0xf1, 0xc1),
        instruction!(0xf2, 0x0f, 0x38, 0xf1, 0xc1),
        instruction!(0xf2, 0x48, 0x0f, 0x38, 0xf0, 0xc1),
        instruction!(0xf2, 0x48, 0x0f, 0x38, 0xf1, 0xc1),
    ];
    many(&all, 0);
}
