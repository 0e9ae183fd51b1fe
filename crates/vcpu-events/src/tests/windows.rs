// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! EVT-5.

use super::{events, step, BOTH_WINDOWS, CLI, INTERRUPT_WINDOW, NMI_WINDOW, NO_WINDOW, OPEN};
use crate::{
    Activity, Decision, Event, Events, Exception, Injection, Interruptibility, Shadow,
    SoftwareInterrupt, Tracking,
};

const STI: Shadow = Shadow { sti: true, mov_ss: false };
const MOV_SS: Shadow = Shadow { sti: false, mov_ss: true };

fn wait(window: crate::Window) -> Decision {
    Decision { inject: None, window }
}

fn inject(injection: Injection) -> Decision {
    Decision { inject: Some(injection), window: NO_WINDOW }
}

/// Name, state, and whether an interrupt, an NMI and an SMI get through.
#[rustfmt::skip]
fn cases() -> [(&'static str, Interruptibility, [bool; 3]); 12] {
    let at = |activity| Interruptibility { activity, ..OPEN };
    [
        ("open", OPEN, [true, true, true]),
        ("IF clear", CLI, [false, true, true]),
        ("STI shadow", Interruptibility { shadow: STI, ..OPEN }, [false, false, true]),
        ("MOV SS shadow", Interruptibility { shadow: MOV_SS, ..OPEN }, [false, false, true]),
        ("NMI blocked", Interruptibility { nmi_blocked: true, ..OPEN }, [true, false, true]),
        ("SMM", Interruptibility { smm: true, ..OPEN }, [true, false, false]),
        ("pending debug trap", Interruptibility { pending_debug: true, ..OPEN }, [false, false, true]),
        ("GIF clear", Interruptibility { held: true, ..OPEN }, [false, false, false]),
        ("slot taken", Interruptibility { slot_busy: true, ..OPEN }, [false, true, true]),
        ("halted", at(Activity::Halted), [true, true, true]),
        ("shut down", at(Activity::Shutdown), [false, true, true]),
        ("waiting for SIPI", at(Activity::WaitForSipi), [false, false, false]),
    ]
}

#[test]
fn evt_5_what_the_processor_lets_through() {
    for (name, cpu, expected) in cases() {
        let allowed = [cpu.interrupt_allowed(), cpu.nmi_allowed(), cpu.smi_allowed()];
        assert_eq!(allowed, expected, "{name}");
    }
}

#[test]
fn evt_5_decisions_follow_what_is_let_through_and_ask_for_windows_otherwise() {
    for (name, cpu, [interrupt, nmi, smi]) in cases() {
        let waiting = cpu.activity == Activity::WaitForSipi;
        let or_wait = |allowed, injection, window| match allowed {
            true => inject(injection),
            false => wait(if waiting { NO_WINDOW } else { window }),
        };
        let lapic = events().decide(&cpu, false, Some(0x55));
        let expected = or_wait(interrupt, Injection::Interrupt(0x55), INTERRUPT_WINDOW);
        assert_eq!(lapic, expected, "LAPIC, {name}");
        let extint = events().decide(&cpu, true, None);
        assert_eq!(extint, or_wait(interrupt, Injection::ExtInt, INTERRUPT_WINDOW), "{name}");
        let mut with_nmi = events();
        with_nmi.queue_nmi();
        let decision = with_nmi.decide(&cpu, false, None);
        assert_eq!(decision, or_wait(nmi, Injection::Nmi, NMI_WINDOW), "NMI, {name}");
        let mut with_smi = events();
        with_smi.queue_smi();
        let decision = with_smi.decide(&cpu, false, None);
        assert_eq!(decision, or_wait(smi, Injection::Smi, NO_WINDOW), "SMI, {name}");
    }
}

#[test]
fn evt_5_exceptions_need_no_permission() {
    for (name, cpu, _) in cases() {
        if cpu.activity == Activity::WaitForSipi {
            continue;
        }
        let mut events = events();
        events.queue_exception(Exception::pf(0, 0));
        let expected = inject(Injection::Exception(Exception::pf(0, 0)));
        assert_eq!(events.decide(&cpu, false, None), expected, "{name}");
    }
}

#[test]
fn evt_5_with_nothing_waiting_no_window_is_asked_for() {
    for (name, cpu, _) in cases() {
        assert_eq!(events().decide(&cpu, false, None), wait(NO_WINDOW), "{name}");
    }
}

#[test]
fn evt_5_the_interrupt_comes_at_the_exit_that_the_window_caused() {
    let events = events();
    assert_eq!(events.decide(&CLI, false, Some(0x41)), wait(INTERRUPT_WINDOW));
    // The guest executed STI; the window opens after the shadow.
    let shadowed = Interruptibility { shadow: STI, ..OPEN };
    assert_eq!(events.decide(&shadowed, false, Some(0x41)), wait(INTERRUPT_WINDOW));
    assert_eq!(events.decide(&OPEN, false, Some(0x41)), inject(Injection::Interrupt(0x41)));
}

#[test]
fn evt_5_a_masked_nmi_does_not_hold_back_an_interrupt_that_gets_through() {
    let mut events = events();
    events.set_nmi_masked(true);
    events.queue_nmi();
    let decision = events.decide(&OPEN, false, Some(0x41));
    let expected = Decision { inject: Some(Injection::Interrupt(0x41)), window: NMI_WINDOW };
    assert_eq!(decision, expected);
    assert_eq!(events.decide(&CLI, false, Some(0x41)), wait(BOTH_WINDOWS));
}

#[test]
fn evt_5_a_halted_cpu_with_if_clear_is_woken_by_an_nmi_only() {
    let halted = Interruptibility { activity: Activity::Halted, ..CLI };
    let mut events = events();
    assert_eq!(events.decide(&halted, true, Some(0x41)).inject, None);
    events.queue_nmi();
    assert_eq!(events.decide(&halted, true, Some(0x41)).inject, Some(Injection::Nmi));
}

#[test]
fn evt_5_smm_latches_init_and_a_second_smi_until_rsm() {
    let mut events = events();
    events.queue_smi();
    assert!(!events.queue_smi(), "one SMI is latched");
    assert_eq!(step(&mut events, &OPEN), Some(Injection::Smi));
    assert!(events.in_smm() && events.nmi_masked());
    events.queue_smi();
    events.queue_init();
    events.queue_nmi();
    assert_eq!(events.decide(&CLI, false, None), wait(NMI_WINDOW));
    events.rsm();
    assert_eq!(step(&mut events, &OPEN), Some(Injection::Init));
}

#[test]
fn evt_5_rsm_restores_the_nmi_blocking_from_before_smm() {
    for masked in [false, true] {
        let mut events = events();
        events.set_nmi_masked(masked);
        events.queue_smi();
        assert_eq!(step(&mut events, &OPEN), Some(Injection::Smi));
        events.rsm();
        assert_eq!(events.nmi_masked(), masked);
        events.rsm();
        assert_eq!(events.nmi_masked(), masked, "RSM outside SMM does nothing here");
    }
}

#[test]
fn evt_5_a_backend_that_tracks_blocking_gets_nmis_and_smis_at_once() {
    let mut events = Events::new(Tracking::Backend);
    events.queue_nmi();
    events.queue_nmi();
    events.queue_smi();
    assert_eq!(step(&mut events, &CLI), Some(Injection::Smi));
    assert_eq!(step(&mut events, &CLI), Some(Injection::Nmi));
    assert_eq!(step(&mut events, &CLI), Some(Injection::Nmi));
    assert!(events.is_empty() && !events.nmi_masked() && !events.in_smm());
}

#[test]
fn evt_5_a_reinjected_interrupt_waits_where_the_entry_would_fail() {
    for cpu in [CLI, Interruptibility { shadow: STI, ..OPEN }] {
        let mut events = events();
        events.interrupted(Event::Interrupt(0x77));
        assert_eq!(events.decide(&cpu, false, Some(0x88)), wait(INTERRUPT_WINDOW));
        events.queue_exception(Exception::ud());
        let expected = Some(Injection::Exception(Exception::ud()));
        assert_eq!(events.decide(&cpu, false, None).inject, expected, "faults are not stuck");
    }
}

#[test]
fn evt_5_a_reinjected_nmi_waits_behind_a_shadow_for_the_nmi_window() {
    for shadow in [STI, MOV_SS] {
        let mut events = events();
        events.interrupted(Event::Nmi);
        let cpu = Interruptibility { shadow, ..OPEN };
        assert_eq!(events.decide(&cpu, false, None), wait(NMI_WINDOW));
        assert_eq!(events.decide(&OPEN, false, None), inject(Injection::Reinject(Event::Nmi)));
    }
}

#[test]
fn evt_5_what_waits_behind_another_reinjection_gets_its_window() {
    let mut events = events();
    events.interrupted(Event::Nmi);
    events.interrupted(Event::Exception(Exception::ud()));
    let decision = events.decide(&OPEN, false, None);
    let again = Injection::Reinject(Event::Exception(Exception::ud()));
    assert_eq!(decision, Decision { inject: Some(again), window: NMI_WINDOW });
}

#[test]
fn evt_5_a_reinjected_int_n_needs_neither_if_nor_a_window() {
    let int_80 = Event::SoftwareInterrupt(SoftwareInterrupt::new(0x80, 2).unwrap());
    let mut events = events();
    events.interrupted(int_80);
    let cpu = Interruptibility { shadow: STI, ..CLI };
    assert_eq!(events.decide(&cpu, false, None), inject(Injection::Reinject(int_80)));
}

#[test]
fn evt_5_init_waits_for_gif() {
    let mut events = events();
    events.queue_init();
    let held = Interruptibility { held: true, ..OPEN };
    assert_eq!(events.decide(&held, false, None), wait(NO_WINDOW));
    assert_eq!(events.decide(&OPEN, false, None), inject(Injection::Init));
}
