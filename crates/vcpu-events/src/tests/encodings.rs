// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! EVT-8, and EVT-7's rules for the VMCS fields.

use proptest::prelude::*;

use super::{strategies, CLI, OPEN};
use crate::svm::EventInjection;
use crate::vmx::{self, EventFields, GuestInterruptibility, InterruptionInfo, InvalidEvent};
use crate::{
    Activity, Event, Exception, Interruptibility, InvalidException, InvalidLength, Origin, Shadow,
    SoftwareInterrupt, Window,
};

fn raw(info: u32, error_code: u32, instruction_length: u32) -> EventFields {
    EventFields { info: InterruptionInfo::from_bits(info), error_code, instruction_length }
}

fn instruction(vector: u8, origin: Origin) -> Event {
    Event::Exception(Exception::new(vector, None).unwrap().from_instruction(origin).unwrap())
}

/// Event, VMCS fields, VMCB field.
fn known() -> [(Event, EventFields, u64); 9] {
    let int_80 = Event::SoftwareInterrupt(SoftwareInterrupt::new(0x80, 2).unwrap());
    let (int3, int1) = (Origin::Software { length: 1 }, Origin::PrivilegedSoftware { length: 1 });
    let real_gp = Exception::gp(0).in_real_mode();
    #[rustfmt::skip]
    let known = [
        (Event::Interrupt(0x30), raw(0x8000_0030, 0, 0), 0x8000_0030),
        (Event::Interrupt(0xff), raw(0x8000_00ff, 0, 0), 0x8000_00ff),
        (Event::Nmi, raw(0x8000_0202, 0, 0), 0x8000_0202),
        (Event::Exception(Exception::ud()), raw(0x8000_0306, 0, 0), 0x8000_0306),
        (Event::Exception(Exception::gp(0x18)), raw(0x8000_0b0d, 0x18, 0), 0x18_8000_0b0d),
        (Event::Exception(real_gp), raw(0x8000_030d, 0, 0), 0x8000_030d),
        (int_80, raw(0x8000_0480, 0, 2), 0x8000_0480),
        (instruction(1, int1), raw(0x8000_0501, 0, 1), 0x8000_0301),
        (instruction(3, int3), raw(0x8000_0603, 0, 1), 0x8000_0303),
    ];
    known
}

#[test]
fn evt_8_encodings_are_those_of_the_manuals() {
    for (event, vmx, svm) in known() {
        assert_eq!(EventFields::from(event), vmx, "{event:?}");
        assert_eq!(EventInjection::from(event).into_bits(), svm, "{event:?}");
    }
}

#[test]
fn evt_8_decoding_knows_what_was_encoded() {
    for (event, vmx, _) in known() {
        assert_eq!(vmx.event(), Ok(Some(event)));
    }
}

#[test]
fn evt_8_fields_that_are_not_valid_hold_no_event() {
    assert_eq!(raw(0x0000_0b0d, 1, 2).event(), Ok(None));
    assert_eq!(EventInjection::from_bits(0x1_0000_0b0d).event(), Ok(None));
}

#[test]
fn evt_8_impossible_fields_are_errors() {
    let vector = |v| InvalidEvent::Exception(InvalidException::Vector(v));
    #[rustfmt::skip]
    let cases = [
        (raw(0x8000_0130, 0, 0), InvalidEvent::Type(1)),
        (raw(0x8000_0700, 0, 0), InvalidEvent::Type(7)),
        (raw(0x8000_0203, 0, 0), InvalidEvent::NmiVector(3)),
        (raw(0x8000_0302, 0, 0), vector(2)),
        (raw(0x8000_0320, 0, 0), vector(0x20)),
        (raw(0x8000_0b06, 0, 0), InvalidException::UnexpectedErrorCode(6).into()),
        (raw(0x8000_0606, 0, 1), InvalidException::Origin(6).into()),
        (raw(0x8000_0503, 0, 1), InvalidException::Origin(3).into()),
        (raw(0x8000_0480, 0, 16), InvalidLength(16).into()),
        (raw(0x8000_0480, 0, 0x100), InvalidLength(0x100).into()),
    ];
    for (fields, error) in cases {
        assert_eq!(fields.event(), Err(error), "{fields:?}");
    }
    for event_type in [1, 5, 6, 7] {
        let field = EventInjection::new().with_valid(true).with_event_type(event_type);
        assert_eq!(field.event(), Err(InvalidEvent::Type(event_type)));
    }
}

#[test]
fn evt_8_the_interruptibility_state_is_read_bit_by_bit() {
    let read = |bits, rflags| {
        GuestInterruptibility::from_bits(bits).interruptibility(rflags, Activity::Active, false)
    };
    assert_eq!(read(0, 0x202), OPEN);
    assert_eq!(read(0, 0x002), CLI);
    let (sti, mov_ss) = (Shadow { sti: true, mov_ss: false }, Shadow { sti: false, mov_ss: true });
    assert_eq!(read(1, 0x202), Interruptibility { shadow: sti, ..OPEN });
    assert_eq!(read(2, 0x202), Interruptibility { shadow: mov_ss, ..OPEN });
    assert_eq!(read(4, 0x202), Interruptibility { smm: true, ..OPEN });
    assert_eq!(read(8, 0x202), Interruptibility { nmi_blocked: true, ..OPEN });
    let debug = GuestInterruptibility::new().interruptibility(0x202, Activity::Halted, true);
    assert!(debug.pending_debug && debug.activity == Activity::Halted);
}

#[test]
fn evt_8_the_vmcb_knows_one_shadow_and_gif() {
    let both = Shadow { sti: true, mov_ss: true };
    assert_eq!(crate::svm::interruptibility(false, 0x202, true), OPEN);
    let shadowed = Interruptibility { shadow: both, ..CLI };
    assert_eq!(crate::svm::interruptibility(true, 0x002, true), shadowed);
    let held = Interruptibility { held: true, ..OPEN };
    assert_eq!(crate::svm::interruptibility(false, 0x202, false), held);
}

#[test]
fn evt_8_activity_states_and_window_controls_have_their_numbers() {
    for field in 0..4 {
        assert_eq!(vmx::activity(field).map(vmx::activity_field), Some(field));
    }
    assert_eq!(vmx::activity(1), Some(Activity::Halted));
    assert_eq!(vmx::activity(4), None);
    assert_eq!(vmx::window_controls(Window { interrupt: true, nmi: false }), 0x4);
    assert_eq!(vmx::window_controls(Window { interrupt: false, nmi: true }), 0x40_0000);
}

#[test]
fn evt_7_an_nmi_enters_with_its_blocking_cleared_and_others_keep_it() {
    let blocked = GuestInterruptibility::new().with_nmi(true).with_smi(true);
    assert_eq!(blocked.entering_with(&Event::Nmi).into_bits(), 0x4);
    assert_eq!(blocked.entering_with(&Event::Interrupt(0x40)), blocked);
}

#[test]
fn evt_7_a_faulting_iret_blocks_nmis_again() {
    let exit = InterruptionInfo::new().with_valid(true).with_vector(14).with_nmi_unblocking(true);
    let (none, valid) = (InterruptionInfo::new(), InterruptionInfo::new().with_valid(true));
    assert!(vmx::iret_must_block_nmi(exit, none));
    assert!(!vmx::iret_must_block_nmi(exit, valid), "undefined during event delivery");
    assert!(!vmx::iret_must_block_nmi(exit.with_vector(8), none), "undefined for #DF");
    assert!(!vmx::iret_must_block_nmi(exit.with_nmi_unblocking(false), none));
    assert!(!vmx::iret_must_block_nmi(exit.with_valid(false), none));
}

/// What survives SVM, which has no lengths and no INT1.
fn without_length(event: Event) -> Event {
    match event {
        Event::SoftwareInterrupt(interrupt) => {
            Event::SoftwareInterrupt(SoftwareInterrupt::new(interrupt.vector(), 0).unwrap())
        }
        Event::Exception(exception) => {
            let origin = match exception.vector() {
                3 | 4 => Origin::Software { length: 0 },
                _ => Origin::Hardware,
            };
            Event::Exception(exception.from_instruction(origin).unwrap())
        }
        other => other,
    }
}

/// Payloads travel beside the fields (exit qualification, CR2).
fn without_payload(event: Event) -> Event {
    match event {
        Event::Exception(exception) => {
            let bare = crate::state::any_mode(exception.vector(), exception.error_code()).unwrap();
            Event::Exception(bare.from_instruction(exception.origin()).unwrap())
        }
        other => other,
    }
}

proptest! {
    #[test]
    fn evt_8_vmx_events_survive_the_round_trip(event in strategies::event()) {
        let fields = EventFields::from(event);
        prop_assert_eq!(fields.info.into_bits() & 0x7fff_f000, 0, "bits 30:12 are zero");
        prop_assert_eq!(fields.event(), Ok(Some(without_payload(event))));
    }

    #[test]
    fn evt_8_svm_events_survive_the_round_trip(event in strategies::event()) {
        let field = EventInjection::from(event);
        prop_assert_eq!(field.into_bits() & 0x7fff_f000, 0, "bits 30:12 are zero");
        prop_assert_eq!(field.event(), Ok(Some(without_length(without_payload(event)))));
    }

    #[test]
    fn evt_8_vmx_decoding_is_total_and_what_it_accepts_encodes_back(
        info in any::<u32>(), type_bits in 0u32..8, vector in 0u32..40,
        small in any::<bool>(), error_code in any::<u32>(), length in 0u32..20,
    ) {
        // Half of the cases stay near what processors write.
        let info = if small { 1 << 31 | info & 0x7fff_f800 | type_bits << 8 | vector } else { info };
        let fields = raw(info, error_code, length);
        if let Ok(Some(event)) = fields.event() {
            let back = EventFields::from(event);
            prop_assert_eq!(back.info.into_bits(), info & !0x7fff_f000 & !lost_error_code(event, info));
            if back.info.error_code_valid() {
                prop_assert_eq!(back.error_code, error_code);
            }
        }
    }

    #[test]
    fn evt_8_svm_decoding_is_total(bits in any::<u64>(), low in 0u64..0x1000, valid in any::<bool>()) {
        let bits = if valid { bits & !0xfff | low | 1 << 31 } else { bits };
        if let Ok(Some(event)) = EventInjection::from_bits(bits).event() {
            let again = EventInjection::from(event).event();
            prop_assert_eq!(again, Ok(Some(event)));
        }
    }
}

/// Bit 11 means nothing for what is no exception; decoding drops it.
fn lost_error_code(event: Event, info: u32) -> u32 {
    match event {
        Event::Exception(_) => 0,
        _ => info & 0x800,
    }
}
