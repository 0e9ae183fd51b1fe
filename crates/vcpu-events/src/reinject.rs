// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Events whose delivery was cut short: they come back, are delivered again and acknowledged
//! once.
//!
//! Intel SDM vol. 3, "Information for VM Exits That Occur During Event Delivery" and "Resuming
//! Guest Software after Handling an Exception"; AMD APM vol. 2, "Event Injection".

use crate::event::Event;
use crate::events::{Events, Slot, Vectoring};
use crate::exception::{Exception, Merged};

impl Events {
    /// The vCPU left the guest while it delivered `event` (VMX IDT-vectoring information, SVM
    /// EXITINTINFO): it is delivered again at the next entry, before anything else.
    ///
    /// Its interrupt stays acknowledged. An NMI unblocks NMIs first, since the interrupted
    /// delivery may have blocked them already. Call it before handling the exit.
    pub fn interrupted(&mut self, event: Event) {
        match event {
            Event::Exception(exception) => self.exception_interrupted(exception),
            Event::Interrupt(vector) => self.interrupt = Some(Vectoring::External(vector)),
            Event::SoftwareInterrupt(interrupt) => {
                self.interrupt = Some(Vectoring::Software(interrupt));
            }
            Event::Nmi => {
                self.nmi.injected = true;
                self.nmi.masked = false;
                // Two at most, the one under way included.
                self.nmi.pending = self.nmi.pending.min(1);
            }
        }
    }

    /// The entry that should have delivered `event` failed after [`commit`](Self::commit): the
    /// event comes back and is not acknowledged again. For ExtINT this is
    /// [`Event::Interrupt`] with the vector that INTA gave.
    pub fn abort(&mut self, event: Event) {
        self.interrupted(event);
    }

    /// The processor raised `fault` while it delivered the event that
    /// [`interrupted`](Self::interrupted) recorded just before, and the VMM lets the guest have
    /// it.
    ///
    /// It merges with an exception (#DF, triple fault). Before an NMI or an external interrupt
    /// it goes first and they follow as soon as the processor lets them through, so that an
    /// acknowledged interrupt is never lost; INT n, INT3 and INTO are dropped, for the handler
    /// returns to them.
    pub fn fault_in_delivery(&mut self, fault: Exception) -> Merged {
        if matches!(self.interrupt, Some(Vectoring::Software(_))) {
            self.interrupt = None;
        }
        self.merge(fault, true)
    }

    /// Whether something has to be delivered again.
    pub fn needs_reinjection(&self) -> bool {
        self.exception.is_some_and(|slot| slot.injected)
            || self.nmi.injected
            || self.interrupt.is_some()
    }

    /// What is queued came after what was being delivered.
    fn exception_interrupted(&mut self, first: Exception) {
        let queued = self.exception.replace(Slot { exception: first, injected: true });
        if let Some(second) = queued {
            self.merge(second.exception, second.injected);
        }
    }
}
