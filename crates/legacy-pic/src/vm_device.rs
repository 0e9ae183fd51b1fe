// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The pair on a vm-device port bus.

use vm_device::bus::{PioAddress, PioAddressOffset};
use vm_device::MutDevicePio;

use crate::spec::OPEN_BUS;
use crate::PicPair;

/// The port is `base + offset`, so the ranges 0x20..=0x21, 0xa0..=0xa1 and 0x4d0..=0x4d1 are to
/// be registered where they are. An access that the pair refuses reads as ones and writes
/// nothing, as on an ISA bus where nobody answers.
impl MutDevicePio for PicPair {
    fn pio_read(&mut self, base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        if self.read(base.0.wrapping_add(offset), data).is_err() {
            data.fill(OPEN_BUS);
        }
    }

    fn pio_write(&mut self, base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        // A refused write has no effect and nobody to tell.
        let _ = self.write(base.0.wrapping_add(offset), data);
    }
}
