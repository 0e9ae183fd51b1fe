// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a local APIC is made as.

use irq_routing::BROADCAST;

/// Upper bound of both clock rates, in Hz; keeps the timer's arithmetic inside 128 bits.
pub const MAX_HZ: u64 = 1 << 37;

/// The fixed properties of one local APIC. They must agree with what CPUID tells the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// APIC id: CPUID.0xb:EDX, and with its low 8 bits CPUID.1:EBX\[31:24\]. Above 254 only
    /// reachable from x2APIC senders, and refused without [`Config::x2apic`].
    pub id: u32,
    /// Whether this is the bootstrap processor: IA32_APIC_BASE bit 8 at reset.
    pub bsp: bool,
    /// Frequency of the timer's input clock in Hz, 1 ..= 2^37. By default 1 GHz, as KVM's.
    pub bus_hz: u64,
    /// Frequency of the guest's TSC in Hz, 1 ..= 2^37; only the TSC-deadline mode uses it.
    pub tsc_hz: u64,
    /// Whether x2APIC mode exists: CPUID.1:ECX\[21\].
    pub x2apic: bool,
    /// Whether TSC-deadline mode exists: CPUID.1:ECX\[24\].
    pub tsc_deadline: bool,
    /// Whether SVR bit 12 exists and the version register says so (directed EOI): the guest
    /// then tells the IOAPIC itself, which must have an EOI register (version 0x20).
    pub directed_eoi: bool,
    /// Whether LVT CMCI exists: IA32_MCG_CAP\[10\].
    pub cmci: bool,
    /// CPUID.0x80000008:EAX\[7:0\], 32..=52: IA32_APIC_BASE has no address bits above.
    pub physical_address_bits: u8,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            id: 0,
            bsp: true,
            bus_hz: 1_000_000_000,
            tsc_hz: 1_000_000_000,
            x2apic: true,
            tsc_deadline: true,
            directed_eoi: false,
            cmci: false,
            physical_address_bits: 52,
        }
    }
}

/// A [`Config`] that no local APIC can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The id is the broadcast address, or above 254 without x2APIC.
    #[error("APIC id {0:#x} cannot be addressed")]
    Id(u32),
    /// A clock rate is 0 or above 2^37 Hz.
    #[error("a timer clock of {0} Hz is outside 1..=2^37")]
    Frequency(u64),
    /// Outside 32..=52.
    #[error("{0} physical address bits are outside 32..=52")]
    PhysicalAddressBits(u8),
}

impl Config {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.id == BROADCAST || (!self.x2apic && self.id >= 0xff) {
            return Err(ConfigError::Id(self.id));
        }
        for hz in [self.bus_hz, self.tsc_hz] {
            if hz == 0 || hz > MAX_HZ {
                return Err(ConfigError::Frequency(hz));
            }
        }
        if !(32..=52).contains(&self.physical_address_bits) {
            return Err(ConfigError::PhysicalAddressBits(self.physical_address_bits));
        }
        Ok(())
    }
}
