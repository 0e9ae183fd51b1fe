// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The register page on a vm-device bus.

use vm_device::bus::{MmioAddress, MmioAddressOffset};
use vm_device::MutDeviceMmio;

use crate::lapic::{Lapic, LapicEvents};
use crate::timer::Now;

/// A [`Lapic`] with its clock and its events: one vCPU's view of the register page. Each vCPU
/// needs a bus of its own for it, since all pages lie at the same address.
#[derive(Debug)]
pub struct BusLapic<C, E> {
    /// The local APIC.
    pub lapic: Lapic,
    /// Tells the time, see [`Now`].
    pub clock: C,
    /// Where IPIs and EOIs go.
    pub events: E,
}

impl<C: FnMut() -> Now, E: LapicEvents> MutDeviceMmio for BusLapic<C, E> {
    fn mmio_read(&mut self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        self.lapic.mmio_read(offset, data, (self.clock)());
    }

    fn mmio_write(&mut self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        self.lapic.mmio_write(offset, data, (self.clock)(), &mut self.events);
    }
}
