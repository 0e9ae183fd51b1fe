// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! IA32_APIC_BASE: where the APIC is, and in which mode (Intel SDM vol. 3, "Enabling or Disabling
//! the Local APIC", "x2APIC State Transitions").

use crate::lapic::{GeneralProtection, Lapic};
use crate::spec::{dfr, ApicBase, PAGE_SIZE};
use crate::LapicEvents;

/// The mode that IA32_APIC_BASE selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApicMode {
    /// EN = 0: the CPU behaves as one without APIC.
    Disabled,
    /// EN = 1, EXTD = 0: registers in memory.
    Xapic,
    /// EN = 1, EXTD = 1: registers are MSRs.
    X2apic,
}

impl ApicMode {
    /// The mode of an IA32_APIC_BASE value; `None` for EN = 0, EXTD = 1.
    pub const fn of(base: u64) -> Option<Self> {
        let base = ApicBase::from_bits(base);
        match (base.enable(), base.x2apic()) {
            (false, false) => Some(ApicMode::Disabled),
            (true, false) => Some(ApicMode::Xapic),
            (true, true) => Some(ApicMode::X2apic),
            (false, true) => None,
        }
    }
}

impl Lapic {
    /// Disabled, xAPIC or x2APIC.
    pub fn mode(&self) -> ApicMode {
        // Every way to set `base` refuses the invalid combination.
        ApicMode::of(self.base).unwrap_or(ApicMode::Disabled)
    }

    /// CPUID.1:EDX\[9\], which follows IA32_APIC_BASE.EN.
    pub fn apic_enabled(&self) -> bool {
        ApicBase::from_bits(self.base).enable()
    }

    /// CPUID.1:EBX\[31:24\]: the low 8 bits of the id.
    pub fn initial_apic_id(&self) -> u8 {
        self.config.id as u8
    }

    /// IA32_APIC_BASE.
    pub fn apic_base(&self) -> u64 {
        self.base
    }

    /// IA32_APIC_BASE bit 8.
    pub fn is_bsp(&self) -> bool {
        ApicBase::from_bits(self.base).bsp()
    }

    /// Guest-physical address of the 4-KiB register page; `None` while there is none.
    pub fn mmio_base(&self) -> Option<u64> {
        (self.mode() == ApicMode::Xapic).then_some(self.base & !(PAGE_SIZE - 1))
    }

    /// Bits of IA32_APIC_BASE that do not exist on this CPU.
    pub(crate) fn base_reserved(&self) -> u64 {
        let frame = (1u64 << self.config.physical_address_bits) - 1;
        let extd = if self.config.x2apic { 1 << 10 } else { 0 };
        !((frame & !(PAGE_SIZE - 1)) | 0x900 | extd)
    }

    pub(crate) fn write_base(
        &mut self,
        value: u64,
        events: &mut impl LapicEvents,
    ) -> Result<(), GeneralProtection> {
        if value & self.base_reserved() != 0 {
            return Err(GeneralProtection);
        }
        let (from, to) = (self.mode(), ApicMode::of(value).ok_or(GeneralProtection)?);
        match (from, to) {
            // x2APIC mode is entered from xAPIC mode and left by disabling only.
            (ApicMode::Disabled, ApicMode::X2apic) | (ApicMode::X2apic, ApicMode::Xapic) => {
                return Err(GeneralProtection)
            }
            _ => self.base = value,
        }
        if from != to {
            self.mode_changed(to);
            events.map_changed();
        }
        Ok(())
    }

    fn mode_changed(&mut self, to: ApicMode) {
        match to {
            // "Prior initialization to the APIC may be lost": it is.
            ApicMode::Disabled => self.reset_registers(),
            ApicMode::Xapic => {}
            // DFR does not exist there and LDR is derived; the way back leads through a reset.
            ApicMode::X2apic => {
                self.regs.ldr = 0;
                self.regs.dfr = dfr::RESET;
            }
        }
    }
}
