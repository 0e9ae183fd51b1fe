// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The PIT on a vm-device port bus, whose accesses carry no time.

use vm_device::bus::{PioAddress, PioAddressOffset};
use vm_device::MutDevicePio;

use crate::spec::OPEN_BUS;
use crate::Pit;

/// A PIT with the clock that its accesses are timed by.
///
/// The port is `base + offset`, so 0x40..=0x43 and 0x61 are to be registered where they are. An
/// access that the PIT refuses reads as ones and writes nothing.
#[derive(Clone, Debug)]
pub struct PitDevice<C> {
    /// The timer.
    pub pit: Pit,
    /// Nanoseconds, monotonic.
    pub clock: C,
}

impl<C: FnMut() -> u64> MutDevicePio for PitDevice<C> {
    fn pio_read(&mut self, base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        let now = (self.clock)();
        if self.pit.read(base.0.wrapping_add(offset), data, now).is_err() {
            data.fill(OPEN_BUS);
        }
    }

    fn pio_write(&mut self, base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        let now = (self.clock)();
        // A refused write has no effect and nobody to tell.
        let _ = self.pit.write(base.0.wrapping_add(offset), data, now);
    }
}
