// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The 8254 and port 0x61 on the bus, with IRQ0 and a deadline.

use legacy_pit::Pit;
use vm_device::bus::{PioAddress, PioAddressOffset};
use vm_device::MutDevicePio;

use crate::alarm::Alarm;
use crate::devices::{SharedClock, SharedIrqLine};
use std::sync::Arc;

/// The timer, its line and its alarm.
pub struct PitDevice {
    pit: Pit,
    clock: SharedClock,
    line: SharedIrqLine,
    level: bool,
    alarm: Arc<Alarm>,
    armed: Option<u64>,
}

impl PitDevice {
    /// The timer after reset; `line` is IRQ0.
    pub fn new(clock: SharedClock, line: SharedIrqLine, alarm: Arc<Alarm>) -> Self {
        let pit = Pit::new(clock.now());
        PitDevice { pit, clock, line, level: false, alarm, armed: None }
    }

    /// Lets the output catch up with `now`. However many periods passed, the line sees one edge:
    /// the 8259A could hold no more.
    pub fn advance(&mut self, now: u64) {
        let output = self.pit.advance(now);
        if output.edges != 0 {
            self.drive(false);
            self.drive(true);
        }
        self.drive(output.level);
        let deadline = self.pit.next_deadline();
        if deadline != self.armed {
            self.armed = deadline;
            self.alarm.set(deadline);
        }
    }

    fn drive(&mut self, level: bool) {
        if level != self.level {
            self.level = level;
            self.line.set(level);
        }
    }
}

impl MutDevicePio for PitDevice {
    fn pio_read(&mut self, base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        let now = self.clock.now();
        if self.pit.read(base.0.wrapping_add(offset), data, now).is_err() {
            data.fill(0xff);
        }
    }

    fn pio_write(&mut self, base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        let now = self.clock.now();
        self.advance(now);
        if let Err(error) = self.pit.write(base.0.wrapping_add(offset), data, now) {
            log::debug!("8254: {error}");
        }
        self.advance(now);
    }
}
