// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the guest sees: IOREGSEL, IOWIN, EOI and the registers behind them.

use crate::spec::{
    EOI, INDEX_ARBITRATION, INDEX_ID, INDEX_REDIRECTION_TABLE, INDEX_VERSION, IOREGSEL, IOWIN,
};
use crate::{IoApic, IoApicEvents, PinSet, Rte, Version};

impl IoApic {
    /// The guest reads `data.len()` bytes at `offset` of the MMIO window.
    ///
    /// The data sheet defines 32-bit reads at the registers' offsets. Any other read gets the bytes
    /// that it covers of the register in its 16-byte slot, and 0 for all else, as do reads of the
    /// EOI register and of reserved registers.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        let value = match offset & !0xf {
            IOREGSEL => u32::from(self.ioregsel),
            IOWIN => self.read_register(self.ioregsel),
            _ => 0,
        };
        let bytes = value.to_le_bytes();
        let covered = bytes.iter().skip((offset & 0xf) as usize).chain(core::iter::repeat(&0));
        data.iter_mut().zip(covered).for_each(|(to, from)| *to = *from);
    }

    /// The guest writes `data` at `offset` of the MMIO window.
    ///
    /// The data sheet defines 32-bit writes at the registers' offsets. IOREGSEL and EOI, which hold
    /// one byte, take any width, IOWIN 4 bytes or more of which the first 4 count (narrower ones
    /// would tear an entry); everything else is ignored.
    ///
    /// Returns the pins to be serviced: those whose interrupt the guest has ended through the EOI
    /// register, or a level pin that the guest has made ready to send, typically by unmasking it
    /// while it is asserted. Ask their sources whether they still assert the line (a handler that ran
    /// masked has often served the device meanwhile), then call [`service`](Self::service).
    #[must_use = "these pins stay silent until `service` is called with them"]
    pub fn write(
        &mut self,
        offset: u64,
        data: &[u8],
        events: &mut (impl IoApicEvents + ?Sized),
    ) -> PinSet {
        match (offset, data) {
            (IOREGSEL, [low, rest @ ..]) => {
                let high = rest.first().copied().unwrap_or(0);
                self.ioregsel = u16::from_le_bytes([*low, high]) & self.config.ioregsel_mask();
                PinSet::EMPTY
            }
            (IOWIN, [a, b, c, d, ..]) => {
                self.write_register(self.ioregsel, u32::from_le_bytes([*a, *b, *c, *d]), events)
            }
            (EOI, [vector, ..]) if self.config.version == Version::V20 => self.eoi(*vector, events),
            _ => PinSet::EMPTY,
        }
    }

    fn read_register(&self, index: u16) -> u32 {
        match index {
            // The arbitration id is loaded from the id, and arbitration itself is not modelled.
            INDEX_ID | INDEX_ARBITRATION => u32::from(self.id) << 24,
            INDEX_VERSION => {
                u32::from(self.config.pins - 1) << 16 | u32::from(self.config.version as u8)
            }
            _ => redirection(index)
                .and_then(|(pin, half)| Some(half.of(self.entry(pin)?)))
                .unwrap_or(0),
        }
    }

    fn write_register(
        &mut self,
        index: u16,
        value: u32,
        events: &mut (impl IoApicEvents + ?Sized),
    ) -> PinSet {
        match index {
            INDEX_ID => self.id = (value >> 24) as u8 & 0xf,
            _ => {
                if let Some((pin, half)) = redirection(index).filter(|(p, _)| *p < self.config.pins)
                {
                    return self.write_entry(pin, half, value, events);
                }
            }
        }
        PinSet::EMPTY
    }

    fn write_entry(
        &mut self,
        pin: u8,
        half: Half,
        value: u32,
        events: &mut (impl IoApicEvents + ?Sized),
    ) -> PinSet {
        let before = self.level_vectors_of(pin);
        let rte = &mut self.pins[usize::from(pin)].rte;
        let writable = Rte::writable(self.config.extended_destination);
        *rte = Rte::from_bits(half.replace(rte.into_bits(), value) & writable);
        let (level, masked) = (rte.level(), rte.masked());
        if !level {
            // 82093AA calls remote IRR undefined for edge; hardware clears it, and Linux ends level
            // interrupts of version 0x11 in this way (`__eoi_ioapic_pin`).
            self.remote_irr.remove(pin);
        }
        if masked || !level {
            // A guest that masks the pin is in control of it again.
            self.paused.remove(pin);
        }
        if before != self.level_vectors_of(pin) {
            events.routes_changed();
        }
        let ready = self.entry(pin).is_some_and(|rte| rte.delivery_status());
        if ready {
            PinSet::only(pin)
        } else {
            PinSet::EMPTY
        }
    }
}

/// Half of a redirection table entry, as IOWIN shows it.
#[derive(Clone, Copy)]
enum Half {
    Low,
    High,
}

impl Half {
    fn of(self, rte: Rte) -> u32 {
        match self {
            Half::Low => rte.into_bits() as u32,
            Half::High => (rte.into_bits() >> 32) as u32,
        }
    }

    fn replace(self, bits: u64, value: u32) -> u64 {
        match self {
            Half::Low => bits & !0xffff_ffff | u64::from(value),
            Half::High => bits & 0xffff_ffff | u64::from(value) << 32,
        }
    }
}

/// Which half of which pin's entry a register index means.
fn redirection(index: u16) -> Option<(u8, Half)> {
    let offset = index.checked_sub(INDEX_REDIRECTION_TABLE)?;
    let pin = u8::try_from(offset / 2).ok()?;
    Some((pin, if offset % 2 == 0 { Half::Low } else { Half::High }))
}
