// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! An IOAPIC on vm-device's MMIO bus.

use irq_routing::{Delivery, Line, SourceId};
use vm_device::bus::{MmioAddress, MmioAddressOffset};
use vm_device::MutDeviceMmio;

use crate::{InvalidPin, IoApic, IoApicEvents, PinSet};

/// The surroundings of an [`IoApicDevice`]: [`IoApicEvents`] with a clock, and sources that can be
/// asked.
pub trait IoApicHost: IoApicEvents {
    /// The monotonic clock, in nanoseconds.
    fn now(&self) -> u64;

    /// An interrupt of `pin` was ended (or its entry unmasked) and `sources` drive it high: returns
    /// those of them that still want to. The default believes what they said last.
    fn resample(&mut self, pin: u8, sources: Line) -> Line {
        let _ = pin;
        sources
    }
}

/// An [`IoApic`] with its surroundings, for those who keep both behind one lock.
///
/// The two steps of an EOI become one: the host is asked for each pin in between. As the host is
/// called with the device borrowed, it must not call back into the bus.
#[derive(Clone, Debug)]
pub struct IoApicDevice<H> {
    ioapic: IoApic,
    host: H,
}

impl<H: IoApicHost> IoApicDevice<H> {
    /// Puts the two together.
    pub const fn new(ioapic: IoApic, host: H) -> Self {
        IoApicDevice { ioapic, host }
    }

    /// The IOAPIC, for its queries.
    pub const fn ioapic(&self) -> &IoApic {
        &self.ioapic
    }

    /// The surroundings.
    pub fn host_mut(&mut self) -> &mut H {
        &mut self.host
    }

    /// See [`IoApic::set_irq`].
    ///
    /// # Errors
    /// [`InvalidPin`], with nothing changed.
    pub fn set_irq(
        &mut self,
        pin: u8,
        source: SourceId,
        level: bool,
    ) -> Result<Delivery, InvalidPin> {
        self.ioapic.set_irq(pin, source, level, &mut self.host)
    }

    /// A local APIC broadcasts the EOI of `vector`.
    pub fn eoi(&mut self, vector: u8) {
        let pins = self.ioapic.eoi(vector, &mut self.host);
        self.resample(pins);
    }

    /// See [`IoApic::release`].
    pub fn release(&mut self, source: SourceId) {
        self.ioapic.release(source, &mut self.host);
    }

    /// See [`IoApic::reset`].
    pub fn reset(&mut self) {
        self.ioapic.reset(&mut self.host);
    }

    /// See [`IoApic::next_deadline`].
    pub fn next_deadline(&self) -> Option<u64> {
        self.ioapic.next_deadline()
    }

    /// Time has passed, up to the host's `now`.
    pub fn advance(&mut self) {
        let now = self.host.now();
        let _ = self.ioapic.advance(now, &mut self.host);
    }

    /// Sends level interrupts that nobody took so far; see [`IoApic::service`].
    pub fn service(&mut self, pins: PinSet) {
        let now = self.host.now();
        let _ = self.ioapic.service(pins, now, &mut self.host);
    }

    /// Takes the two apart.
    pub fn into_parts(self) -> (IoApic, H) {
        (self.ioapic, self.host)
    }

    fn resample(&mut self, pins: PinSet) {
        for pin in pins {
            let before = self.ioapic.line(pin).unwrap_or_default();
            let after = self.host.resample(pin, before);
            let dropped = before.sources & !after.sources;
            let gone = (0..SourceId::MAX).filter(|index| dropped & 1 << index != 0);
            for source in gone.filter_map(SourceId::new) {
                // The pin is one that the IOAPIC itself named.
                let _ = self.set_irq(pin, source, false);
            }
        }
        self.service(pins);
    }
}

impl<H: IoApicHost> MutDeviceMmio for IoApicDevice<H> {
    fn mmio_read(&mut self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        self.ioapic.read(offset, data);
    }

    fn mmio_write(&mut self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        let pins = self.ioapic.write(offset, data, &mut self.host);
        self.resample(pins);
    }
}
