// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What an IOAPIC does to the world.

use irq_routing::{Delivery, InterruptMessage};

/// Where an [`IoApic`](crate::IoApic)'s effects go. Implemented by every
/// `FnMut(InterruptMessage) -> Delivery` for those who need no more.
///
/// A method must not call back into the IOAPIC. A caller that holds a lock around the IOAPIC
/// either posts the message into the target's atomics or collects it for later.
pub trait IoApicEvents {
    /// Hands over one message.
    ///
    /// The answer decides about a level pin: unless it is [`Delivery::Ignored`], some local APIC
    /// accepted the interrupt and remote IRR is set. A caller that collects messages does not know
    /// yet and answers `Delivered(1)`.
    fn message(&mut self, message: InterruptMessage) -> Delivery;

    /// [`IoApic::level_vectors`](crate::IoApic::level_vectors) may have changed: time to compute
    /// the EOI-exit bitmaps again.
    fn routes_changed(&mut self) {}
}

impl<F: FnMut(InterruptMessage) -> Delivery> IoApicEvents for F {
    fn message(&mut self, message: InterruptMessage) -> Delivery {
        self(message)
    }
}
