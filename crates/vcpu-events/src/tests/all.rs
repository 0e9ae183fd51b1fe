// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! ALL-1, ALL-2, ALL-3.

use proptest::prelude::*;
use std::vec;

use super::strategies;
use crate::{
    Event, Events, EventsState, Exception, Injection, Interruptibility, InvalidState, Tracking,
};

#[test]
fn all_1_the_crate_is_no_std_without_unsafe_code_and_without_alloc() {
    let root = include_str!("../lib.rs");
    assert!(root.contains("#![no_std]") && root.contains("#![forbid(unsafe_code)]"));
    assert!(!root.contains("extern crate alloc"), "nothing here allocates");
    fn plain_data<T: Copy + Send + Sync + 'static>() {}
    plain_data::<Events>();
    plain_data::<EventsState>();
}

#[test]
fn all_3_impossible_states_are_errors() {
    let refuse = |state: EventsState, error| {
        assert_eq!(Events::from_state(&state, Tracking::Here), Err(error));
    };
    let default = EventsState::default();
    refuse(EventsState { nmi_pending: 3, ..default }, InvalidState::NmiPending(3));
    let three = EventsState { nmi_injected: true, nmi_pending: 2, ..default };
    refuse(three, InvalidState::NmiPending(2));
    refuse(EventsState { smm_inside_nmi: true, ..default }, InvalidState::SmmInsideNmi);
}

#[test]
fn all_3_the_default_state_is_a_fresh_vcpus() {
    assert_eq!(Events::new(Tracking::Here).state(), EventsState::default());
    let restored = Events::from_state(&EventsState::default(), Tracking::Backend);
    assert_eq!(restored, Ok(Events::new(Tracking::Backend)));
}

#[cfg(feature = "serde")]
#[test]
fn all_3_state_travels_through_serde_in_the_middle_of_delivery() {
    let mut events = Events::new(Tracking::Here);
    events.interrupted(Event::Interrupt(0x41));
    events.fault_in_delivery(Exception::pf(2, 0xffff_8000_0000_1000));
    events.queue_nmi();
    let text = serde_json::to_string(&events.state()).unwrap();
    let state: EventsState = serde_json::from_str(&text).unwrap();
    assert_eq!(Events::from_state(&state, Tracking::Here), Ok(events));
}

/// Anything that can be done to [`Events`].
#[derive(Clone, Copy, Debug)]
enum Act {
    Queue(Exception),
    Nmi,
    Smi,
    Init,
    Sipi(u8),
    TripleFault,
    Iret,
    Rsm,
    Mask(bool),
    Interrupted(Event),
    Fault(Exception),
    Enter(Interruptibility, bool, Option<u8>),
    CommitUnasked(Event),
}

fn act() -> impl Strategy<Value = Act> {
    let enter = (strategies::any_cpu(), any::<bool>(), any::<Option<u8>>());
    prop_oneof![
        1 => strategies::exception().prop_map(Act::Queue),
        1 => Just(Act::Nmi),
        1 => Just(Act::Smi),
        1 => Just(Act::Init),
        1 => any::<u8>().prop_map(Act::Sipi),
        1 => Just(Act::TripleFault),
        1 => Just(Act::Iret),
        1 => Just(Act::Rsm),
        1 => any::<bool>().prop_map(Act::Mask),
        1 => strategies::event().prop_map(Act::Interrupted),
        1 => strategies::exception().prop_map(Act::Fault),
        4 => enter.prop_map(|(cpu, extint, lapic)| Act::Enter(cpu, extint, lapic)),
        1 => strategies::event().prop_map(Act::CommitUnasked),
    ]
}

fn perform(events: &mut Events, act: Act) {
    match act {
        Act::Queue(exception) => drop(events.queue_exception(exception)),
        Act::Nmi => drop(events.queue_nmi()),
        Act::Smi => drop(events.queue_smi()),
        Act::Init => events.queue_init(),
        Act::Sipi(page) => events.queue_sipi(page),
        Act::TripleFault => events.queue_triple_fault(),
        Act::Iret => events.iret(),
        Act::Rsm => events.rsm(),
        Act::Mask(masked) => events.set_nmi_masked(masked),
        Act::Interrupted(event) => events.interrupted(event),
        Act::Fault(exception) => drop(events.fault_in_delivery(exception)),
        Act::Enter(cpu, extint, lapic) => {
            if let Some(injection) = events.decide(&cpu, extint, lapic).inject {
                events.commit(injection);
            }
        }
        Act::CommitUnasked(event) => events.commit(match event {
            Event::Nmi => Injection::Nmi,
            other => Injection::Reinject(other),
        }),
    }
}

fn tracking() -> impl Strategy<Value = Tracking> {
    prop_oneof![Just(Tracking::Here), Just(Tracking::Backend)]
}

proptest! {
    #[test]
    fn all_3_save_restore_save_is_the_identity_at_any_moment(
        tracking in tracking(), acts in prop::collection::vec(act(), 0..40),
    ) {
        let mut events = Events::new(tracking);
        for act in acts {
            perform(&mut events, act);
            let restored = Events::from_state(&events.state(), tracking);
            prop_assert_eq!(restored, Ok(events), "after {:?}", act);
        }
    }

    #[test]
    fn all_2_no_restored_state_panics_and_valid_ones_stay_valid(
        wild in strategies::wild_state(), valid in strategies::valid_state(),
        tracking in tracking(), acts in prop::collection::vec(act(), 0..20),
    ) {
        prop_assert_eq!(Events::from_state(&valid, tracking).map(|e| e.state()), Ok(valid));
        for state in [wild, valid] {
            let Ok(mut events) = Events::from_state(&state, tracking) else { continue };
            for act in &acts {
                perform(&mut events, *act);
            }
            prop_assert!(Events::from_state(&events.state(), tracking).is_ok());
        }
    }

    #[test]
    fn all_2_committing_every_decision_comes_to_an_end(state in strategies::valid_state()) {
        let mut events = Events::from_state(&state, Tracking::Here).unwrap();
        let mut rounds = 0;
        while let Some(injection) =
            events.decide(&Interruptibility::OPEN, false, None).inject
        {
            events.commit(injection);
            events.rsm();
            events.iret();
            rounds += 1;
            prop_assert!(rounds <= 8, "{:?} again", injection);
        }
    }
}
