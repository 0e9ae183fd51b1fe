// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! MOVS, STOS, LODS in 64-bit mode.

use super::*;
use crate::tests::machine::{Machine, DATA};

const LEN: usize = 0x6000;

/// Copies element by element, as the manual says.
fn copy(memory: &mut [u8], from: u64, to: u64, count: u64, size: u64, down: bool) {
    for n in 0..count * size / size {
        let by = if down { (n * size).wrapping_neg() } else { n * size };
        let (from, to) = (from.wrapping_add(by) as usize, to.wrapping_add(by) as usize);
        memory.copy_within(from..from + size as usize, to);
    }
}

#[test]
fn rep_movs_is_as_one_element_after_the_other() {
    let mut machine = Machine::long();
    // (from, to, bytes): apart, overlapping in both directions and by less than an element, across
    // pages, aligned and not.
    let cases = [
        (0x0, 0x3000, 0x2000),
        (0x5, 0x3003, 0x2100),
        (0x3003, 0x5, 0x2100),
        (0x100, 0x101, 0x1800),
        (0x100, 0x103, 0x1800),
        (0x100, 0x108, 0x1800),
        (0x103, 0x100, 0x1800),
        (0x101, 0x100, 0x1800),
        (0xffd, 0x2ffe, 0x10),
        (0xff8, 0x1ff8, 0x8),
    ];
    for (from, to, bytes) in cases {
        for size in [1, 2, 4, 8] {
            for down in [false, true] {
                let mut memory = pattern(LEN);
                machine.write(DATA, &memory);
                let count = bytes / size;
                // Downwards, from the last element.
                let first = if down { (count - 1) * size } else { 0 };
                set_registers(&mut machine, count, DATA + from + first, DATA + to + first);
                machine.state(|state| state.rflags = if down { 2 | DF } else { 2 });
                run(&mut machine, &instruction(&[REP], MOVS, size));
                copy(&mut memory, from + first, to + first, count, size, down);
                let case = format!("{from:#x} -> {to:#x}, {bytes:#x}, by {size}, down {down}");
                assert!(read(&machine, DATA, LEN) == memory, "{case}");
                let end = if down { size.wrapping_neg() } else { count * size };
                let expected = (0, (DATA + from).wrapping_add(end), (DATA + to).wrapping_add(end));
                assert_eq!(registers(&machine), expected, "{case}");
            }
        }
    }
}

#[test]
fn rep_stos_fills() {
    let mut machine = Machine::long();
    machine.state(|state| state.gpr[0] = 0x8877_6655_4433_2211);
    for size in [1u64, 2, 4, 8] {
        for (start, down) in [(0x10, false), (0x13, false), (0x2ff0, true), (0x2ff5, true)] {
            let count = 0x2000 / size + 3;
            let mut memory = pattern(LEN);
            machine.write(DATA, &memory);
            set_registers(&mut machine, count, 0x1234, DATA + start);
            machine.state(|state| state.rflags = if down { 2 | DF } else { 2 });
            run(&mut machine, &instruction(&[REPNE], STOS, size));
            let value = 0x8877_6655_4433_2211u64.to_le_bytes();
            for n in 0..count {
                let at = if down { start - n * size } else { start + n * size } as usize;
                memory[at..at + size as usize].copy_from_slice(&value[..size as usize]);
            }
            assert!(read(&machine, DATA, LEN) == memory, "{size} {start:#x}");
            let by = if down { (count * size).wrapping_neg() } else { count * size };
            let end = (DATA + start).wrapping_add(by);
            assert_eq!(registers(&machine), (0, 0x1234, end));
        }
    }
}

#[test]
fn lods_leaves_what_the_operand_size_does_not_cover() {
    let mut machine = Machine::long();
    machine.write(DATA, &pattern(LEN));
    let end = pattern(LEN)[0x2000 + 5 - 8..0x2000 + 5].to_vec();
    let end = u64::from_le_bytes(end.try_into().unwrap());
    // The last element of 2000h bytes: in AL, AX, EAX, RAX.
    let all = [(1, !0xff | end >> 56), (2, !0xffff | end >> 48), (4, end >> 32), (8, end)];
    for (size, rax) in all {
        machine.state(|state| state.gpr[0] = u64::MAX);
        set_registers(&mut machine, 0x2000 / size, DATA + 5, 7);
        run(&mut machine, &instruction(&[REP], LODS, size));
        assert_eq!(machine.vcpu.state().gpr[0], rax);
        assert_eq!(registers(&machine), (0, DATA + 5 + 0x2000, 7));
    }
}

#[test]
fn without_rep_rcx_does_not_matter() {
    let mut machine = Machine::long();
    machine.write(DATA, &pattern(0x100));
    set_registers(&mut machine, 0, DATA, DATA + 0x1000);
    let code: Vec<u8> = [LODS, STOS, MOVS + 1].to_vec();
    run(&mut machine, &code);
    assert_eq!(registers(&machine), (0, DATA + 5, DATA + 0x1005));
    assert_eq!(read(&machine, DATA + 0x1000, 6), [&pattern(5)[..], &[0]].concat());
}

#[test]
fn in_64_bit_mode_only_fs_and_gs_move_the_source() {
    let mut machine = Machine::long();
    machine.write(DATA, &pattern(0x100));
    machine.state(|state| {
        state.segments[3].base = 0x5000;
        state.segments[0].base = 0x6000;
        state.segments[4].base = DATA - 0x100;
    });
    // ES: and DS: have no base; FS: has one, and the destination is ES's whatever is told.
    for (prefix, rsi) in [(0x26, DATA), (0x3e, DATA), (0x64, 0x100)] {
        set_registers(&mut machine, 0x40, rsi, DATA + 0x1000);
        machine.write(DATA + 0x1000, &[0; 0x100]);
        run(&mut machine, &instruction(&[prefix, REP], MOVS, 1));
        assert_eq!(read(&machine, DATA + 0x1000, 0x41), [&pattern(0x40)[..], &[0]].concat());
    }
}

#[test]
fn code_that_is_written_is_executed_as_written() {
    let mut machine = Machine::long();
    let code = crate::tests::machine::CODE;
    // Twice, so that the block is known: rep stosb; ud2 x 4, the second time HLTs.
    let bytes = [&[REP, STOS][..], &[0x0f, 0x0b].repeat(4)].concat();
    machine.vcpu.set_exception_exits(1 << 6);
    let undefined = Exit::Exception(vcpu_events::Exception::ud());
    machine.state(|state| state.gpr[0] = HLT.into());
    set_registers(&mut machine, 0, 0, code + 2);
    assert_eq!(machine.run_bytes(&bytes), undefined);
    for len in [8, 1] {
        machine.write(code, &bytes);
        machine.state(|state| state.rip = code);
        set_registers(&mut machine, len, 0, code + 2);
        assert_eq!(machine.vcpu.run(1000), Exit::Halt);
        assert_eq!(read(&machine, code + 2, len as usize), vec![HLT; len as usize]);
    }
}
