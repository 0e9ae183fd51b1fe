// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The register page of xAPIC mode (Intel SDM vol. 3, "Local APIC Register Address Map": 32-bit
//! registers at 16-byte boundaries, to be accessed with aligned 32-bit loads and stores).

use crate::lapic::{Lapic, LapicEvents};
use crate::spec::{esr, reg, Icr};
use crate::timer::Now;
use crate::ApicMode;

impl Lapic {
    /// Reads from the register page at `offset` (0..0x1000).
    ///
    /// The SDM leaves all but aligned 32-bit accesses undefined; here a load may cover any part
    /// of one 16-byte slot, whose upper 12 bytes are 0, and bytes beyond the slot read as 0. A
    /// reserved register reads as 0 and logs "illegal register address" in ESR. Outside xAPIC
    /// mode there is no page: all ones.
    pub fn mmio_read(&mut self, offset: u64, data: &mut [u8], now: Now) {
        if self.mode() != ApicMode::Xapic {
            data.fill(0xff);
            return;
        }
        let value = self.read_page(offset & !0xf, now).to_le_bytes();
        let within = (offset & 0xf) as usize;
        for (i, byte) in data.iter_mut().enumerate() {
            *byte = value.get(i.saturating_add(within)).copied().unwrap_or(0);
        }
    }

    /// Writes to the register page at `offset` (0..0x1000). Only aligned 32-bit stores have an
    /// effect, and only in xAPIC mode.
    pub fn mmio_write(
        &mut self,
        offset: u64,
        data: &[u8],
        now: Now,
        events: &mut impl LapicEvents,
    ) {
        if let (ApicMode::Xapic, 0, Ok(bytes)) = (self.mode(), offset & 0xf, data.try_into()) {
            self.write_page(offset, u32::from_le_bytes(bytes), now, events);
        }
    }

    fn read_page(&mut self, slot: u64, now: Now) -> u32 {
        let value = u16::try_from(slot).ok().and_then(|o| self.read_register(o, now).ok());
        value.unwrap_or_else(|| {
            self.log_error(esr::ILLEGAL_REGISTER);
            0
        })
    }

    fn write_page(&mut self, slot: u64, value: u32, now: Now, events: &mut impl LapicEvents) {
        match u16::try_from(slot) {
            Ok(reg::ICR) => {
                let writable = u64::from(value & Icr::WRITABLE_LOW);
                self.regs.icr = (self.regs.icr & !0xffff_ffff) | writable;
                self.send_icr(events);
            }
            Ok(reg::ICR_HIGH) => {
                let high = u64::from(value & Icr::WRITABLE_HIGH_XAPIC);
                self.regs.icr = (self.regs.icr & 0xffff_ffff) | high << 32;
            }
            Ok(offset) if self.write_register(offset, value, now, events).is_ok() => {}
            _ => self.log_error(esr::ILLEGAL_REGISTER),
        }
    }
}
