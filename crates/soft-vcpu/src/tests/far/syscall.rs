// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS.

use vcpu_events::Exception;

use super::super::machine::{
    segment, Machine, CODE, CODE32, CODE64, DATA0, STACK, USER_CODE32, USER_CODE64, USER_DATA,
};
use super::outcome;
use crate::segment::{CS, GS, SS};
use crate::spec::efer;
use crate::{Exit, Segment};

const ENTRY: u64 = 0x12_0000;
const COMPATIBLE: u64 = 0x13_0000;
/// CS of SYSRET to 32-bit code, SS, CS of SYSRET to 64-bit code: 0x23, 0x2b, 0x33.
const STAR: u64 = 0x23 << 48 | 0x08 << 32;
const SYSCALL: &[u8] = &[0x0f, 0x05];
const SYSRET: &[u8] = &[0x0f, 0x07];
const SYSRETQ: &[u8] = &[0x48, 0x0f, 0x07];
const SYSENTER: &[u8] = &[0x0f, 0x34];
const SYSEXIT: &[u8] = &[0x0f, 0x35];
const SYSEXITQ: &[u8] = &[0x48, 0x0f, 0x35];

fn machine() -> Machine {
    let mut machine = Machine::long();
    machine.write(ENTRY, &[0xf4]);
    machine.write(COMPATIBLE, &[0xf4]);
    machine.state(|state| {
        (state.star, state.lstar, state.cstar) = (STAR, ENTRY, COMPATIBLE);
        state.sfmask = 0x4_7700;
    });
    machine
}

fn ud() -> Exit {
    Exit::Exception(Exception::ud())
}

fn gp() -> Exit {
    Exit::Exception(Exception::gp(0))
}

#[test]
fn syscall_goes_to_lstar_and_from_compatibility_mode_to_cstar() {
    for (code, target) in [(USER_CODE64, ENTRY), (USER_CODE32, COMPATIBLE)] {
        let mut machine = machine();
        machine.at(code, USER_DATA);
        machine.state(|state| state.rflags = 0x5_0ad7);
        assert_eq!(outcome(&mut machine, SYSCALL), Exit::Halt);
        let state = machine.vcpu.state();
        assert_eq!((state.rip, state.gpr[1], state.gpr[11]), (target + 1, CODE + 2, 0x5_0ad7));
        assert_eq!((state.rflags, state.gpr[4]), (0x8d7, STACK));
        assert_eq!(state.segments[usize::from(CS)], segment(CODE64));
        assert_eq!(state.segments[usize::from(SS)], segment(DATA0));
    }
}

#[test]
fn sysret_goes_back() {
    for (code, selector) in [(SYSRETQ, USER_CODE64), (SYSRET, USER_CODE32)] {
        let mut machine = machine();
        machine.state(|state| {
            (state.gpr[1], state.gpr[11]) = (ENTRY, 0x3_0ad7);
        });
        assert_eq!(outcome(&mut machine, code), gp());
        let state = machine.vcpu.state();
        // RF and VM stay clear.
        assert_eq!((state.rip, state.rflags), (ENTRY, 0xad7));
        assert_eq!(state.segments[usize::from(CS)], segment(selector));
        assert_eq!(state.segments[usize::from(SS)], segment(USER_DATA));
    }
}

#[test]
fn who_may_not() {
    let mut machine = machine();
    machine.state(|state| state.efer &= !efer::SCE);
    assert_eq!(outcome(&mut machine, SYSCALL), ud());
    assert_eq!(outcome(&mut machine, SYSRETQ), ud());
    machine.state(|state| state.efer |= efer::SCE);
    machine.state(|state| state.gpr[1] = 1 << 47);
    assert_eq!(outcome(&mut machine, SYSRETQ), gp());
    machine.at(USER_CODE64, USER_DATA);
    assert_eq!(outcome(&mut machine, SYSRETQ), gp());
    machine.at(CODE32, DATA0);
    assert_eq!(outcome(&mut machine, SYSRET), ud());
    let mut machine = Machine::protected();
    machine.state(|state| state.efer = efer::SCE);
    assert_eq!(outcome(&mut machine, SYSCALL), ud());
}

#[test]
fn a_single_step_over_syscall_traps_behind_it() {
    let mut machine = machine();
    machine.write(ENTRY, SYSRETQ);
    machine.at(USER_CODE64, USER_DATA);
    machine.state(|state| state.rflags = 0x102);
    assert_eq!(outcome(&mut machine, SYSCALL), Exit::Exception(Exception::db(1 << 14)));
    // Not at the kernel's entry, and not after one more instruction of the program.
    assert_eq!((machine.vcpu.state().rip, machine.selector(CS)), (CODE + 2, USER_CODE64));
}

#[test]
fn sysenter_and_sysexit() {
    let mut machine = Machine::long();
    machine.write(ENTRY, &[0xf4]);
    machine.state(|state| {
        (state.sysenter_cs, state.sysenter_esp, state.sysenter_eip) = (8, STACK, ENTRY);
    });
    for code in [USER_CODE64, USER_CODE32] {
        machine.at(code, USER_DATA);
        machine.state(|state| (state.gpr[4], state.rflags) = (0x9000, 0x1_0202));
        assert_eq!(outcome(&mut machine, SYSENTER), Exit::Halt);
        let state = machine.vcpu.state();
        assert_eq!((state.rip, state.gpr[4], state.rflags), (ENTRY + 1, STACK, 2));
        assert_eq!(state.segments[usize::from(CS)], segment(CODE64));
        assert_eq!(state.segments[usize::from(SS)], segment(DATA0));
    }
    // SYSEXIT adds 16 and 24, with REX.W 32 and 40.
    for (code, selector) in [(SYSEXIT, 0x1b), (SYSEXITQ, 0x2b)] {
        machine.at(CODE64, DATA0);
        machine.state(|state| (state.gpr[2], state.gpr[1]) = (ENTRY, 0x9000));
        assert_eq!(outcome(&mut machine, code), gp());
        let state = machine.vcpu.state();
        assert_eq!((state.rip, state.gpr[4]), (ENTRY, 0x9000));
        assert_eq!((machine.selector(CS), machine.selector(SS)), (selector, selector + 8));
        let rights = state.segments[usize::from(CS)].rights;
        assert_eq!((rights.dpl(), rights.long()), (3, code == SYSEXITQ));
    }
    machine.at(CODE64, DATA0);
    machine.state(|state| state.gpr[1] = 1 << 47);
    assert_eq!(outcome(&mut machine, SYSEXITQ), gp());
    machine.at(USER_CODE64, USER_DATA);
    assert_eq!(outcome(&mut machine, SYSEXIT), gp());
    machine.state(|state| state.sysenter_cs = 3);
    assert_eq!(outcome(&mut machine, SYSENTER), gp());
    let mut machine = Machine::protected();
    machine.write(ENTRY, &[0xf4]);
    machine.state(|state| {
        (state.sysenter_cs, state.sysenter_esp, state.sysenter_eip) = (0x18, STACK, ENTRY);
    });
    machine.at(USER_CODE32, USER_DATA);
    assert_eq!(outcome(&mut machine, SYSENTER), Exit::Halt);
    assert_eq!(machine.vcpu.state().segments[usize::from(CS)], segment(CODE32));
    assert_eq!(outcome(&mut Machine::real(), SYSENTER), gp());
}

#[test]
fn swapgs_swaps_the_base_alone() {
    let mut machine = machine();
    let swapgs = &[0x0f, 0x01, 0xf8, 0xf4];
    machine.state(|state| {
        state.kernel_gs_base = 0xffff_8000_0000_0000;
        state.segments[usize::from(GS)] = Segment { base: 0x1234, ..segment(USER_DATA) };
    });
    assert_eq!(outcome(&mut machine, swapgs), Exit::Halt);
    let state = machine.vcpu.state();
    let gs = Segment { base: 0xffff_8000_0000_0000, ..segment(USER_DATA) };
    assert_eq!((state.segments[usize::from(GS)], state.kernel_gs_base), (gs, 0x1234));
    machine.at(USER_CODE64, USER_DATA);
    assert_eq!(outcome(&mut machine, swapgs), gp());
    machine.at(CODE32, DATA0);
    assert_eq!(outcome(&mut machine, swapgs), ud());
}
