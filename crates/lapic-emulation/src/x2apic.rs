// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The MSRs: IA32_APIC_BASE, IA32_TSC_DEADLINE and the x2APIC's (Intel SDM vol. 3, "x2APIC
//! Register Address Space", "Reserved Bit Checking", "MSR Access in x2APIC Mode").

use irq_routing::TriggerMode;

use crate::lapic::{GeneralProtection, Lapic, LapicEvents};
use crate::spec::{esr, reg, svr, tdcr, Icr, LvtIndex, FIRST_LEGAL_VECTOR};
use crate::spec::{MSR_APIC_BASE, MSR_TSC_DEADLINE, MSR_X2APIC_FIRST, MSR_X2APIC_LAST};
use crate::timer::Now;
use crate::ApicMode;

impl Lapic {
    /// Whether [`Lapic::msr_read`] and [`Lapic::msr_write`] answer for this MSR.
    pub const fn owns_msr(msr: u32) -> bool {
        matches!(msr, MSR_APIC_BASE | MSR_TSC_DEADLINE | MSR_X2APIC_FIRST..=MSR_X2APIC_LAST)
    }

    /// RDMSR.
    ///
    /// # Errors
    /// [`GeneralProtection`] for an MSR that does not exist or is write-only, for an x2APIC MSR
    /// outside x2APIC mode, and for IA32_TSC_DEADLINE without that mode.
    pub fn msr_read(&self, msr: u32, now: Now) -> Result<u64, GeneralProtection> {
        match msr {
            MSR_APIC_BASE => Ok(self.base),
            MSR_TSC_DEADLINE if self.config.tsc_deadline => Ok(self.timer.deadline()),
            MSR_X2APIC_FIRST..=MSR_X2APIC_LAST => self.x2apic_read(msr, now),
            _ => Err(GeneralProtection),
        }
    }

    /// WRMSR.
    ///
    /// # Errors
    /// [`GeneralProtection`] as for reads, for read-only registers, for reserved bits that are
    /// set and for an illegal mode transition; nothing has changed then.
    pub fn msr_write(
        &mut self,
        msr: u32,
        value: u64,
        now: Now,
        events: &mut impl LapicEvents,
    ) -> Result<(), GeneralProtection> {
        match msr {
            MSR_APIC_BASE => self.write_base(value, events),
            MSR_TSC_DEADLINE if self.config.tsc_deadline => {
                self.write_deadline(value, now);
                Ok(())
            }
            MSR_X2APIC_FIRST..=MSR_X2APIC_LAST => self.x2apic_write(msr, value, now, events),
            _ => Err(GeneralProtection),
        }
    }

    /// A deadline that has passed fires at once.
    fn write_deadline(&mut self, tsc: u64, now: Now) {
        self.advance(now);
        self.timer.set_deadline(tsc, now);
        self.advance(now);
    }

    fn x2apic_read(&self, msr: u32, now: Now) -> Result<u64, GeneralProtection> {
        match self.x2apic_offset(msr)? {
            reg::EOI | reg::SELF_IPI => Err(GeneralProtection),
            reg::ICR => Ok(self.regs.icr),
            offset => self.read_register(offset, now).map(u64::from).map_err(|_| GeneralProtection),
        }
    }

    fn x2apic_write(
        &mut self,
        msr: u32,
        value: u64,
        now: Now,
        events: &mut impl LapicEvents,
    ) -> Result<(), GeneralProtection> {
        let offset = self.x2apic_offset(msr)?;
        if value & !self.x2apic_writable(offset).ok_or(GeneralProtection)? != 0 {
            return Err(GeneralProtection);
        }
        match offset {
            reg::ICR => {
                self.regs.icr = value & !u64::from(Icr::DELIVERY_STATUS);
                self.send_icr(events);
            }
            reg::SELF_IPI => self.self_ipi(value as u8),
            _ => self
                .write_register(offset, value as u32, now, events)
                .map_err(|_| GeneralProtection)?,
        }
        Ok(())
    }

    /// The page offset that an MSR stands for. DFR, ICR high, remote read and arbitration
    /// priority have no MSR.
    fn x2apic_offset(&self, msr: u32) -> Result<u16, GeneralProtection> {
        let offset = ((msr - MSR_X2APIC_FIRST) << 4) as u16;
        match offset {
            reg::DFR | reg::ICR_HIGH | reg::RRD | reg::APR => Err(GeneralProtection),
            _ if self.mode() != ApicMode::X2apic => Err(GeneralProtection),
            _ => Ok(offset),
        }
    }

    /// The bits that a write may set; `None` for read-only and missing registers. The read-only
    /// bits of LVT entries and of ICR may be written and are ignored.
    fn x2apic_writable(&self, offset: u16) -> Option<u64> {
        Some(match offset {
            reg::TPR | reg::SELF_IPI => 0xff,
            reg::EOI | reg::ESR => 0,
            reg::SVR => svr::writable(self.config.directed_eoi).into(),
            reg::ICR => !0xffff_ffff | u64::from(Icr::WRITABLE_LOW | Icr::DELIVERY_STATUS),
            reg::TMICT => 0xffff_ffff,
            reg::TDCR => tdcr::WRITABLE.into(),
            _ => {
                let lvt = LvtIndex::from_offset(offset).filter(|lvt| self.has_lvt(*lvt))?;
                lvt.defined_bits(self.config.tsc_deadline).into()
            }
        })
    }

    /// SELF IPI register ("SELF IPI Register").
    fn self_ipi(&mut self, vector: u8) {
        match vector < FIRST_LEGAL_VECTOR {
            true => self.log_error(esr::SEND_ILLEGAL_VECTOR),
            false if self.software_enabled() => self.accept_vector(vector, TriggerMode::Edge),
            false => {}
        }
    }
}
