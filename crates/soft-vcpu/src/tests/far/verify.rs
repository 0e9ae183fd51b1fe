// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LAR, LSL, VERR, VERW, ARPL.

use vcpu_events::Exception;

use super::super::machine::{Machine, CODE32, DATA, DATA0, USER_CODE32, USER_DATA};
use super::super::tables::gate;
use super::{outcome, OWN};
use crate::Exit;

/// EDX, EAX where there are two; the program ends in a division by zero at every level.
const END: [u8; 2] = [0xcd, 0x80];
const LAR: &[u8] = &[0x0f, 0x02, 0xd0];
const LSL: &[u8] = &[0x0f, 0x03, 0xd0];
const VERR: &[u8] = &[0x0f, 0x00, 0xe0];
const VERW: &[u8] = &[0x0f, 0x00, 0xe8];
/// ARPL AX, DX.
const ARPL: &[u8] = &[0x63, 0xd0];
const ZF: u64 = 0x40;
const UNTOUCHED: u64 = 0x1234_5678;

/// ZF and EDX after `code` with a selector in EAX.
fn ask(machine: &mut Machine, code: &[u8], selector: u16) -> (bool, u64) {
    // What was there before must not be taken for an answer.
    let mut last = Vec::new();
    for flags in [2, ZF | 2 | 0x895] {
        machine.state(|state| {
            (state.gpr[0], state.gpr[2]) = (0xffff_0000 | u64::from(selector), UNTOUCHED);
            state.rflags = flags;
        });
        let bytes = [code, &END].concat();
        assert_eq!(outcome(machine, &bytes), Exit::Exception(Exception::gp(0x80 * 8 + 2)));
        let state = machine.vcpu.state();
        // The other flags stay.
        assert_eq!(state.rflags & !ZF, flags & !ZF);
        last.push((state.rflags & ZF != 0, state.gpr[2]));
    }
    assert_eq!(last[0], last[1]);
    last[0]
}

fn at_level_3(mut machine: Machine) -> Machine {
    machine.at(USER_CODE32, USER_DATA);
    machine
}

fn protected() -> Machine {
    let mut machine = Machine::protected();
    machine.state(|state| state.idtr.limit = 0);
    machine
}

#[test]
fn lar_and_lsl_tell_rights_and_the_limit_in_bytes() {
    let mut machine = protected();
    machine.descriptor(OWN, 0x1249_9234_5678_abcd);
    assert_eq!(ask(&mut machine, LAR, OWN), (true, 0x49_9200));
    assert_eq!(ask(&mut machine, LSL, OWN), (true, 0x9_abcd));
    machine.descriptor(OWN, 0x12c9_9234_5678_abcd);
    assert_eq!(ask(&mut machine, LSL, OWN), (true, 0x9abc_dfff));
    // With 16-bit operands the rest of the register stays.
    let narrow = |code: &[u8]| [&[0x66], code].concat();
    assert_eq!(ask(&mut machine, &narrow(LAR), OWN), (true, 0x1234_9200));
    assert_eq!(ask(&mut machine, &narrow(LSL), OWN), (true, 0x1234_dfff));
}

/// SDM vol. 2, tables "Segment and Gate Types" of LAR and LSL.
#[test]
fn system_types_by_mode() {
    let lar_legacy = [1, 2, 3, 4, 5, 9, 11, 12];
    let lsl_legacy = [1, 2, 3, 9, 11];
    let lar_long = [2, 9, 11, 12];
    let lsl_long = [2, 9, 11];
    for kind in 0..16 {
        let descriptor = gate(0x1234, 0, 0x80 | kind, 0);
        let mut machine = protected();
        machine.descriptor(OWN, descriptor);
        assert_eq!(ask(&mut machine, LAR, OWN).0, lar_legacy.contains(&kind), "{kind}");
        assert_eq!(ask(&mut machine, LSL, OWN).0, lsl_legacy.contains(&kind), "{kind}");
        assert!(!ask(&mut machine, VERR, OWN).0);
        let mut machine = Machine::long();
        machine.state(|state| state.idtr.limit = 0);
        machine.descriptor(OWN, descriptor);
        assert_eq!(ask(&mut machine, LAR, OWN).0, lar_long.contains(&kind), "{kind}");
        assert_eq!(ask(&mut machine, LSL, OWN).0, lsl_long.contains(&kind), "{kind}");
    }
}

#[test]
fn what_cannot_be_seen_clears_zf_alone() {
    let mut machine = at_level_3(protected());
    for selector in [0, 3, 0x1238, DATA0, DATA0 | 3] {
        for code in [LAR, LSL, VERR, VERW] {
            assert_eq!(ask(&mut machine, code, selector), (false, UNTOUCHED));
        }
    }
    // RPL counts as much as CPL; neither for conforming code.
    let mut machine = protected();
    assert!(!ask(&mut machine, LAR, DATA0 | 1).0);
    machine.descriptor(OWN, 0x00cf_9f00_0000_ffff);
    let mut machine = at_level_3(machine);
    for code in [LAR, LSL, VERR] {
        assert!(ask(&mut machine, code, OWN | 3).0);
    }
}

#[test]
fn verr_and_verw_tell_what_may_be_done() {
    let cases = [
        // Read-only and writable data; code to be executed, and to be read too.
        (0x00cf_9100_0000_ffffu64, true, false),
        (0x00cf_9300_0000_ffff, true, true),
        (0x00cf_9900_0000_ffff, false, false),
        (0x00cf_9b00_0000_ffff, true, false),
    ];
    for (descriptor, read, write) in cases {
        let mut machine = protected();
        machine.descriptor(OWN, descriptor);
        assert_eq!(ask(&mut machine, VERR, OWN).0, read);
        assert_eq!(ask(&mut machine, VERW, OWN).0, write);
    }
}

#[test]
fn arpl_raises_the_rpl() {
    for (first, second, result) in [(0x10, 3, Some(0x13)), (0x13, 2, None), (0x12, 0xff2, None)] {
        let mut machine = at_level_3(protected());
        let code = [ARPL, &END].concat();
        machine.state(|state| (state.gpr[0], state.gpr[2]) = (0xffff_0000 | first, second));
        outcome(&mut machine, &code);
        let state = machine.vcpu.state();
        assert_eq!(state.rflags & ZF != 0, result.is_some());
        assert_eq!(state.gpr[0], 0xffff_0000 | result.unwrap_or(first));
        // In memory.
        machine.write(DATA, &first.to_le_bytes());
        machine.state(|state| (state.gpr[3], state.gpr[2]) = (DATA, second));
        outcome(&mut machine, &[&[0x63, 0x13][..], &END].concat());
        assert_eq!(machine.read_u64(DATA), result.unwrap_or(first));
        assert_eq!(machine.vcpu.state().rflags & ZF != 0, result.is_some());
    }
}

#[test]
fn real_mode_has_none_of_them() {
    for code in [LAR, LSL, VERR, VERW, ARPL] {
        let exit = outcome(&mut Machine::real(), code);
        assert_eq!(exit, Exit::Exception(Exception::ud()));
    }
    assert_eq!(protected().selector(1), CODE32);
}
