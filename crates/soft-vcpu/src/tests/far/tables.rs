// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LLDT, LTR, SLDT, STR.

use vcpu_events::Exception;

use super::super::machine::{
    Machine, CODE32, DATA, DATA0, GDT, TSS_SELECTOR, USER_CODE32, USER_DATA,
};
use super::{outcome, OWN};
use crate::segment::{LDTR, TR};
use crate::spec::cr4;
use crate::{Exit, Segment};

/// With EAX: LLDT, LTR, SLDT, STR; HLT.
const LLDT: &[u8] = &[0x0f, 0x00, 0xd0, 0xf4];
const LTR: &[u8] = &[0x0f, 0x00, 0xd8, 0xf4];
const SLDT: &[u8] = &[0x0f, 0x00, 0xc0, 0xf4];
const STR: &[u8] = &[0x0f, 0x00, 0xc8, 0xf4];

const TABLE: u64 = 0x1200_8234_5678_0fff;
const TASK: u64 = 0x1200_8934_5678_0067;

fn load(machine: &mut Machine, code: &[u8], selector: u16) -> Exit {
    machine.state(|state| state.gpr[0] = selector.into());
    outcome(machine, code)
}

fn gp(selector: u16) -> Exit {
    Exit::Exception(Exception::gp(selector.into()))
}

#[test]
fn a_table_is_loaded_with_its_base_and_limit() {
    let mut machine = Machine::protected();
    machine.descriptor(OWN, TABLE);
    assert_eq!(load(&mut machine, LLDT, OWN), Exit::Halt);
    let table = machine.vcpu.state().segments[usize::from(LDTR)];
    assert_eq!((table.selector, table.base, table.limit), (OWN, 0x1234_5678, 0xfff));
    assert_eq!(load(&mut machine, SLDT, 0xffff), Exit::Halt);
    assert_eq!(machine.vcpu.state().gpr[0], u64::from(OWN));
    assert_eq!(load(&mut machine, LLDT, 3), Exit::Halt);
    assert_eq!(machine.vcpu.state().segments[usize::from(LDTR)], Segment::null(3));
    // No descriptor is in a table that is not there.
    assert_eq!(load(&mut machine, &[0x8e, 0xd8], 0x0c), gp(0x0c));
}

#[test]
fn a_task_becomes_busy() {
    let mut machine = Machine::protected();
    machine.descriptor(OWN, TASK);
    assert_eq!(load(&mut machine, LTR, OWN), Exit::Halt);
    let task = machine.vcpu.state().segments[usize::from(TR)];
    assert_eq!((task.base, task.limit, task.rights.kind()), (0x1234_5678, 0x67, 11));
    assert_eq!(machine.read_u64(GDT + u64::from(OWN)), TASK | 2 << 40);
    // It cannot be loaded again.
    assert_eq!(load(&mut machine, LTR, OWN), gp(OWN));
    assert_eq!(load(&mut machine, STR, 0), Exit::Halt);
    assert_eq!(machine.vcpu.state().gpr[0], u64::from(OWN));
}

#[test]
fn in_ia32e_mode_both_have_sixteen_bytes() {
    for (code, low, index) in [(LLDT, TABLE, LDTR), (LTR, TASK, TR)] {
        let mut machine = Machine::long();
        machine.descriptor(OWN, low);
        machine.descriptor(OWN + 8, 0xffff_8765);
        machine.state(|state| state.segments[usize::from(TR)].selector = 0);
        assert_eq!(load(&mut machine, code, OWN), Exit::Halt);
        let segment = machine.vcpu.state().segments[usize::from(index)];
        assert_eq!(segment.base, 0xffff_8765_1234_5678);
        // A base that is not canonical, a type in the upper half, the end of the GDT.
        machine.descriptor(OWN, low);
        machine.descriptor(OWN + 8, 0x8765);
        assert_eq!(load(&mut machine, code, OWN), gp(OWN));
        machine.descriptor(OWN + 8, 0x0200_0000_0000);
        assert_eq!(load(&mut machine, code, OWN), gp(OWN));
        machine.descriptor(OWN + 8, 0);
        machine.state(|state| state.gdtr.limit = OWN + 14);
        assert_eq!(load(&mut machine, code, OWN), gp(OWN));
    }
}

#[test]
fn bad_operands() {
    let np = Exit::Exception(Exception::np(OWN.into()));
    for (code, good) in [(LLDT, TABLE), (LTR, TASK)] {
        let mut machine = Machine::protected();
        assert_eq!(load(&mut machine, code, 0x1238), gp(0x1238));
        assert_eq!(load(&mut machine, code, DATA0), gp(DATA0));
        machine.descriptor(OWN, good);
        // In the LDT, even if that is the GDT.
        machine.state(|state| {
            let table = &mut state.segments[usize::from(LDTR)];
            (table.base, table.limit) = (GDT, 0xff);
        });
        assert_eq!(load(&mut machine, code, OWN | 4), gp(OWN | 4));
        machine.descriptor(OWN, good & !(1 << 47));
        assert_eq!(load(&mut machine, code, OWN), np);
        machine.at(USER_CODE32, USER_DATA);
        assert_eq!(load(&mut machine, code, OWN), gp(0));
        assert_eq!(load(&mut Machine::real(), code, 0), Exit::Exception(Exception::ud()));
    }
    let mut machine = Machine::protected();
    assert_eq!(load(&mut machine, LTR, 0), gp(0));
    // A 16-bit TSS, in protected mode alone.
    machine.descriptor(OWN, 0x0000_8100_4000_002b);
    assert_eq!(load(&mut machine, LTR, OWN), Exit::Halt);
    let mut machine = Machine::long();
    machine.descriptor(OWN, 0x0000_8100_4000_002b);
    machine.descriptor(OWN + 8, 0);
    assert_eq!(load(&mut machine, LTR, OWN), gp(OWN));
}

#[test]
fn umip_hides_selectors_from_programs() {
    for code in [SLDT, STR] {
        let mut machine = Machine::protected();
        machine.state(|state| state.cr4 |= cr4::UMIP);
        assert_eq!(load(&mut machine, code, 0), Exit::Halt);
        machine.at(USER_CODE32, USER_DATA);
        assert_eq!(load(&mut machine, code, 0), gp(0));
        assert_eq!(machine.vcpu.state().rip, super::super::machine::CODE);
        machine.state(|state| state.cr4 &= !cr4::UMIP);
        // HLT.
        assert_eq!(load(&mut machine, code, 0xffff), gp(0));
        assert_ne!(machine.vcpu.state().gpr[0], 0xffff);
        assert_eq!(load(&mut Machine::real(), code, 0), Exit::Exception(Exception::ud()));
    }
}

#[test]
fn memory_operands_have_16_bits() {
    let mut machine = Machine::protected();
    machine.write(DATA, &[0xee; 8]);
    machine.state(|state| state.gpr[3] = DATA);
    // STR [EBX]; MOV [EBX], a new TSS; LTR [EBX].
    assert_eq!(outcome(&mut machine, &[0x0f, 0x00, 0x0b, 0xf4]), Exit::Halt);
    assert_eq!(machine.read_u64(DATA), 0xeeee_eeee_eeee_0000 | u64::from(TSS_SELECTOR));
    machine.write(DATA, &OWN.to_le_bytes());
    machine.descriptor(OWN, TASK);
    assert_eq!(outcome(&mut machine, &[0x0f, 0x00, 0x1b, 0xf4]), Exit::Halt);
    assert_eq!(machine.selector(TR), OWN);
    assert_eq!(machine.selector(1), CODE32);
}
