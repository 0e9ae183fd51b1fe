// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Tests, a file per behaviour.

mod all;
mod encodings;
mod exceptions;
mod interleavings;
#[cfg(feature = "kvm")]
mod kvm_events;
mod mailbox;
mod nmi;
mod order;
mod protocol;
mod reinjection;
mod requests;
mod strategies;
mod windows;

use crate::{Events, Injection, Interruptibility, Tracking, Window};

/// A CPU with IF set and nothing in the way.
const OPEN: Interruptibility = Interruptibility::OPEN;
/// A CPU with IF clear and nothing else in the way.
const CLI: Interruptibility = Interruptibility::CLOSED;
const NO_WINDOW: Window = Window::NONE;
const INTERRUPT_WINDOW: Window = Window { interrupt: true, nmi: false };
const NMI_WINDOW: Window = Window { interrupt: false, nmi: true };
const BOTH_WINDOWS: Window = Window { interrupt: true, nmi: true };

fn events() -> Events {
    Events::new(Tracking::Here)
}

/// Decides without interrupts from controllers, and commits.
fn step(events: &mut Events, cpu: &Interruptibility) -> Option<Injection> {
    let inject = events.decide(cpu, false, None).inject;
    if let Some(injection) = inject {
        events.commit(injection);
    }
    inject
}
