// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! EVT-4.

use std::vec::Vec;

use super::{events, step, BOTH_WINDOWS, CLI, INTERRUPT_WINDOW, NMI_WINDOW, NO_WINDOW, OPEN};
use crate::{Activity, Decision, Event, Exception, Injection, Interruptibility};

const WAITING: Interruptibility = Interruptibility { activity: Activity::WaitForSipi, ..CLI };

#[test]
fn evt_4_everything_at_once_comes_in_the_documented_order() {
    let mut events = events();
    events.interrupted(Event::Nmi);
    events.interrupted(Event::Interrupt(0x51));
    events.queue_exception(Exception::gp(0));
    events.queue_smi();
    let (mut extint, mut lapic) = (true, Some(0x61));
    let mut order = Vec::new();
    while let Some(injection) = events.decide(&OPEN, extint, lapic).inject {
        events.commit(injection);
        match injection {
            Injection::Smi => events.rsm(),
            Injection::Reinject(Event::Nmi) => {
                events.iret();
                events.queue_nmi();
            }
            Injection::ExtInt => extint = false,
            Injection::Interrupt(_) => lapic = None,
            _ => {}
        }
        order.push(injection);
    }
    #[rustfmt::skip]
    assert_eq!(order, [
        Injection::Reinject(Event::Nmi),
        Injection::Reinject(Event::Interrupt(0x51)),
        Injection::Exception(Exception::gp(0)),
        Injection::Smi,
        Injection::Nmi,
        Injection::ExtInt,
        Injection::Interrupt(0x61),
    ]);
}

#[test]
fn evt_4_an_interrupted_exception_comes_before_other_reinjections() {
    let mut events = events();
    events.interrupted(Event::Interrupt(0x51));
    events.interrupted(Event::Exception(Exception::pf(0, 0)));
    let again = Injection::Reinject(Event::Exception(Exception::pf(0, 0)));
    assert_eq!(step(&mut events, &OPEN), Some(again));
    assert_eq!(step(&mut events, &OPEN), Some(Injection::Reinject(Event::Interrupt(0x51))));
}

#[test]
fn evt_4_triple_fault_init_and_sipi_come_before_everything() {
    let mut events = events();
    events.interrupted(Event::Interrupt(0x51));
    events.queue_exception(Exception::ud());
    events.queue_nmi();
    events.queue_init();
    events.queue_triple_fault();
    assert_eq!(step(&mut events, &OPEN), Some(Injection::TripleFault));
    assert_eq!(step(&mut events, &OPEN), Some(Injection::Init));
    assert!(events.is_empty(), "INIT drops what waited");
    events.queue_nmi();
    events.queue_sipi(0x9a);
    assert_eq!(step(&mut events, &WAITING), Some(Injection::StartUp(0x9a)));
    assert_eq!(step(&mut events, &OPEN), Some(Injection::Nmi), "the NMI waited for the start");
}

#[test]
fn evt_4_a_sipi_before_an_init_is_void_and_one_after_it_is_kept() {
    let mut events = events();
    events.queue_sipi(0x10);
    events.queue_init();
    assert_eq!(step(&mut events, &OPEN), Some(Injection::Init));
    assert_eq!(step(&mut events, &WAITING), None);
    events.queue_init();
    events.queue_sipi(0x20);
    events.queue_sipi(0x30);
    assert_eq!(step(&mut events, &WAITING), Some(Injection::Init));
    assert_eq!(step(&mut events, &WAITING), Some(Injection::StartUp(0x20)), "the first one counts");
    assert_eq!(step(&mut events, &WAITING), None);
}

#[test]
fn evt_4_a_running_cpu_ignores_a_sipi_and_a_waiting_one_everything_else() {
    let mut events = events();
    events.queue_sipi(0x10);
    assert_eq!(step(&mut events, &OPEN), None);
    events.reset();
    events.queue_exception(Exception::ud());
    events.queue_nmi();
    events.queue_smi();
    let nothing = Decision { inject: None, window: NO_WINDOW };
    assert_eq!(events.decide(&WAITING, true, Some(0x40)), nothing);
}

#[test]
fn evt_4_a_pending_nmi_does_not_overwrite_a_half_delivered_interrupt() {
    let mut events = events();
    events.interrupted(Event::Interrupt(0x33));
    events.queue_nmi();
    let again = Injection::Reinject(Event::Interrupt(0x33));
    let decision = events.decide(&OPEN, false, None);
    assert_eq!(decision, Decision { inject: Some(again), window: NMI_WINDOW });
    events.commit(again);
    assert_eq!(step(&mut events, &CLI), Some(Injection::Nmi));
}

#[test]
fn evt_4_extint_comes_before_the_lapic_which_gets_a_window() {
    let decision = events().decide(&OPEN, true, Some(0x60));
    let expected = Decision { inject: Some(Injection::ExtInt), window: INTERRUPT_WINDOW };
    assert_eq!(decision, expected);
}

#[test]
fn evt_4_deciding_changes_nothing() {
    let mut events = events();
    events.queue_exception(Exception::gp(0));
    events.queue_nmi();
    let before = events;
    let first = events.decide(&CLI, true, Some(0x60));
    assert_eq!(first, events.decide(&CLI, true, Some(0x60)));
    assert_eq!(first.window, BOTH_WINDOWS);
    assert_eq!(events, before);
}
