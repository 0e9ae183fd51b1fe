// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! SCAS and CMPS.

use super::*;
use crate::flags::bit::{AF, CF, PF, SF, STATUS, ZF};
use crate::tests::machine::{Machine, DATA};

fn status(machine: &Machine) -> u64 {
    machine.vcpu.state().rflags & STATUS
}

#[test]
fn repne_scas_stops_behind_what_it_looks_for() {
    let mut machine = Machine::long();
    for size in [1, 2, 4, 8] {
        for at in [0, 1, 7, 0x1ff, 0x200, 0x3fe] {
            let mut memory = vec![0u8; 0x3000];
            memory[(at * size + 3) as usize] = 0x42;
            machine.write(DATA, &memory);
            machine.state(|state| (state.rflags, state.gpr[0]) = (2, 0x42));
            set_registers(&mut machine, 0x400, 9, DATA + 3);
            run(&mut machine, &instruction(&[REPNE], SCAS, size));
            let expected = (0x400 - at - 1, 9, DATA + 3 + (at + 1) * size);
            assert_eq!(registers(&machine), expected, "{size} {at}");
            assert_eq!(status(&machine), ZF | PF);
            // And from above.
            machine.state(|state| state.rflags = 2 | DF);
            set_registers(&mut machine, 0x400, 9, DATA + 3 + 0x3ff * size);
            run(&mut machine, &instruction(&[REPNE], SCAS, size));
            let expected = (at, 9, (DATA + 3 + at * size).wrapping_sub(size));
            assert_eq!(registers(&machine), expected, "{size} {at}, down");
        }
    }
}

#[test]
fn repne_scas_without_a_match_leaves_the_last_comparison() {
    let mut machine = Machine::long();
    machine.write(DATA, &[0x10; 0x1800]);
    machine.state(|state| (state.rflags, state.gpr[0]) = (2, 0x0f));
    set_registers(&mut machine, 0x1800, 0, DATA);
    run(&mut machine, &instruction(&[REPNE], SCAS, 1));
    assert_eq!(registers(&machine), (0, 0, DATA + 0x1800));
    // 0fh - 10h = ffh.
    assert_eq!(status(&machine), CF | SF | PF);
}

#[test]
fn repe_cmps_finds_the_first_difference() {
    let mut machine = Machine::long();
    let (left, right) = (DATA + 0x10, DATA + 0x4003);
    for size in [1, 2, 4, 8] {
        for at in [0, 1, 0x1fd, 0x1ff, 0x3ff] {
            let mut memory = pattern(0x2000);
            machine.write(left, &memory);
            memory[(at * size) as usize] = memory[(at * size) as usize].wrapping_add(1);
            machine.write(right, &memory);
            machine.state(|state| state.rflags = 2);
            set_registers(&mut machine, 0x400, left, right);
            run(&mut machine, &instruction(&[REP], CMPS, size));
            let end = (at + 1) * size;
            let expected = (0x400 - at - 1, left + end, right + end);
            assert_eq!(registers(&machine), expected, "{size} {at}");
            assert_eq!(status(&machine) & ZF, 0);
        }
    }
}

#[test]
fn cmps_subtracts_the_destination_from_the_source() {
    let mut machine = Machine::long();
    machine.write(DATA, &[0x10, 0x0f]);
    set_registers(&mut machine, 5, DATA, DATA + 1);
    run(&mut machine, &instruction(&[], CMPS, 1));
    assert_eq!(status(&machine), AF);
    assert_eq!(registers(&machine), (5, DATA + 1, DATA + 2));
    set_registers(&mut machine, 5, DATA + 1, DATA);
    run(&mut machine, &instruction(&[], CMPS, 1));
    assert_eq!(status(&machine), CF | SF | PF);
}

#[test]
fn a_count_of_zero_changes_no_flag() {
    let mut machine = Machine::long();
    for (prefix, opcode) in [(REP, CMPS), (REPNE, CMPS), (REP, SCAS), (REPNE, SCAS)] {
        for flags in [0, STATUS] {
            machine.state(|state| state.rflags = 2 | flags);
            set_registers(&mut machine, 0, DATA, 0xffff_ffff_ffff_0000);
            run(&mut machine, &instruction(&[prefix], opcode, 1));
            assert_eq!(status(&machine), flags);
            assert_eq!(registers(&machine), (0, DATA, 0xffff_ffff_ffff_0000));
        }
    }
}

#[test]
fn repe_scas_passes_what_is_equal() {
    let mut machine = Machine::long();
    let mut memory = vec![0u8; 0x3000];
    memory[0x2100] = 1;
    machine.write(DATA, &memory);
    machine.state(|state| state.gpr[0] = 0);
    set_registers(&mut machine, 0x3000 / 8, 0, DATA);
    run(&mut machine, &instruction(&[REP], SCAS, 8));
    assert_eq!(registers(&machine), (0x3000 / 8 - 0x421, 0, DATA + 0x2108));
    assert_eq!(status(&machine) & (ZF | CF), CF);
}
