// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! EVT-10.

use kvm_bindings::kvm_vcpu_events;
use proptest::prelude::*;

use super::strategies;
use crate::kvm::{Capabilities, InvalidVcpuEvents, VcpuEvents};
use crate::{
    EventsState, ExceptionState, InterruptState, InvalidException, InvalidState, Origin, Shadow,
};

/// Flags by their numbers in the kernel's header.
const NMI_PENDING: u32 = 1;
const SIPI_VECTOR: u32 = 2;
const SHADOW: u32 = 4;
const SMM: u32 = 8;
const PAYLOAD: u32 = 16;
const TRIPLE_FAULT: u32 = 32;

/// Every field set to something.
fn full(flags: u32) -> kvm_vcpu_events {
    let mut all = kvm_vcpu_events { flags, sipi_vector: 0x9a, ..Default::default() };
    all.exception.pending = 1;
    all.exception.nr = 14;
    all.exception.has_error_code = 1;
    all.exception.error_code = 2;
    all.exception_has_payload = 1;
    all.exception_payload = 0xffff_8000_0000_2000;
    all.interrupt.injected = 1;
    all.interrupt.nr = 0x41;
    all.interrupt.shadow = 1;
    all.nmi.injected = 0;
    all.nmi.pending = 2;
    all.nmi.masked = 1;
    all.smi.smm = 1;
    all.smi.pending = 1;
    all.smi.smm_inside_nmi = 1;
    all.smi.latched_init = 1;
    all.triple_fault.pending = 1;
    all
}

fn import(events: &kvm_vcpu_events) -> VcpuEvents {
    VcpuEvents::try_from(events).unwrap()
}

#[test]
fn evt_10_all_fields_arrive_with_all_flags() {
    let page_fault = ExceptionState {
        vector: 14,
        error_code: Some(2),
        payload: Some(0xffff_8000_0000_2000),
        origin: Origin::Hardware,
        injected: false,
    };
    let events = EventsState {
        triple_fault: true,
        init: true,
        sipi: Some(0x9a),
        exception: Some(page_fault),
        interrupt: Some(InterruptState { vector: 0x41, software: None }),
        nmi_injected: false,
        nmi_pending: 2,
        nmi_masked: true,
        smi_pending: true,
        smm: true,
        smm_inside_nmi: true,
    };
    let expected = VcpuEvents { events, shadow: Shadow { sti: false, mov_ss: true } };
    let all = full(NMI_PENDING | SIPI_VECTOR | SHADOW | SMM | PAYLOAD | TRIPLE_FAULT);
    assert_eq!(import(&all), expected);
    assert_eq!(kvm_vcpu_events::from(&expected), all, "and leave again");
}

#[test]
fn evt_10_each_flag_gates_its_fields_and_no_others() {
    let none = import(&full(0));
    assert_eq!(none.events.interrupt, Some(InterruptState { vector: 0x41, software: None }));
    assert!(none.events.nmi_masked, "fields without a flag always count");
    let rest = EventsState { interrupt: None, nmi_masked: false, ..none.events };
    assert_eq!((rest, none.shadow), (EventsState::default(), Shadow::NONE));
    let with = |flag| import(&full(flag));
    let gated = |change: &dyn Fn(&mut VcpuEvents)| {
        let mut expected = none;
        change(&mut expected);
        expected
    };
    assert_eq!(with(NMI_PENDING), gated(&|v| v.events.nmi_pending = 2));
    assert_eq!(with(SIPI_VECTOR), gated(&|v| v.events.sipi = Some(0x9a)));
    assert_eq!(with(SHADOW), gated(&|v| v.shadow.mov_ss = true));
    assert_eq!(with(TRIPLE_FAULT), gated(&|v| v.events.triple_fault = true));
    let smm = gated(&|v| {
        v.events.smm = true;
        v.events.smi_pending = true;
        v.events.smm_inside_nmi = true;
        v.events.init = true;
    });
    assert_eq!(with(SMM), smm);
    assert!(with(PAYLOAD).events.exception.is_some_and(|e| !e.injected && e.payload.is_some()));
}

#[test]
fn evt_10_an_ungated_field_leaves_its_part_as_it_was() {
    let flags = NMI_PENDING | SIPI_VECTOR | SHADOW | SMM | PAYLOAD | TRIPLE_FAULT;
    let mut events = import(&full(flags));
    let before = events;
    events.update(&kvm_vcpu_events::default()).unwrap();
    let expected =
        EventsState { exception: None, interrupt: None, nmi_masked: false, ..before.events };
    assert_eq!(events, VcpuEvents { events: expected, shadow: before.shadow });
}

#[test]
fn evt_10_shadow_bits_are_mov_ss_1_and_sti_2() {
    for (bits, sti, mov_ss) in
        [(0, false, false), (1, false, true), (2, true, false), (3, true, true)]
    {
        let mut events = kvm_vcpu_events { flags: SHADOW, ..Default::default() };
        events.interrupt.shadow = bits;
        let imported = import(&events);
        assert_eq!(imported.shadow, Shadow { sti, mov_ss });
        assert_eq!(kvm_vcpu_events::from(&imported).interrupt.shadow, bits);
    }
}

#[test]
fn evt_10_pending_wins_over_injected_and_counts_only_with_its_flag() {
    let mut events = full(PAYLOAD);
    events.exception.injected = 1;
    assert!(import(&events).events.exception.is_some_and(|e| !e.injected));
    events.flags = 0;
    let injected = import(&events).events.exception.unwrap();
    assert!(injected.injected && injected.payload.is_none());
}

#[test]
fn evt_10_what_kvm_refuses_is_refused_and_changes_nothing() {
    let mut kept = import(&full(SHADOW));
    let before = kept;
    let mut refuse = |change: &dyn Fn(&mut kvm_vcpu_events), error| {
        let mut events = full(PAYLOAD);
        change(&mut events);
        assert_eq!(kept.update(&events), Err(error));
        assert_eq!(kept, before);
    };
    let vector = |v| InvalidState::Exception(InvalidException::Vector(v)).into();
    refuse(&|e| e.exception.nr = 2, vector(2));
    refuse(&|e| e.exception.nr = 32, vector(32));
    refuse(&|e| e.flags |= 64, InvalidVcpuEvents::Flags(64 | PAYLOAD));
    let long_sipi = |e: &mut kvm_vcpu_events| {
        e.flags |= SIPI_VECTOR;
        e.sipi_vector = 0x100;
    };
    refuse(&long_sipi, InvalidVcpuEvents::SipiVector(0x100));
}

#[test]
fn evt_10_more_nmis_than_a_processor_latches_are_clamped() {
    let mut events = full(NMI_PENDING);
    events.nmi.pending = 255;
    assert_eq!(import(&events).events.nmi_pending, 2);
    events.nmi.injected = 1;
    assert_eq!(import(&events).events.nmi_pending, 1);
}

#[test]
fn evt_10_nmi_blocking_from_before_smm_counts_only_in_smm() {
    let mut events = full(SMM);
    events.smi.smm = 0;
    assert!(!import(&events).events.smm_inside_nmi);
}

#[test]
fn evt_10_without_the_capabilities_their_flags_stay_clear() {
    let events = import(&full(63));
    let none = Capabilities { exception_payload: false, triple_fault: false, smm: false };
    let plain = events.to_kvm(none);
    assert_eq!(plain.flags, NMI_PENDING | SIPI_VECTOR | SHADOW);
    assert_eq!((plain.exception.injected, plain.exception.pending), (1, 0), "as KVM reports it");
    assert_eq!((plain.smi.smm, plain.triple_fault.pending), (0, 0));
}

#[test]
fn evt_10_soft_interrupts_travel_without_their_length() {
    let events = EventsState {
        interrupt: Some(InterruptState { vector: 0x80, software: Some(2) }),
        ..Default::default()
    };
    let out = kvm_vcpu_events::from(&VcpuEvents { events, shadow: Shadow::NONE });
    assert_eq!((out.interrupt.injected, out.interrupt.nr, out.interrupt.soft), (1, 0x80, 1));
    let back = import(&out).events.interrupt;
    assert_eq!(back, Some(InterruptState { vector: 0x80, software: Some(0) }));
}

/// What `kvm_vcpu_events` has a place for.
fn representable(state: EventsState) -> EventsState {
    let exception = state.exception.map(|exception| ExceptionState {
        payload: exception.payload.filter(|_| !exception.injected),
        origin: match exception.vector {
            3 | 4 => Origin::Software { length: 0 },
            _ => Origin::Hardware,
        },
        ..exception
    });
    let interrupt = state
        .interrupt
        .map(|interrupt| InterruptState { software: interrupt.software.map(|_| 0), ..interrupt });
    EventsState { exception, interrupt, ..state }
}

proptest! {
    #[test]
    fn evt_10_states_survive_the_round_trip(
        state in strategies::valid_state(), sti in any::<bool>(), mov_ss in any::<bool>(),
    ) {
        let shadow = Shadow { sti, mov_ss };
        let out = kvm_vcpu_events::from(&VcpuEvents { events: state, shadow });
        let back = VcpuEvents::try_from(&out);
        prop_assert_eq!(back, Ok(VcpuEvents { events: representable(state), shadow }));
        prop_assert_eq!(kvm_vcpu_events::from(&back.unwrap()), out);
    }

    #[test]
    fn all_2_kvm_import_is_total_and_yields_states_that_restore(
        flags in 0u32..128, bytes in any::<[u8; 16]>(), sipi_vector in any::<u32>(),
    ) {
        let mut events = kvm_vcpu_events { flags, sipi_vector, ..Default::default() };
        events.exception.injected = bytes[0] & 1;
        events.exception.nr = bytes[1] % 40;
        events.exception.has_error_code = bytes[2] & 1;
        events.exception.pending = bytes[3] & 1;
        events.exception_has_payload = bytes[4] & 1;
        events.interrupt.injected = bytes[5];
        events.interrupt.nr = bytes[6];
        events.interrupt.soft = bytes[7];
        events.interrupt.shadow = bytes[8];
        events.nmi.injected = bytes[9];
        events.nmi.pending = bytes[10];
        events.nmi.masked = bytes[11];
        events.smi.smm = bytes[12] & 1;
        events.smi.pending = bytes[13];
        events.smi.smm_inside_nmi = bytes[14];
        events.smi.latched_init = bytes[15];
        if let Ok(imported) = VcpuEvents::try_from(&events) {
            let tracking = crate::Tracking::Here;
            let restored = crate::Events::from_state(&imported.events, tracking);
            prop_assert_eq!(restored.map(|e| e.state()), Ok(imported.events));
        }
    }
}
