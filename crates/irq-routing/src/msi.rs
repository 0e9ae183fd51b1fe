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
    /// Bits 31:20 of the address are not 0xfee, or bits 39:32 are not 0.
    #[error("MSI address {0:#x} lies outside the interrupt window 0xfee00000..0xfef00000")]
    Address(u64),
    /// The data's delivery mode is reserved (3) or cannot come from a device (start-up).
    #[error("MSI data {0:#x} has a delivery mode that no device may use")]
    DeliveryMode(u32),
}

/// Why a message cannot be an MSI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unencodable {
    /// The destination does not fit the format.
    #[error("destination {destination:#x} does not fit the MSI format {format:?}")]
    Destination {
        /// The message's destination.
        destination: u32,
        /// The format.
        format: MsiFormat,
    },
    /// Start-up messages come from an ICR only.
    #[error("a start-up message cannot be an MSI")]
    StartUp,
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

/// Address bit 3.
const REDIRECTION_HINT: u64 = 1 << 3;

impl Msi {
    /// The message that this MSI means. A fixed one with the redirection hint (address bit 3)
    /// goes to one of those it addresses, as one with delivery mode lowest priority does.
    ///
    /// ```
    /// use irq_routing::{DeliveryMode, Msi, MsiFormat};
    ///
    /// let mode = |address| Msi { address, data: 0x41 }.decode(MsiFormat::Xapic).map(|m| m.delivery_mode);
    /// assert_eq!(mode(0xfee0_3004), Ok(DeliveryMode::Fixed));
    /// assert_eq!(mode(0xfee0_300c), Ok(DeliveryMode::LowestPriority));
    /// ```
    ///
    /// # Errors
    /// [`InvalidMsi`] where the address is outside the interrupt window or the delivery mode is
    /// reserved.
    pub fn decode(self, format: MsiFormat) -> Result<InterruptMessage, InvalidMsi> {
        if (self.address >> 20) & 0xf_ffff != 0xfee {
            return Err(InvalidMsi::Address(self.address));
        }
        let delivery_mode = DeliveryMode::from_bits((self.data >> 8) as u8)
            .ok()
            .filter(|mode| *mode != DeliveryMode::StartUp)
            .ok_or(InvalidMsi::DeliveryMode(self.data))?;
        // Redirection hint ("Message Address Register Format"): to the one of lowest priority.
        let delivery_mode = match delivery_mode {
            DeliveryMode::Fixed if self.address & REDIRECTION_HINT != 0 => {
                DeliveryMode::LowestPriority
            }
            mode => mode,
        };
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

    /// The MSI that means `message`: the inverse of [`Msi::decode`]. Level messages are
    /// asserted (data bit 14).
    ///
    /// # Errors
    /// [`Unencodable`].
    pub fn encode(message: &InterruptMessage, format: MsiFormat) -> Result<Self, Unencodable> {
        if message.delivery_mode == DeliveryMode::StartUp {
            return Err(Unencodable::StartUp);
        }
        let logical = u64::from(message.destination_mode.is_logical()) << 2;
        let level = if message.trigger_mode.is_level() { 0xc000 } else { 0 };
        Ok(Msi {
            address: 0xfee0_0000 | destination_bits(message.destination, format)? | logical,
            data: u32::from(message.vector) | u32::from(message.delivery_mode.bits()) << 8 | level,
        })
    }
}

/// The address bits that hold a destination.
fn destination_bits(destination: u32, format: MsiFormat) -> Result<u64, Unencodable> {
    let wide = u64::from(destination);
    let low = (wide & 0xff) << 12;
    match format {
        // 0xff is everyone here, so an id of 255 cannot be addressed.
        MsiFormat::Xapic if destination == BROADCAST => Ok(0xff << 12),
        MsiFormat::Xapic if destination < 0xff => Ok(low),
        MsiFormat::Extended15 if destination < 1 << 15 => Ok(low | (wide >> 8) << 5),
        MsiFormat::X2apic32 => Ok(low | (wide >> 8) << 40),
        _ => Err(Unencodable::Destination { destination, format }),
    }
}
