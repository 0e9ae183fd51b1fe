// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! EVT-7.

use proptest::prelude::*;
use std::collections::VecDeque;
use std::vec::Vec;

use super::{events, step, strategies, CLI, INTERRUPT_WINDOW, NO_WINDOW, OPEN};
use crate::{
    Event, Events, Exception, Injection, Interruptibility, Merged, Origin, SoftwareInterrupt,
    Tracking,
};

fn int_n(vector: u8) -> Event {
    Event::SoftwareInterrupt(SoftwareInterrupt::new(vector, 2).unwrap())
}

#[test]
fn evt_7_every_kind_of_event_comes_again_unchanged_and_once() {
    let int3 = Exception::new(3, None).unwrap();
    let int3 = int3.from_instruction(Origin::Software { length: 1 }).unwrap();
    let all = [
        Event::Interrupt(0x93),
        Event::Nmi,
        Event::Exception(Exception::pf(3, 0x7000)),
        Event::Exception(int3),
        int_n(0x80),
    ];
    for event in all {
        let mut events = events();
        events.interrupted(event);
        assert!(events.needs_reinjection());
        assert_eq!(step(&mut events, &OPEN), Some(Injection::Reinject(event)));
        assert!(!events.needs_reinjection());
        assert_eq!(step(&mut events, &OPEN), None, "{event:?} once");
    }
}

#[test]
fn evt_7_reinjection_asks_the_controllers_for_nothing() {
    let mut events = events();
    events.interrupted(Event::Interrupt(0x93));
    // The LAPIC's next vector is not touched; it gets the window.
    let decision = events.decide(&OPEN, false, Some(0x94));
    assert_eq!(decision.inject, Some(Injection::Reinject(Event::Interrupt(0x93))));
    assert_eq!(decision.window, INTERRUPT_WINDOW);
}

#[test]
fn evt_7_an_interrupted_nmi_clears_its_blocking_and_blocks_again_when_delivered() {
    let mut events = events();
    events.queue_nmi();
    assert_eq!(step(&mut events, &OPEN), Some(Injection::Nmi));
    events.interrupted(Event::Nmi);
    assert!(!events.nmi_masked());
    // The VMCS may still say that NMIs are blocked.
    let stale = Interruptibility { nmi_blocked: true, ..OPEN };
    assert_eq!(step(&mut events, &stale), Some(Injection::Reinject(Event::Nmi)));
    assert!(events.nmi_masked());
}

#[test]
fn evt_7_an_nmi_that_comes_back_does_not_make_three() {
    let mut events = Events::new(Tracking::Backend);
    events.queue_nmi();
    events.queue_nmi();
    events.commit(Injection::Nmi);
    events.queue_nmi();
    events.interrupted(Event::Nmi);
    assert_eq!(events.pending_nmis(), 1);
}

#[test]
fn evt_7_an_aborted_entry_gives_the_event_back() {
    let mut events = events();
    events.queue_exception(Exception::gp(8));
    let taken = step(&mut events, &OPEN).unwrap();
    events.abort(taken.event().unwrap());
    let again = Injection::Reinject(Event::Exception(Exception::gp(8)));
    assert_eq!(step(&mut events, &OPEN), Some(again));
    // ExtINT: INTA was done, so its vector comes back and the PIC is not asked again.
    let decision = events.decide(&OPEN, true, None);
    assert_eq!(decision.inject, Some(Injection::ExtInt));
    assert_eq!(Injection::ExtInt.event(), None);
    events.commit(Injection::ExtInt);
    events.abort(Event::Interrupt(0x28));
    let again = Some(Injection::Reinject(Event::Interrupt(0x28)));
    assert_eq!(events.decide(&OPEN, false, None).inject, again);
}

#[test]
fn evt_7_a_fault_in_the_delivery_of_an_interrupt_goes_first_and_the_interrupt_follows() {
    for event in [Event::Interrupt(0x93), Event::Nmi] {
        let mut events = events();
        events.interrupted(event);
        assert_eq!(events.fault_in_delivery(Exception::pf(0, 0x5000)), Merged::Serial);
        let fault = Event::Exception(Exception::pf(0, 0x5000));
        assert_eq!(step(&mut events, &OPEN), Some(Injection::Reinject(fault)));
        assert_eq!(step(&mut events, &OPEN), Some(Injection::Reinject(event)));
        assert!(!events.needs_reinjection());
    }
}

#[test]
fn evt_7_the_interrupt_behind_a_fault_waits_until_the_handler_allows_it() {
    let mut events = events();
    events.interrupted(Event::Interrupt(0x93));
    events.fault_in_delivery(Exception::pf(0, 0x5000));
    assert!(step(&mut events, &OPEN).is_some());
    // The handler runs through an interrupt gate, and faults itself.
    let decision = events.decide(&CLI, false, None);
    assert_eq!((decision.inject, decision.window), (None, INTERRUPT_WINDOW));
    events.queue_exception(Exception::gp(0));
    assert_eq!(step(&mut events, &CLI), Some(Injection::Exception(Exception::gp(0))));
    assert_eq!(step(&mut events, &OPEN), Some(Injection::Reinject(Event::Interrupt(0x93))));
}

#[test]
fn evt_7_a_fault_in_the_delivery_of_an_instruction_replaces_it() {
    let mut events = events();
    events.interrupted(int_n(0x80));
    events.fault_in_delivery(Exception::np(0x402));
    let fault = Event::Exception(Exception::np(0x402));
    assert_eq!(step(&mut events, &OPEN), Some(Injection::Reinject(fault)));
    assert!(events.is_empty(), "the handler returns to INT n");
}

#[test]
fn evt_7_a_fault_in_the_delivery_of_a_fault_is_a_double_then_a_triple_fault() {
    let mut events = events();
    events.interrupted(Event::Exception(Exception::pf(0, 0)));
    assert_eq!(events.fault_in_delivery(Exception::pf(0, 8)), Merged::DoubleFault);
    let df = Event::Exception(Exception::df());
    assert_eq!(step(&mut events, &OPEN), Some(Injection::Reinject(df)));
    events.interrupted(df);
    assert_eq!(events.fault_in_delivery(Exception::gp(0)), Merged::TripleFault);
    assert_eq!(step(&mut events, &OPEN), Some(Injection::TripleFault));
    assert_eq!(events.decide(&OPEN, false, None).window, NO_WINDOW);
}

#[test]
fn evt_7_an_exception_queued_before_the_exit_was_reported_still_merges() {
    let mut events = events();
    events.queue_exception(Exception::gp(0));
    events.interrupted(Event::Exception(Exception::pf(0, 0)));
    assert_eq!(step(&mut events, &OPEN), Some(Injection::Exception(Exception::df())));
}

/// How an entry goes.
#[derive(Clone, Copy, Debug)]
enum Entry {
    /// The event is delivered.
    Delivers,
    /// The guest is left in the middle of the delivery.
    Interrupted,
    /// The entry fails after the event was committed.
    Aborts,
    /// The backend refuses the event before it is committed.
    Refuses,
}

/// A PIC and a LAPIC that count, and a CPU whose entries go as told.
#[derive(Default)]
struct Machine {
    pic: VecDeque<u8>,
    lapic: VecDeque<u8>,
    acknowledged: Vec<u8>,
    delivered: Vec<u8>,
}

impl Machine {
    fn enter(&mut self, events: &mut Events, cpu: &Interruptibility, entry: Entry) {
        let lapic = self.lapic.front().copied();
        let decision = events.decide(cpu, !self.pic.is_empty(), lapic);
        let Some(injection) = decision.inject else { return };
        if matches!(entry, Entry::Refuses) {
            return;
        }
        events.commit(injection);
        let acknowledged = match injection {
            Injection::ExtInt => self.pic.pop_front(),
            Injection::Interrupt(_) => self.lapic.pop_front(),
            _ => None,
        };
        self.acknowledged.extend(acknowledged);
        let event = injection.event().or(acknowledged.map(Event::Interrupt)).unwrap();
        match entry {
            Entry::Delivers => self.delivered.push(event.vector()),
            Entry::Interrupted => events.interrupted(event),
            Entry::Aborts | Entry::Refuses => events.abort(event),
        }
        if matches!(entry, Entry::Delivers) && event == Event::Nmi {
            events.iret();
        }
    }
}

fn entries() -> impl Strategy<Value = Vec<(Interruptibility, Entry)>> {
    let entry = prop_oneof![
        Just(Entry::Delivers),
        Just(Entry::Interrupted),
        Just(Entry::Aborts),
        Just(Entry::Refuses)
    ];
    prop::collection::vec((strategies::running(), entry), 0..64)
}

proptest! {
    #[test]
    fn evt_7_each_event_is_acknowledged_and_delivered_exactly_once(
        pic in prop::collection::vec(0x20u8..0x30, 0..6),
        lapic in prop::collection::vec(0x30u8.., 0..6),
        nmi in any::<bool>(),
        page_fault in any::<bool>(),
        entries in entries(),
    ) {
        let mut events = events();
        let mut machine =
            Machine { pic: pic.clone().into(), lapic: lapic.clone().into(), ..Default::default() };
        if nmi {
            events.queue_nmi();
        }
        if page_fault {
            events.queue_exception(Exception::pf(0, 0));
        }
        for (cpu, entry) in &entries {
            machine.enter(&mut events, cpu, *entry);
        }
        for _ in 0..16 {
            machine.enter(&mut events, &OPEN, Entry::Delivers);
        }
        let sorted = |mut list: Vec<u8>| { list.sort_unstable(); list };
        let all: Vec<u8> = pic.iter().chain(&lapic).copied().collect();
        prop_assert_eq!(sorted(machine.acknowledged), sorted(all.clone()));
        let own = all.into_iter().chain(nmi.then_some(2)).chain(page_fault.then_some(14));
        prop_assert_eq!(sorted(machine.delivered), sorted(own.collect()));
        prop_assert!(events.is_empty());
    }
}
