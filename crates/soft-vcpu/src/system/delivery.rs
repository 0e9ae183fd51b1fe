// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Delivering an event through the IDT or the real-mode vector table.

use vcpu_events::Event;

use crate::cpu::{Cause, Cpu};
use crate::op::Trap;

impl Cpu {
    /// Delivers `event`: pushes its frame and goes to its handler. `rip` is where the event
    /// interrupts; an instruction's own event (INT n, INT3, INTO, INT1) has its length added.
    ///
    /// # Errors
    /// [`Trap`]: delivery raised an exception or stopped; nothing but memory was changed.
    pub fn deliver(&mut self, _: &Event) -> Result<(), Trap> {
        Err(self.stop(Cause::Unsupported("event delivery")))
    }
}
