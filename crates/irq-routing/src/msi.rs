// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Message-signalled interrupts: address and data, and the message they mean.

use crate::{DeliveryMode, DestinationMode, InterruptMessage, TriggerMode, BROADCAST};

/// An MSI as a device writes it (Intel SDM vol. 3, "Message Signalled Interrupts").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Msi {
    /// 64-bit address: 0xfee in bits 31:20; bits 63:40 may hold destination bits 31:8.
    pub address: u64,
    /// 32-bit data.
    pub data: u32,
}

/// Why an MSI means no interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMsi {
    /// Bits 31:20 of the address are not 0xfee.
    #[error("MSI address {0:#x} lies outside the interrupt window 0xfee00000..0xfef00000")]
    Address(u64),
    /// The data's delivery mode is reserved (3) or cannot come from a device (start-up).
    #[error("MSI data {0:#x} has a delivery mode that no device may use")]
    DeliveryMode(u32),
}

/// How the destination bits above 7 are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum MsiFormat {
    /// 8-bit destination in address bits 19:12; 0xff is everyone.
    #[default]
    Xapic,
    /// As `Xapic`, and address bits 11:5 hold destination bits 14:8 (KVM's, Xen's and Hyper-V's
    /// extended destination id).
    Extended15,
    /// As `Xapic`, and address bits 63:40 hold destination bits 31:8 (`kvm_msi.address_hi` with
    /// `KVM_X2APIC_API_USE_32BIT_IDS`).
    X2apic32,
}

impl Msi {
    /// The message that this MSI means.
    ///
    /// # Errors
    /// [`InvalidMsi`] where the address is outside the interrupt window or the delivery mode is
    /// reserved.
    pub fn decode(self, format: MsiFormat) -> Result<InterruptMessage, InvalidMsi> {
        if (self.address >> 20) & 0xfff != 0xfee {
            return Err(InvalidMsi::Address(self.address));
        }
        let delivery_mode = DeliveryMode::from_bits((self.data >> 8) as u8)
            .ok()
            .filter(|mode| *mode != DeliveryMode::StartUp)
            .ok_or(InvalidMsi::DeliveryMode(self.data))?;
        Ok(InterruptMessage {
            destination: self.destination(format),
            destination_mode: DestinationMode::from_bit(self.address & 4 != 0),
            delivery_mode,
            trigger_mode: TriggerMode::from_bit(self.data & 0x8000 != 0),
            vector: self.data as u8,
        })
    }

    fn destination(self, format: MsiFormat) -> u32 {
        let low = (self.address >> 12) as u32 & 0xff;
        match format {
            MsiFormat::Xapic if low == 0xff => BROADCAST,
            MsiFormat::Xapic => low,
            MsiFormat::Extended15 => low | ((self.address >> 5) as u32 & 0x7f) << 8,
            MsiFormat::X2apic32 => low | (self.address >> 32) as u32 & 0xffff_ff00,
        }
    }
}
