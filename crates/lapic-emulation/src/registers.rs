// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The registers, as both the page and the MSRs show them (Intel SDM vol. 3, "Local APIC Register
//! Address Map").

use crate::lapic::{Lapic, LapicEvents};
use crate::spec::{dfr, reg, svr, tdcr, LvtIndex, VERSION, VERSION_DIRECTED_EOI};
use crate::timer::Now;
use crate::ApicMode;

/// The register at that offset does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRegister;

impl Lapic {
    /// Reads the 32-bit register at a page offset. Write-only ones read as 0.
    pub(crate) fn read_register(&self, offset: u16, now: Now) -> Result<u32, NoRegister> {
        let regs = &self.regs;
        Ok(match offset {
            reg::ID => self.id_register(),
            reg::VERSION => self.version_register(),
            reg::TPR => regs.tpr.into(),
            reg::APR => self.apr().into(),
            reg::PPR => self.ppr().into(),
            reg::EOI | reg::RRD => 0,
            reg::LDR => self.ldr(),
            reg::DFR => regs.dfr,
            reg::SVR => regs.svr,
            reg::ISR..reg::TMR => regs.isr.register((offset - reg::ISR) >> 4),
            reg::TMR..reg::IRR => regs.tmr.register((offset - reg::TMR) >> 4),
            reg::IRR..reg::ESR => regs.irr.register((offset - reg::IRR) >> 4),
            reg::ESR => regs.esr,
            reg::ICR => regs.icr as u32,
            reg::ICR_HIGH => (regs.icr >> 32) as u32,
            reg::TMICT => self.timer.initial,
            reg::TMCCT => self.timer.current_count(now),
            reg::TDCR => self.timer.divide,
            _ => regs.lvt[self.lvt_at(offset)? as usize],
        })
    }

    /// Writes the 32-bit register at a page offset. Read-only ones and bits stay as they are. ICR
    /// is not here, since its width depends on the mode.
    pub(crate) fn write_register(
        &mut self,
        offset: u16,
        value: u32,
        now: Now,
        events: &mut impl LapicEvents,
    ) -> Result<(), NoRegister> {
        match offset {
            reg::TPR => self.regs.tpr = value as u8,
            reg::EOI => {
                self.eoi(events);
            }
            reg::LDR => self.write_ldr(value & 0xff00_0000, events),
            reg::DFR => self.write_dfr(value | dfr::ONES, events),
            reg::SVR => self.write_svr(value, now, events),
            reg::ESR => self.write_esr(),
            reg::TMICT => {
                self.advance(now);
                self.timer.set_initial(value, now);
            }
            reg::TDCR => {
                self.advance(now);
                self.timer.set_divide(value & tdcr::WRITABLE, now);
            }
            reg::ID | reg::VERSION | reg::APR | reg::PPR | reg::RRD | reg::TMCCT => {}
            reg::ISR..reg::ESR => {}
            _ => self.write_lvt(self.lvt_at(offset)?, value, now),
        }
        Ok(())
    }

    fn lvt_at(&self, offset: u16) -> Result<LvtIndex, NoRegister> {
        LvtIndex::from_offset(offset).filter(|index| self.has_lvt(*index)).ok_or(NoRegister)
    }

    fn id_register(&self) -> u32 {
        match self.mode() {
            ApicMode::X2apic => self.config.id,
            _ => self.config.id << 24,
        }
    }

    /// Bits 23:16 hold the number of LVT entries less one.
    fn version_register(&self) -> u32 {
        let max_lvt = if self.config.cmci { 6 } else { 5 };
        let directed_eoi = if self.config.directed_eoi { VERSION_DIRECTED_EOI } else { 0 };
        VERSION | max_lvt << 16 | directed_eoi
    }

    fn write_ldr(&mut self, ldr: u32, events: &mut impl LapicEvents) {
        if core::mem::replace(&mut self.regs.ldr, ldr) != ldr {
            events.map_changed();
        }
    }

    fn write_dfr(&mut self, dfr: u32, events: &mut impl LapicEvents) {
        if core::mem::replace(&mut self.regs.dfr, dfr) != dfr {
            events.map_changed();
        }
    }

    fn write_svr(&mut self, value: u32, now: Now, events: &mut impl LapicEvents) {
        let before = self.software_enabled();
        self.regs.svr = value & svr::writable(self.config.directed_eoi);
        if !self.software_enabled() {
            self.mask_lvts(now);
        }
        if before != self.software_enabled() {
            events.map_changed();
        }
    }
}
