// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What is fixed when the machine is built.

use crate::spec::{DEFAULT_BASE, DEFAULT_PINS, MAX_PINS, WINDOW_SIZE};
use crate::{Rte, Version};

/// What an [`IoApic`](crate::IoApic) is built from; none of it can be changed by the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Guest-physical address of the MMIO window, a multiple of 4096.
    pub base: u64,
    /// Pins, 1..=240. From 121 on IOREGSEL has 9 bits instead of 8, since the table would not fit.
    pub pins: u8,
    /// What the version register reads, and whether there is an EOI register.
    pub version: Version,
    /// IOAPICID after reset, 0..=15.
    pub id: u8,
    /// What bit 13 of an entry does.
    pub polarity: Polarity,
    /// Whether bits 55:49 of an entry are destination bits 14:8. Offer it to the guest
    /// (`KVM_FEATURE_MSI_EXT_DEST_ID`) in the same machine only.
    pub extended_destination: bool,
    /// When a level line that stays asserted is slowed down.
    pub storm_guard: StormGuard,
}

impl Default for Config {
    /// 24 pins at 0xfec00000, version 0x20, id 0, polarity ignored, 8-bit destinations.
    fn default() -> Self {
        Config {
            base: DEFAULT_BASE,
            pins: DEFAULT_PINS,
            version: Version::V20,
            id: 0,
            polarity: Polarity::Ignore,
            extended_destination: false,
            storm_guard: StormGuard::default(),
        }
    }
}

impl Config {
    /// Checks the ranges given with each field.
    ///
    /// # Errors
    /// [`ConfigError`], naming the field that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.pins == 0 || self.pins > MAX_PINS {
            return Err(ConfigError::Pins(self.pins));
        }
        if self.id > 0xf {
            return Err(ConfigError::Id(self.id));
        }
        if self.base % WINDOW_SIZE != 0 {
            return Err(ConfigError::Base(self.base));
        }
        if self.storm_guard.limit == 0 {
            return Err(ConfigError::StormLimit);
        }
        Ok(())
    }

    /// The bits of IOREGSEL that exist.
    pub(crate) const fn ioregsel_mask(&self) -> u16 {
        if self.pins <= 120 {
            0xff
        } else {
            0x1ff
        }
    }
}

/// Why an IOAPIC cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The number of pins is not within 1..=240.
    #[error("an IOAPIC has 1 to 240 pins, not {0}")]
    Pins(u8),
    /// The id does not fit its 4 bits.
    #[error("IOAPIC id {0} does not fit 4 bits")]
    Id(u8),
    /// The base is not a multiple of 4096.
    #[error("IOAPIC base {0:#x} is not a multiple of 4096")]
    Base(u64),
    /// The storm guard's limit is 0: no interrupt would ever be sent again at its EOI.
    #[error("the storm guard's limit is 0")]
    StormLimit,
}

/// What an entry's polarity bit (bit 13) does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Polarity {
    /// The bit is stored and means nothing: level `true` is "asserted" (KVM, QEMU).
    #[default]
    Ignore,
    /// Level `true` is electrically high, and an active-low pin is asserted while it is low (ACRN).
    ///
    /// The wire is high while any source drives it high; a source of an active-low pin must
    /// therefore drive it high while idle, and such a pin cannot be shared.
    Honour,
}

impl Polarity {
    /// From a wire's level to whether it is active, and back.
    pub(crate) fn convert(self, rte: Rte, level: bool) -> bool {
        level != (self == Polarity::Honour && rte.active_low())
    }
}

/// When a level line that is still asserted at each EOI is slowed down, so that a guest without a
/// working handler can make progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StormGuard {
    /// How many EOIs in a row may find the line asserted; the last of them starts the pause. Not 0.
    pub limit: u32,
    /// Length of the pause in nanoseconds.
    pub pause_ns: u64,
}

impl Default for StormGuard {
    /// Linux KVM's figures: `IOAPIC_SUCCESSIVE_IRQ_MAX_COUNT` 10 000, then `HZ / 100` = 10 ms.
    fn default() -> Self {
        StormGuard { limit: 10_000, pause_ns: 10_000_000 }
    }
}
