// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Comparisons and the conditional branches behind them, which are carried out together.

use vcpu_events::Exception;

use super::machine::{Machine, CODE, DATA};
use crate::{Exit, State};

const TF: u64 = 1 << 8;
const VALUES: [u64; 11] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    i64::MAX as u64,
    i64::MIN as u64,
    u64::MAX,
];

/// On RCX, RDX and memory at RBX.
const INSTRUCTIONS: [&[u8]; 20] = [
    &[0x48, 0x39, 0xd1],                         // cmp rcx, rdx
    &[0x39, 0xd1],                               // cmp ecx, edx
    &[0x38, 0xd5],                               // cmp ch, dl
    &[0x83, 0xf9, 0x7f],                         // cmp ecx, 0x7f
    &[0x48, 0x83, 0xf9, 0x80],                   // cmp rcx, -0x80
    &[0x80, 0xf9, 0x80],                         // cmp cl, 0x80
    &[0x48, 0x3b, 0x0b],                         // cmp rcx, [rbx]
    &[0x39, 0x0b],                               // cmp [rbx], ecx
    &[0x80, 0x3b, 0x80],                         // cmp byte [rbx], 0x80
    &[0x48, 0x81, 0x3b, 0x00, 0x00, 0x00, 0x80], // cmp qword [rbx], -0x80000000
    &[0x48, 0x85, 0xc9],                         // test rcx, rcx
    &[0x84, 0xc9],                               // test cl, cl
    &[0xf7, 0xc1, 0x00, 0x00, 0x00, 0x80],       // test ecx, 0x80000000
    &[0xf6, 0x03, 0x01],                         // test byte [rbx], 1
    &[0x83, 0xe1, 0x7f],                         // and ecx, 0x7f
    &[0x48, 0x83, 0xc1, 0x01],                   // add rcx, 1
    &[0x80, 0xe9, 0x7f],                         // sub cl, 0x7f
    &[0xff, 0xc1],                               // inc ecx
    &[0x48, 0xff, 0xc9],                         // dec rcx
    &[0xfe, 0xc9],                               // dec cl
];

/// `first`, `between`, then a branch if `cc`: AL is 1 where it falls through, 2 at its target.
fn program(first: &[u8], between: &[u8], cc: u8) -> Vec<u8> {
    [first, between, &[0x70 | cc, 3], &[0xb0, 1, 0xf4, 0xb0, 2, 0xf4]].concat()
}

/// Whether the first block at the code address has an instruction that is carried out with a
/// branch.
fn has_joined(machine: &Machine) -> bool {
    machine.vcpu.cache.block(0).ops.iter().any(|op| op.ahead != 0)
}

/// A machine that has run it.
fn after(bytes: &[u8], a: u64, b: u64) -> Machine {
    let mut machine = Machine::long();
    machine.write(CODE, bytes);
    run(&mut machine, a, b);
    machine
}

/// Runs what is there, with CF set before.
fn run(machine: &mut Machine, a: u64, b: u64) {
    machine.write(DATA, &b.to_le_bytes());
    machine.state(|state| {
        (state.gpr[0], state.gpr[1], state.gpr[2], state.gpr[3]) = (0, a, b, DATA);
        (state.rip, state.rflags) = (CODE, 3);
    });
    assert_eq!(machine.vcpu.run(100), Exit::Halt);
}

#[test]
fn both_do_what_each_does() {
    for first in INSTRUCTIONS {
        for cc in (2..=9).chain(12..=15) {
            let mut joined = after(&program(first, &[], cc), 0, 0);
            let mut apart = after(&program(first, &[0x90], cc), 0, 0);
            assert!(has_joined(&joined) && !has_joined(&apart));
            for (a, b) in VALUES.iter().flat_map(|a| [(*a, 0x80), (0x80, *a), (*a, *a)]) {
                let before = joined.vcpu.executed();
                run(&mut joined, a, b);
                run(&mut apart, a, b);
                let what = |state: State| (state.gpr, state.rflags);
                let states = (what(joined.vcpu.state()), what(apart.vcpu.state()));
                assert_eq!(states.0, states.1, "{first:x?} cc {cc} of {a:#x}, {b:#x}");
                assert_eq!(joined.vcpu.executed() - before, 4);
            }
        }
    }
}

#[test]
fn a_budget_ends_between_them() {
    for first in INSTRUCTIONS {
        let bytes = program(first, &[], 5);
        let branch = CODE + first.len() as u64;
        // The block is there already.
        let mut machine = after(&bytes, 0x40, 0x123);
        let taken = machine.vcpu.state().gpr[0] as u8 == 2;
        machine.state(|state| (state.rip, state.gpr[1]) = (CODE, 0x40));
        let before = machine.vcpu.executed();
        assert_eq!(machine.vcpu.run(1), Exit::Budget);
        assert_eq!((machine.vcpu.executed() - before, machine.vcpu.state().rip), (1, branch));
        assert_eq!(machine.vcpu.run(1), Exit::Budget);
        let target = branch + if taken { 5 } else { 2 };
        assert_eq!((machine.vcpu.executed() - before, machine.vcpu.state().rip), (2, target));
        // Together, too.
        machine.state(|state| (state.rip, state.gpr[1]) = (CODE, 0x40));
        assert_eq!(machine.vcpu.run(2), Exit::Budget);
        assert_eq!((machine.vcpu.executed() - before, machine.vcpu.state().rip), (4, target));
    }
}

#[test]
fn a_single_step_trap_comes_between_them() {
    let mut machine = after(&program(INSTRUCTIONS[0], &[], 4), 1, 1);
    machine.vcpu.set_exception_exits(u32::MAX);
    machine.state(|state| (state.rip, state.rflags) = (CODE, state.rflags | TF));
    let before = machine.vcpu.executed();
    let trap = Exit::Exception(Exception::db(1 << 14));
    assert_eq!(machine.vcpu.run(100), trap);
    assert_eq!((machine.vcpu.executed() - before, machine.vcpu.state().rip), (1, CODE + 3));
    assert_eq!(machine.vcpu.run(100), trap);
    assert_eq!((machine.vcpu.executed() - before, machine.vcpu.state().rip), (2, CODE + 8));
}

#[test]
fn a_breakpoint_at_the_branch_is_met() {
    let mut machine = after(&program(INSTRUCTIONS[0], &[], 4), 1, 1);
    machine.vcpu.set_exception_exits(u32::MAX);
    machine.state(|state| {
        (state.rip, state.dr[0], state.dr7) = (CODE, CODE + 3, 0x401);
    });
    assert_eq!(machine.vcpu.run(100), Exit::Exception(Exception::db(1)));
    assert_eq!(machine.vcpu.state().rip, CODE + 3);
}

#[test]
fn a_fault_is_at_the_comparison() {
    // cmp [rbx], ecx
    let mut machine = after(&program(INSTRUCTIONS[7], &[], 4), 1, 1);
    machine.vcpu.set_exception_exits(u32::MAX);
    machine.state(|state| (state.rip, state.gpr[3]) = (CODE, 1 << 63));
    let before = machine.vcpu.executed();
    assert_eq!(machine.vcpu.run(100), Exit::Exception(Exception::gp(0)));
    assert_eq!((machine.vcpu.executed(), machine.vcpu.state().rip), (before, CODE));
}

/// Elsewhere a branch checks its target, and so is not joined.
#[test]
fn only_64_bit_code_has_them() {
    let mut machine = Machine::protected();
    assert_eq!(machine.run_bytes(&program(&[0x39, 0xd1], &[], 4)), Exit::Halt);
    assert!(!has_joined(&machine));
    assert_eq!(machine.vcpu.state().gpr[0] as u8, 2);
}
