// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! EVT-6.

use super::{events, step, NMI_WINDOW, NO_WINDOW, OPEN};
use crate::{Event, Injection};

#[test]
fn evt_6_one_nmi_is_pending_and_one_latched_and_a_third_merges() {
    let mut events = events();
    assert!(events.queue_nmi());
    assert!(events.queue_nmi());
    assert!(!events.queue_nmi());
    assert_eq!(events.pending_nmis(), 2);
}

#[test]
fn evt_6_a_delivered_nmi_blocks_the_next_until_iret() {
    let mut events = events();
    events.queue_nmi();
    events.queue_nmi();
    assert_eq!(step(&mut events, &OPEN), Some(Injection::Nmi));
    assert!(events.nmi_masked());
    let blocked = events.decide(&OPEN, false, None);
    assert_eq!((blocked.inject, blocked.window), (None, NMI_WINDOW));
    events.iret();
    let decision = events.decide(&OPEN, false, None);
    assert_eq!((decision.inject, decision.window), (Some(Injection::Nmi), NO_WINDOW));
    events.commit(Injection::Nmi);
    events.iret();
    assert_eq!(step(&mut events, &OPEN), None);
}

#[test]
fn evt_6_while_masked_only_one_is_latched() {
    let mut events = events();
    events.queue_nmi();
    step(&mut events, &OPEN);
    assert!(events.queue_nmi());
    assert!(!events.queue_nmi());
    assert_eq!(events.pending_nmis(), 1);
}

#[test]
fn evt_6_while_one_is_being_delivered_again_only_one_is_latched() {
    let mut events = events();
    events.interrupted(Event::Nmi);
    assert!(events.queue_nmi());
    assert!(!events.queue_nmi());
}

#[test]
fn evt_6_two_pending_nmis_get_the_nmi_window_after_the_first() {
    let mut events = events();
    events.queue_nmi();
    events.queue_nmi();
    let decision = events.decide(&OPEN, false, None);
    assert_eq!((decision.inject, decision.window), (Some(Injection::Nmi), NMI_WINDOW));
}

#[test]
fn evt_6_an_iret_that_faulted_blocks_again() {
    let mut events = events();
    events.queue_nmi();
    step(&mut events, &OPEN);
    events.iret();
    events.set_nmi_masked(true);
    events.queue_nmi();
    assert_eq!(step(&mut events, &OPEN), None);
}
