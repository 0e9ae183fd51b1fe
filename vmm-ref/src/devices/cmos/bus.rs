// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The chip on the bus.

use vm_device::bus::{PioAddress, PioAddressOffset};
use vm_device::MutDevicePio;

use super::{Cmos, CmosConfig};
use crate::devices::clock::{DeadlineNotifier, DeadlineWatch, SharedClock};
use crate::devices::irq::SharedIrqLine;
use crate::devices::ports;
use crate::layout;

const INDEX: u16 = layout::CMOS;
const DATA: u16 = layout::CMOS + 1;

/// [`Cmos`] at ports 0x70 and 0x71.
pub struct CmosDevice {
    model: Cmos,
    clock: SharedClock,
    line: SharedIrqLine,
    asserted: bool,
    deadline: DeadlineWatch,
}

impl CmosDevice {
    /// The chip after power-on; `line` is IRQ 8.
    pub fn new(config: &CmosConfig, clock: SharedClock, line: SharedIrqLine) -> Self {
        let model = Cmos::new(config, clock.now());
        Self { model, clock, line, asserted: false, deadline: DeadlineWatch::default() }
    }

    /// Calls `notifier` whenever an access changes [`next_deadline`](Self::next_deadline).
    pub fn notify_deadline(&mut self, notifier: DeadlineNotifier) {
        self.deadline.notify(notifier);
    }

    /// When [`advance`](Self::advance) must be called next.
    pub fn next_deadline(&self) -> Option<u64> {
        self.model.next_deadline()
    }

    /// Does what is due at `now`.
    pub fn advance(&mut self, now: u64) {
        self.model.advance(now);
        self.update();
    }

    /// The machine is reset: see [`Cmos::reset`].
    pub fn reset(&mut self) {
        self.model.reset();
        self.update();
    }

    /// Whether the guest has masked NMI with the index port's bit 7.
    pub fn nmi_masked(&self) -> bool {
        self.model.nmi_masked()
    }

    fn update(&mut self) {
        let irq = self.model.irq();
        if irq != self.asserted {
            self.asserted = irq;
            self.line.set(irq);
        }
        self.deadline.set(self.model.next_deadline());
    }
}

impl MutDevicePio for CmosDevice {
    fn pio_read(&mut self, base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        let now = self.clock.now();
        for (byte, port) in data.iter_mut().zip(ports(base, offset)) {
            // The index port is write-only.
            *byte = if port == DATA { self.model.read(now) } else { 0xff };
        }
        self.update();
    }

    fn pio_write(&mut self, base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        let now = self.clock.now();
        for (byte, port) in data.iter().zip(ports(base, offset)) {
            match port {
                INDEX => self.model.select(*byte),
                DATA => self.model.write(*byte, now),
                _ => {}
            }
        }
        self.update();
    }
}
