// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What may come between two iterations, and address sizes in 64-bit mode.

use vcpu_events::Exception;

use super::*;
use crate::tests::machine::{Machine, CODE, DATA, PAGE_TABLES};

/// Unmaps the 2 MiB at 400000h.
fn unmap(machine: &mut Machine) -> u64 {
    machine.write(PAGE_TABLES + 0x2000 + 2 * 8, &0u64.to_le_bytes());
    machine.vcpu.set_exception_exits(1 << 14);
    0x40_0000
}

#[test]
fn a_fault_leaves_what_was_done_and_the_rest_is_done_after_it() {
    for (size, down) in [(1, false), (2, false), (4, false), (8, false), (8, true)] {
        let mut machine = Machine::long();
        let hole = unmap(&mut machine);
        machine.write(DATA, &pattern(0x3000));
        // 1100h bytes fit before the hole (or, downwards, nothing does).
        let (first, done) = if down { (hole, 0) } else { (hole - 0x1100, 0x1100) };
        machine.state(|state| state.rflags = if down { 2 | DF } else { 2 });
        set_registers(&mut machine, 0x2000 / size, DATA, first);
        let code = [&instruction(&[REP], MOVS, size)[..], &[HLT]].concat();
        let exit = machine.run_bytes(&code);
        assert_eq!(exit, Exit::Exception(Exception::pf(2, hole)), "{size} {down}");
        assert_eq!(machine.vcpu.state().rip, CODE);
        let expected = ((0x2000 - done) / size, DATA + done, hole);
        assert_eq!(registers(&machine), expected, "{size} {down}");
        assert_eq!(read(&machine, first, done as usize), pattern(done as usize));
    }
}

#[test]
fn an_element_that_reaches_into_a_hole_is_not_written() {
    let mut machine = Machine::long();
    let hole = unmap(&mut machine);
    set_registers(&mut machine, 3, 0, hole - 10);
    machine.state(|state| state.gpr[0] = u64::MAX);
    let exit = machine.run_bytes(&instruction(&[REP], STOS, 8));
    assert_eq!(exit, Exit::Exception(Exception::pf(2, hole)));
    assert_eq!(registers(&machine), (2, 0, hole - 2));
    assert_eq!(read(&machine, hole - 11, 11), [&[0][..], &[0xff; 8], &[0, 0]].concat());
}

#[test]
fn the_source_faults_first() {
    let mut machine = Machine::long();
    let hole = unmap(&mut machine);
    set_registers(&mut machine, 3, hole + 0x10, hole + 0x20);
    let exit = machine.run_bytes(&instruction(&[REP], MOVS, 4));
    assert_eq!(exit, Exit::Exception(Exception::pf(0, hole + 0x10)));
    assert_eq!(registers(&machine), (3, hole + 0x10, hole + 0x20));
}

#[test]
fn a_long_repetition_ends_with_the_budget_and_goes_on() {
    let mut machine = Machine::long();
    let len = 0x10_0000;
    set_registers(&mut machine, len, 0, DATA);
    machine.state(|state| state.gpr[0] = 0x77);
    machine.write(CODE, &[REP, STOS, HLT]);
    machine.state(|state| state.rip = CODE);
    let mut runs = 0;
    while machine.vcpu.run(1) == Exit::Budget {
        let (rcx, _, rdi) = registers(&machine);
        assert_eq!(rdi, DATA + len - rcx);
        assert_eq!(machine.vcpu.state().rip, if rcx == 0 { CODE + 2 } else { CODE });
        runs += 1;
    }
    assert_eq!(registers(&machine), (0, 0, DATA + len));
    assert!((8..1000).contains(&runs), "{runs}");
    assert!(read(&machine, DATA, len as usize).iter().all(|byte| *byte == 0x77));
}

#[test]
fn a_single_step_trap_comes_after_each_iteration() {
    let mut machine = Machine::long();
    machine.vcpu.set_exception_exits(1 << 1);
    machine.write(CODE, &[REP, STOS, 0x90, HLT]);
    set_registers(&mut machine, 3, 0, DATA);
    machine.state(|state| (state.rip, state.rflags) = (CODE, 0x102));
    // RF is set as long as the instruction has not come to its end.
    let expected = [(2, CODE, 0x1_0000), (1, CODE, 0x1_0000), (0, CODE + 2, 0), (0, CODE + 3, 0)];
    for (rcx, rip, rf) in expected {
        assert_eq!(machine.vcpu.run(100), Exit::Exception(Exception::db(1 << 14)));
        let state = machine.vcpu.state();
        assert_eq!((state.gpr[1], state.rip, state.rflags & 0x1_0000), (rcx, rip, rf));
    }
}

#[test]
fn an_instruction_breakpoint_is_met_once() {
    let mut machine = Machine::long();
    machine.vcpu.set_exception_exits(1 << 1);
    machine.write(CODE, &[REP, STOS, HLT]);
    set_registers(&mut machine, 5, 0, DATA);
    machine.state(|state| {
        (state.rip, state.dr[0], state.dr7) = (CODE, CODE, 0x402);
    });
    assert_eq!(machine.vcpu.run(100), Exit::Exception(Exception::db(1)));
    // As a handler's IRET resumes.
    machine.state(|state| state.rflags |= 0x1_0000);
    assert_eq!(machine.vcpu.run(100), Exit::Halt);
    assert_eq!(registers(&machine).0, 0);
    assert_eq!(machine.vcpu.state().rflags & 0x1_0000, 0);
}

#[test]
fn addresses_of_32_bits_wrap_and_clear_the_upper_halves() {
    let mut machine = Machine::long();
    machine.write(0, &[0x55; 16]);
    let high = 0xabcd_0000_0000_0000;
    machine.write(DATA, &pattern(0x40));
    set_registers(&mut machine, high | 0x20, high | DATA, high | (DATA + 0x100));
    run(&mut machine, &instruction(&[0x67, REP], MOVS, 1));
    assert_eq!(registers(&machine), (0, DATA + 0x20, DATA + 0x120));
    assert_eq!(read(&machine, DATA + 0x100, 0x21), [&pattern(0x20)[..], &[0]].concat());
    // Downwards past 0; the part above 4 MiB is a device's.
    set_registers(&mut machine, high | 1, high | DATA, high);
    machine.state(|state| state.rflags = 2 | DF);
    run(&mut machine, &instruction(&[0x67, REP], MOVS, 1));
    assert_eq!(registers(&machine), (0, DATA - 1, 0xffff_ffff));
    assert_eq!(read(&machine, 0, 2), [pattern(1)[0], 0x55]);
}

#[test]
fn a_row_of_elements_ends_where_32_bits_do() {
    let mut machine = Machine::long();
    machine.vcpu.set_exception_exits(1 << 14);
    // FFFFFFF0h is in the middle of a page, and FS:0 is not behind FS:FFFFFFFFh.
    let base = (DATA + 0x100).wrapping_sub(0xffff_fff0);
    machine.state(|state| state.segments[4].base = base);
    machine.write(DATA + 0x100, &pattern(0x40));
    set_registers(&mut machine, 0x40, 0xffff_fff0, DATA + 0x1000);
    let exit = machine.run_bytes(&instruction(&[0x64, 0x67, REP], MOVS, 4));
    assert_eq!(exit, Exit::Exception(Exception::pf(0, base)));
    assert_eq!(registers(&machine), (0x3c, 0, DATA + 0x1010));
    assert_eq!(read(&machine, DATA + 0x1000, 0x11), [&pattern(0x10)[..], &[0]].concat());
}

#[test]
fn a_32_bit_count_of_zero_leaves_the_registers() {
    let mut machine = Machine::long();
    let high = 0xabcd_0000_0000_0000;
    set_registers(&mut machine, high, high | DATA, high | DATA);
    run(&mut machine, &instruction(&[0x67, REP], MOVS, 1));
    assert_eq!(registers(&machine), (high, high | DATA, high | DATA));
}
