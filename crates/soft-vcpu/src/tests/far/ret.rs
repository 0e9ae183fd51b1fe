// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RETF (SDM vol. 2, "RET-Return from Procedure").

use vcpu_events::Exception;

use super::super::machine::{
    segment, Machine, CODE, CODE32, CODE64, DATA0, STACK, USER_CODE32, USER_CODE64, USER_DATA,
};
use super::{outcome, push, OWN};
use crate::segment::{CS, DS, ES, FS, GS, SS};
use crate::{Exit, Segment};

const TARGET: u64 = 0x12_0000;
const USER_STACK: u64 = 0x9000;
/// RETF 8.
const RETF8: &[u8] = &[0xca, 8, 0];

fn machine() -> Machine {
    let mut machine = Machine::protected();
    machine.write(TARGET, &[0xf4]);
    machine
}

#[test]
fn to_the_same_level() {
    let mut machine = machine();
    push(&mut machine, 4, &[TARGET, CODE32.into()]);
    assert_eq!(outcome(&mut machine, RETF8), Exit::Halt);
    let state = machine.vcpu.state();
    assert_eq!((state.rip, state.gpr[4]), (TARGET + 1, STACK + 16));
}

#[test]
fn in_real_mode() {
    let mut machine = Machine::real();
    machine.write(0x9005, &[0xf4]);
    push(&mut machine, 2, &[5, 0x900]);
    assert_eq!(outcome(&mut machine, &[0xcb]), Exit::Halt);
    let state = machine.vcpu.state();
    assert_eq!((state.rip, state.gpr[4], machine.selector(CS)), (6, STACK + 4, 0x900));
}

#[test]
fn to_an_outer_level_pops_its_stack_and_hides_inner_segments() {
    let mut machine = machine();
    machine.descriptor(OWN, 0x00cf_9f00_0000_ffff);
    machine.state(|state| {
        state.segments[usize::from(DS)] = segment(USER_DATA);
        let conforming = segment(CODE32);
        let rights = conforming.rights.with_kind(0xf);
        state.segments[usize::from(FS)] = Segment { selector: OWN, rights, ..conforming };
        // Its base was written without a selector.
        state.segments[usize::from(GS)] = Segment { selector: 0, base: 0x1234, ..segment(DATA0) };
    });
    // The immediate operand releases parameters on both stacks.
    push(&mut machine, 4, &[TARGET, USER_CODE32.into(), 1, 2, USER_STACK, USER_DATA.into()]);
    // HLT at level 3.
    assert_eq!(outcome(&mut machine, RETF8), Exit::Exception(Exception::gp(0)));
    let state = machine.vcpu.state();
    assert_eq!((state.rip, state.gpr[4]), (TARGET, USER_STACK + 8));
    assert_eq!((machine.selector(CS), machine.selector(SS)), (USER_CODE32, USER_DATA));
    // ES was level 0; the others may be seen.
    assert_eq!(state.segments[usize::from(ES)], Segment::null(0));
    assert_eq!((machine.selector(DS), machine.selector(FS)), (USER_DATA, OWN));
    let gs = Segment { base: 0x1234, ..Segment::null(0) };
    assert_eq!(state.segments[usize::from(GS)], gs);
}

/// SDM vol. 2, RET: the checks of CS and SS.
#[test]
fn bad_frames() {
    let fault =
        |fault: fn(u32) -> Exception, selector: u16| Exit::Exception(fault(selector.into()));
    let (user, data) = (u64::from(USER_CODE32), u64::from(USER_DATA));
    let own = u64::from(OWN);
    let cases: [([u64; 4], u64, Exit); 12] = [
        // CS: null, outside of the GDT, data, RPL that is not its DPL, not present.
        ([TARGET, 0, 0, 0], 0, fault(Exception::gp, 0)),
        ([TARGET, 0x1238, 0, 0], 0, fault(Exception::gp, 0x1238)),
        ([TARGET, DATA0.into(), 0, 0], 0, fault(Exception::gp, DATA0)),
        ([TARGET, u64::from(CODE32) | 3, 0, 0], 0, fault(Exception::gp, CODE32)),
        ([TARGET, own, 0, 0], 0x00cf_1b00_0000_ffff, fault(Exception::np, OWN)),
        // Conforming code of level 3 called level 0.
        ([TARGET, own, 0, 0], 0x00cf_ff00_0000_ffff, fault(Exception::gp, OWN)),
        // Beyond the limit.
        ([0x1000, own, 0, 0], 0x0040_9b00_0000_0fff, fault(Exception::gp, 0)),
        // SS: null, of another level, RPL that is not CS's, not present, read-only.
        ([TARGET, user, USER_STACK, 3], 0, fault(Exception::gp, 0)),
        ([TARGET, user, USER_STACK, u64::from(DATA0) | 3], 0, fault(Exception::gp, DATA0)),
        ([TARGET, user, USER_STACK, data & !3], 0, fault(Exception::gp, USER_DATA & !3)),
        ([TARGET, user, USER_STACK, own | 3], 0x00cf_7300_0000_ffff, fault(Exception::ss, OWN)),
        ([TARGET, user, USER_STACK, own | 3], 0x00cf_f100_0000_ffff, fault(Exception::gp, OWN)),
    ];
    for (frame, descriptor, expected) in cases {
        let mut machine = machine();
        machine.descriptor(OWN, descriptor);
        push(&mut machine, 4, &frame);
        assert_eq!(outcome(&mut machine, &[0xcb]), expected, "{frame:x?}");
        assert_eq!((machine.vcpu.state().rip, machine.vcpu.state().gpr[4]), (CODE, STACK));
    }
}

#[test]
fn never_inward() {
    let mut machine = machine();
    machine.at(USER_CODE32, USER_DATA);
    push(&mut machine, 4, &[TARGET, CODE32.into()]);
    let exit = outcome(&mut machine, &[0xcb]);
    assert_eq!(exit, Exit::Exception(Exception::gp(CODE32.into())));
}

#[test]
fn in_64_bit_mode() {
    for (rex, size) in [(&[0xcb][..], 4), (&[0x48, 0xcb], 8)] {
        let mut machine = Machine::long();
        machine.write(TARGET, &[0xf4]);
        push(&mut machine, size, &[TARGET, CODE64.into()]);
        assert_eq!(outcome(&mut machine, rex), Exit::Halt);
        assert_eq!(machine.vcpu.state().gpr[4], STACK + 2 * size as u64);
        // To level 3, 64-bit and compatibility mode.
        for code in [USER_CODE64, USER_CODE32] {
            machine.at(CODE64, DATA0);
            push(&mut machine, size, &[TARGET, code.into(), USER_STACK, USER_DATA.into()]);
            assert_eq!(outcome(&mut machine, rex), Exit::Exception(Exception::gp(0)));
            assert_eq!((machine.vcpu.state().rip, machine.selector(CS)), (TARGET, code));
            assert_eq!(machine.vcpu.state().gpr[4], USER_STACK);
        }
    }
    let mut machine = Machine::long();
    push(&mut machine, 8, &[1 << 47, CODE64.into()]);
    assert_eq!(outcome(&mut machine, &[0x48, 0xcb]), Exit::Exception(Exception::gp(0)));
    assert_eq!(machine.vcpu.state().rip, CODE);
}
