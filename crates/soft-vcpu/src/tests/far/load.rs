// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! MOV, PUSH and POP of segment registers, LDS and its like.

use vcpu_events::{Exception, Shadow};

use super::super::machine::{
    segment, Machine, CODE, CODE32, CODE64, DATA, DATA0, GDT, STACK, USER_CODE32, USER_CODE64,
    USER_DATA,
};
use super::{outcome, OWN};
use crate::segment::{DS, ES, FS, GS, SS};
use crate::spec::cr0;
use crate::{Exit, Segment};

/// MOV DS, EAX; HLT.
const MOV_DS: &[u8] = &[0x8e, 0xd8, 0xf4];
/// MOV SS, EAX; NOP; HLT.
const MOV_SS: &[u8] = &[0x8e, 0xd0, 0x90, 0xf4];

fn load(machine: &mut Machine, code: &[u8], selector: u16) -> Exit {
    machine.state(|state| state.gpr[0] = u64::from(selector) | 0xabc_0000);
    outcome(machine, code)
}

/// At level 3 HLT is #GP(0) once the load has succeeded.
fn done(machine: &Machine) -> bool {
    machine.vcpu.state().rip == CODE + 2
}

#[test]
fn a_load_takes_base_limit_and_rights_from_the_descriptor_and_marks_it() {
    let mut machine = Machine::protected();
    // Base 0x12345678, limit 0x9abcd bytes, writable, not accessed.
    machine.descriptor(OWN, 0x1249_9234_5678_abcd);
    assert_eq!(load(&mut machine, MOV_DS, OWN), Exit::Halt);
    let data = machine.vcpu.state().segments[usize::from(DS)];
    assert_eq!((data.selector, data.base, data.limit), (OWN, 0x1234_5678, 0x9_abcd));
    assert_eq!((data.rights.kind(), data.rights.dpl(), data.rights.db()), (3, 0, true));
    assert_eq!(machine.read_u64(GDT + u64::from(OWN)), 0x1249_9334_5678_abcd);
    // In units of 4 KiB.
    machine.descriptor(OWN, 0x12c9_9334_5678_abcd);
    assert_eq!(load(&mut machine, MOV_DS, OWN), Exit::Halt);
    assert_eq!(machine.vcpu.state().segments[usize::from(DS)].limit, 0x9abc_dfff);
}

#[test]
fn an_ldt_is_looked_up_by_its_own_base_and_limit() {
    let mut machine = Machine::protected();
    machine.write(DATA + 8, &0x00cf_9300_0000_ffffu64.to_le_bytes());
    machine.state(|state| {
        state.segments[6] = Segment { base: DATA, limit: 15, ..state.segments[6] };
    });
    assert_eq!(load(&mut machine, MOV_DS, 0x0c), Exit::Halt);
    assert_eq!(load(&mut machine, MOV_DS, 0x14), Exit::Exception(Exception::gp(0x14)));
    machine.state(|state| state.segments[6].limit = 14);
    assert_eq!(load(&mut machine, MOV_DS, 0x0c), Exit::Exception(Exception::gp(0x0c)));
}

/// SDM vol. 2, MOV: the checks of DS, ES, FS and GS.
#[test]
fn data_segments_are_checked() {
    let gp = Some(Exception::gp(u32::from(OWN)));
    let cases = [
        // Descriptor, selector, at level 0, at level 3.
        (0x00cf_9300_0000_ffff, OWN, None, gp),
        (0x00cf_9300_0000_ffff, OWN | 3, gp, gp),
        (0x00cf_f300_0000_ffff, OWN | 3, None, None),
        (0x00cf_f300_0000_ffff, OWN, None, None),
        // Code that can be read, that cannot, conforming code.
        (0x00cf_9b00_0000_ffff, OWN, None, gp),
        (0x00cf_9900_0000_ffff, OWN, gp, gp),
        (0x00cf_9f00_0000_ffff, OWN | 3, None, None),
        (0x00cf_9d00_0000_ffff, OWN, gp, gp),
        // A TSS.
        (0x0000_8900_0000_0067, OWN, gp, gp),
    ];
    for (descriptor, selector, level0, level3) in cases {
        for (code, stack, expected) in [(CODE32, DATA0, level0), (USER_CODE32, USER_DATA, level3)] {
            let mut machine = Machine::protected();
            machine.at(code, stack);
            machine.descriptor(OWN, descriptor);
            let exit = load(&mut machine, MOV_DS, selector);
            match expected {
                Some(exception) => {
                    assert_eq!(exit, Exit::Exception(exception), "{descriptor:#x} {selector:#x}");
                    assert_eq!(machine.selector(DS), DATA0);
                }
                None => assert!(machine.selector(DS) == selector, "{descriptor:#x} {selector:#x}"),
            }
        }
    }
}

#[test]
fn a_missing_segment_is_np_and_as_a_stack_ss() {
    let mut machine = Machine::protected();
    machine.descriptor(OWN, 0x00cf_1300_0000_ffff);
    let code = u32::from(OWN);
    assert_eq!(load(&mut machine, MOV_DS, OWN), Exit::Exception(Exception::np(code)));
    assert_eq!(load(&mut machine, MOV_SS, OWN), Exit::Exception(Exception::ss(code)));
}

#[test]
fn a_null_selector_makes_a_segment_unusable_but_not_the_stack() {
    let mut machine = Machine::protected();
    for selector in 0..4 {
        assert_eq!(load(&mut machine, MOV_DS, selector), Exit::Halt);
        assert_eq!(machine.vcpu.state().segments[usize::from(DS)], Segment::null(selector));
        assert_eq!(load(&mut machine, MOV_SS, selector), Exit::Exception(Exception::gp(0)));
    }
    // MOV EAX, [EAX] through DS.
    assert_eq!(outcome(&mut machine, &[0x8b, 0x00]), Exit::Exception(Exception::gp(0)));
}

#[test]
fn in_64_bit_mode_a_null_stack_needs_the_levels_rpl_and_not_level_3() {
    for selector in 0..4 {
        let mut machine = Machine::long();
        let exit = load(&mut machine, MOV_SS, selector);
        match selector {
            0 => {
                assert_eq!(exit, Exit::Halt);
                assert!(machine.vcpu.state().segments[usize::from(SS)].rights.unusable());
            }
            _ => assert_eq!(exit, Exit::Exception(Exception::gp(0))),
        }
        machine.at(USER_CODE64, USER_DATA);
        assert_eq!(load(&mut machine, MOV_SS, selector), Exit::Exception(Exception::gp(0)));
        assert!(!done(&machine));
    }
    // Compatibility mode has the old rule.
    let mut machine = Machine::long();
    machine.at(CODE32, DATA0);
    assert_eq!(load(&mut machine, MOV_SS, 0), Exit::Exception(Exception::gp(0)));
}

#[test]
fn stacks_are_writable_data_of_the_level_itself() {
    let gp = Exit::Exception(Exception::gp(u32::from(OWN)));
    let mut machine = Machine::protected();
    for descriptor in [
        // Level 3, read-only, code.
        0x00cf_f300_0000_ffff,
        0x00cf_9100_0000_ffff,
        0x00cf_9b00_0000_ffffu64,
    ] {
        machine.descriptor(OWN, descriptor);
        assert_eq!(load(&mut machine, MOV_SS, OWN), gp);
    }
    machine.descriptor(OWN, 0x00cf_9300_0000_ffff);
    assert_eq!(load(&mut machine, MOV_SS, OWN | 1), gp);
    assert_eq!(load(&mut machine, MOV_SS, OWN), Exit::Halt);
}

#[test]
fn mov_ss_holds_events_back_for_one_instruction() {
    let mut machine = Machine::protected();
    machine.write(CODE, MOV_SS);
    machine.state(|state| (state.rip, state.gpr[0]) = (CODE, u64::from(DATA0)));
    assert_eq!(machine.vcpu.run(1), Exit::Budget);
    assert_eq!(machine.vcpu.state().shadow, Shadow { mov_ss: true, sti: false });
    assert_eq!(machine.vcpu.run(1), Exit::Budget);
    assert_eq!(machine.vcpu.state().shadow, Shadow::NONE);
}

#[test]
fn mov_to_cs_and_the_segments_that_are_none_are_undefined() {
    let mut machine = Machine::protected();
    for code in [[0x8e, 0xc8], [0x8e, 0xf0], [0x8c, 0xf8]] {
        assert_eq!(load(&mut machine, &code, DATA0), Exit::Exception(Exception::ud()));
    }
    // Not even its memory is read.
    machine.state(|state| state.gpr[0] = 0xffff_0000);
    assert_eq!(outcome(&mut machine, &[0x8e, 0x08]), Exit::Exception(Exception::ud()));
}

#[test]
fn mov_from_a_segment_register_zero_extends() {
    let mut machine = Machine::long();
    machine.state(|state| state.gpr[..3].fill(u64::MAX));
    // MOV EAX, SS; MOV RCX, CS; MOV DX, DS; MOV [RBX], SS; HLT.
    machine.state(|state| state.gpr[3] = DATA);
    machine.write(DATA, &[0xff; 8]);
    let code = [0x8c, 0xd0, 0x48, 0x8c, 0xc9, 0x66, 0x8c, 0xda, 0x8c, 0x13, 0xf4];
    assert_eq!(outcome(&mut machine, &code), Exit::Halt);
    let gpr = machine.vcpu.state().gpr;
    let (code, data) = (u64::from(CODE64), u64::from(DATA0));
    assert_eq!(gpr[..3], [data, code, !0xffff | data]);
    assert_eq!(machine.read_u64(DATA), !0xffff | data);
}

#[test]
fn push_and_pop_have_slots_of_the_operands_size() {
    // PUSH FS; POP GS in 64-bit mode, in 32-bit mode, with an operand-size prefix.
    type Case = (fn() -> Machine, &'static [u8], u64);
    let cases: [Case; 3] = [
        (Machine::long, &[0x0f, 0xa0, 0x0f, 0xa9, 0xf4], 8),
        (Machine::protected, &[0x0f, 0xa0, 0x0f, 0xa9, 0xf4], 4),
        (Machine::protected, &[0x66, 0x0f, 0xa0, 0x66, 0x0f, 0xa9, 0xf4], 2),
    ];
    for (new, code, slot) in cases {
        let mut machine = new();
        machine.write(STACK - 8, &[0xee; 8]);
        machine.state(|state| {
            state.segments[usize::from(FS)] = Segment::null(3);
            state.segments[usize::from(GS)] = segment(DATA0);
        });
        assert_eq!(outcome(&mut machine, code), Exit::Halt);
        assert_eq!((machine.selector(GS), machine.vcpu.state().gpr[4]), (3, STACK));
        // 64 bits are zero-extended; of 32 only the selector is written.
        let written = if slot == 8 { 8 } else { 2 };
        let expected = [[3, 0, 0, 0, 0, 0, 0, 0], [0xee; 8]].concat();
        let slot_at = STACK - slot;
        let found = machine.read_u64(slot_at) & (u64::MAX >> (64 - 8 * written));
        let wanted = u64::from_le_bytes(expected[..8].try_into().unwrap());
        assert_eq!(found, wanted & (u64::MAX >> (64 - 8 * written)));
        if slot == 4 {
            assert_eq!(machine.read_u64(slot_at) >> 16 & 0xffff, 0xeeee);
        }
    }
}

#[test]
fn a_pop_that_faults_leaves_the_stack_alone() {
    let mut machine = Machine::protected();
    // PUSH 0x1234; POP DS.
    let exit = outcome(&mut machine, &[0x68, 0x34, 0x12, 0, 0, 0x1f]);
    assert_eq!(exit, Exit::Exception(Exception::gp(0x1234)));
    assert_eq!(machine.vcpu.state().gpr[4], STACK - 4);
}

#[test]
fn far_pointers_are_loaded_whole_or_not_at_all() {
    let mut machine = Machine::protected();
    let good = [0x78, 0x56, 0x34, 0x12, DATA0 as u8, 0];
    machine.write(DATA, &good);
    machine.state(|state| (state.gpr[3], state.segments[0]) = (DATA, Segment::null(0)));
    // LES EAX, [EBX].
    assert_eq!(outcome(&mut machine, &[0xc4, 0x03, 0xf4]), Exit::Halt);
    assert_eq!((machine.vcpu.state().gpr[0], machine.selector(ES)), (0x1234_5678, DATA0));
    machine.write(DATA + 4, &[0x34, 0x12]);
    machine.state(|state| state.gpr[0] = 1);
    let exit = outcome(&mut machine, &[0xc4, 0x03, 0xf4]);
    assert_eq!(exit, Exit::Exception(Exception::gp(0x1234)));
    assert_eq!((machine.vcpu.state().gpr[0], machine.selector(ES)), (1, DATA0));
    // LGS RAX, [RBX] in 64-bit mode.
    let mut machine = Machine::long();
    machine.write(DATA, &0x1122_3344_5566_7788u64.to_le_bytes());
    machine.write(DATA + 8, &DATA0.to_le_bytes());
    machine.state(|state| state.gpr[3] = DATA);
    assert_eq!(outcome(&mut machine, &[0x48, 0x0f, 0xb5, 0x03, 0xf4]), Exit::Halt);
    assert_eq!(machine.vcpu.state().gpr[0], 0x1122_3344_5566_7788);
    assert_eq!(machine.selector(GS), DATA0);
}

#[test]
fn real_mode_keeps_limits_of_protected_mode() {
    let mut machine = Machine::protected();
    // Big real mode: a flat DS, then PE is cleared.
    machine.state(|state| {
        state.segments[1] = Segment::real(0x10_0000u32.wrapping_shr(4) as u16, 0xb);
        state.segments[1].base = CODE;
        state.cr0 &= !cr0::PE;
        state.gpr[0] = 0x2345;
        state.rip = 0;
    });
    machine.write(CODE, MOV_DS);
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
    let data = machine.vcpu.state().segments[usize::from(DS)];
    assert_eq!((data.selector, data.base, data.limit), (0x2345, 0x2_3450, u32::MAX));
}
