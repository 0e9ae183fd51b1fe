// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! EVT-9, against a model of KVM's side.

use proptest::prelude::*;
use std::vec::Vec;

use super::{CLI, INTERRUPT_WINDOW, OPEN};
use crate::{
    Decision, Events, Injection, InterruptSlot, Interruptibility, QueueError, RunIn, RunOut,
    Tracking,
};

const READY: RunOut = RunOut { ready_for_interrupt_injection: true, if_flag: true, cr8: 0 };
const SHUT: RunOut = RunOut { ready_for_interrupt_injection: false, if_flag: false, cr8: 0 };

fn ready_slot() -> InterruptSlot {
    let mut slot = InterruptSlot::new();
    slot.ran(&READY);
    slot
}

fn accept(_: u8) -> Result<(), ()> {
    Ok(())
}

#[test]
fn evt_9_before_the_first_run_nothing_is_queued_and_the_window_is_requested() {
    let mut slot = InterruptSlot::new();
    assert_eq!(slot.queue(0x30, accept), Err(QueueError::NotReady));
    let decision = Events::new(Tracking::Backend).decide(&slot.interruptibility(), true, None);
    assert_eq!(decision, Decision { inject: None, window: INTERRUPT_WINDOW });
    assert!(RunIn::new(&decision, 0).request_interrupt_window);
}

#[test]
fn evt_9_a_second_interrupt_is_an_error_and_no_overwrite() {
    let mut slot = ready_slot();
    let mut calls = Vec::new();
    let mut kvm = |vector| {
        calls.push(vector);
        Ok::<(), ()>(())
    };
    assert_eq!(slot.queue(0x30, &mut kvm), Ok(()));
    assert_eq!(slot.queue(0x31, &mut kvm), Err(QueueError::Busy { queued: 0x30 }));
    assert_eq!(slot.queued(), Some(0x30));
    assert_eq!(calls, [0x30], "the hypervisor was not asked");
    assert!(!slot.interruptibility().interrupt_allowed());
}

#[test]
fn evt_9_the_slot_is_free_again_when_the_hypervisor_says_so() {
    let mut slot = ready_slot();
    assert_eq!(slot.queue(0x30, accept), Ok(()));
    slot.ran(&SHUT);
    assert_eq!(slot.queue(0x31, accept), Err(QueueError::Busy { queued: 0x30 }));
    slot.ran(&READY);
    assert_eq!(slot.queue(0x31, accept), Ok(()));
}

#[test]
fn evt_9_a_failed_injection_takes_no_slot_and_loses_nothing() {
    let mut slot = ready_slot();
    assert_eq!(slot.queue(0x30, |_| Err("ENXIO")), Err(QueueError::Hypervisor("ENXIO")));
    assert_eq!(slot.queued(), None);
    assert_eq!(slot.queue(0x30, accept), Ok(()));
}

#[test]
fn evt_9_flags_make_the_interruptibility() {
    let seen = |ready_for_interrupt_injection, if_flag| {
        let mut slot = InterruptSlot::new();
        slot.ran(&RunOut { ready_for_interrupt_injection, if_flag, cr8: 0 });
        slot.interruptibility()
    };
    assert_eq!(seen(true, true), OPEN);
    assert_eq!(seen(false, true), Interruptibility { slot_busy: true, ..OPEN }, "shadow");
    assert_eq!(seen(false, false), Interruptibility { slot_busy: true, ..CLI });
    assert!(seen(false, false).nmi_allowed(), "KVM latches NMIs itself");
}

#[test]
fn evt_9_run_fields_carry_cr8_and_the_window_and_no_immediate_exit() {
    let window =
        |interrupt| Decision { inject: None, window: crate::Window { interrupt, nmi: true } };
    let expected = RunIn { request_interrupt_window: true, cr8: 0xa, immediate_exit: false };
    assert_eq!(RunIn::new(&window(true), 0xfa), expected);
    assert!(!RunIn::new(&window(false), 0).request_interrupt_window, "an NMI needs none");
}

#[test]
fn evt_9_state_set_behind_its_back_makes_the_slot_unknown() {
    let mut slot = ready_slot();
    slot.invalidate();
    assert_eq!(slot.queue(0x30, accept), Err(QueueError::NotReady));
}

/// KVM without irqchip: one slot, delivered when IF allows.
#[derive(Default)]
struct Kvm {
    slot: Option<u8>,
    interrupt_flag: bool,
    delivered: Vec<u8>,
}

impl Kvm {
    /// KVM_INTERRUPT; `fails` as for a signal or a fault.
    fn interrupt(&mut self, vector: u8, fails: bool) -> Result<(), ()> {
        assert_eq!(self.slot, None, "KVM would overwrite the queued vector");
        if fails {
            return Err(());
        }
        self.slot = Some(vector);
        Ok(())
    }

    /// KVM_RUN; the guest's IF is `if_flag` while it runs, and it exits as soon as the window is
    /// requested and open.
    fn run(&mut self, input: &RunIn, if_flag: bool) -> RunOut {
        if !input.immediate_exit {
            self.interrupt_flag = if_flag;
            if if_flag {
                self.delivered.extend(self.slot.take());
            }
        }
        RunOut {
            ready_for_interrupt_injection: self.interrupt_flag && self.slot.is_none(),
            if_flag: self.interrupt_flag,
            cr8: input.cr8,
        }
    }
}

proptest! {
    #[test]
    fn evt_9_every_interrupt_reaches_the_guest_once_and_in_order(
        vectors in prop::collection::vec(0x20u8.., 0..20),
        rounds in prop::collection::vec(any::<(bool, bool, bool)>(), 0..80),
    ) {
        let (mut kvm, mut slot) = (Kvm::default(), InterruptSlot::new());
        let mut events = Events::new(Tracking::Backend);
        let mut queue = vectors.iter().copied();
        let mut lapic = queue.next();
        let finish = core::iter::repeat_n((true, false, false), 2 * vectors.len() + 2);
        for (if_flag, fails, immediate_exit) in rounds.into_iter().chain(finish) {
            let decision = events.decide(&slot.interruptibility(), false, lapic);
            if let Some(injection @ Injection::Interrupt(vector)) = decision.inject {
                if slot.queue(vector, |vector| kvm.interrupt(vector, fails)).is_ok() {
                    events.commit(injection);
                    lapic = queue.next();
                }
            }
            let left = events.decide(&slot.interruptibility(), false, lapic);
            let input = RunIn { immediate_exit, ..RunIn::new(&left, 0) };
            prop_assert!(lapic.is_none() || left.inject.is_some() || input.request_interrupt_window);
            slot.ran(&kvm.run(&input, if_flag));
        }
        prop_assert_eq!(kvm.delivered, vectors);
    }
}
