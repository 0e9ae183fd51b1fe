// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Interrupt messages: what the APIC bus carries.

use crate::Delivery;

/// Physical or logical destination that means every CPU.
///
/// Senders with 8-bit destinations (IOAPIC, MSI, an xAPIC's ICR) turn their 0xff into this
/// value, so that an x2APIC id of 255 stays an ordinary id.
pub const BROADCAST: u32 = 0xffff_ffff;

/// One interrupt message, as an IOAPIC, an MSI or an ICR write sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct InterruptMessage {
    /// 32-bit APIC id, or logical id, or [`BROADCAST`].
    pub destination: u32,
    /// How to read `destination`.
    pub destination_mode: DestinationMode,
    /// What the target does with it.
    pub delivery_mode: DeliveryMode,
    /// Recorded in the target's TMR: a level vector's EOI is broadcast.
    pub trigger_mode: TriggerMode,
    /// Vector, for the delivery modes that have one (for SIPI, the start page).
    pub vector: u8,
}

/// Where interrupt messages go: the destination map with its LAPICs, or a test's list.
pub trait MessageSink {
    /// Hands over one message. Must not call back into the sender.
    fn send(&mut self, message: InterruptMessage) -> Delivery;
}

impl<F: FnMut(InterruptMessage) -> Delivery> MessageSink for F {
    fn send(&mut self, message: InterruptMessage) -> Delivery {
        self(message)
    }
}

/// Delivery mode, 3 bits (Intel SDM vol. 3, "Interrupt Command Register (ICR)" and "Message
/// Data Register Format"; 82093AA, "I/O Redirection Table Registers").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(u8)]
pub enum DeliveryMode {
    /// To every addressed CPU, with a vector.
    Fixed = 0,
    /// To the addressed CPU that runs at the lowest priority, with a vector.
    LowestPriority = 1,
    /// System management interrupt.
    Smi = 2,
    /// Non-maskable interrupt.
    Nmi = 4,
    /// INIT.
    Init = 5,
    /// Start-up IPI; only from an ICR.
    StartUp = 6,
    /// The vector comes from the 8259A pair; not from an ICR.
    ExtInt = 7,
}

/// The delivery mode's bits hold the reserved value 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("delivery mode 0b011 is reserved")]
pub struct ReservedDeliveryMode;

impl DeliveryMode {
    /// Decodes the low 3 bits of `bits`.
    ///
    /// # Errors
    /// [`ReservedDeliveryMode`] for 0b011.
    pub const fn from_bits(bits: u8) -> Result<Self, ReservedDeliveryMode> {
        Ok(match bits & 7 {
            0 => DeliveryMode::Fixed,
            1 => DeliveryMode::LowestPriority,
            2 => DeliveryMode::Smi,
            4 => DeliveryMode::Nmi,
            5 => DeliveryMode::Init,
            6 => DeliveryMode::StartUp,
            7 => DeliveryMode::ExtInt,
            _ => return Err(ReservedDeliveryMode),
        })
    }

    /// The 3-bit encoding.
    pub const fn bits(self) -> u8 {
        self as u8
    }
}

/// Edge or level, as the message's trigger bit says it (bit 15 of an RTE, an ICR, MSI data).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum TriggerMode {
    /// 0: edge.
    #[default]
    Edge,
    /// 1: level.
    Level,
}

impl TriggerMode {
    /// From the trigger bit: `true` is level.
    pub const fn from_bit(level: bool) -> Self {
        if level {
            TriggerMode::Level
        } else {
            TriggerMode::Edge
        }
    }

    /// The trigger bit: `true` is level.
    pub const fn is_level(self) -> bool {
        matches!(self, TriggerMode::Level)
    }
}

/// How a destination is matched (Intel SDM vol. 3, "Determining IPI Destination").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum DestinationMode {
    /// 0: by local APIC id.
    #[default]
    Physical,
    /// 1: by logical APIC id.
    Logical,
}

impl DestinationMode {
    /// From the destination mode bit: `true` is logical.
    pub const fn from_bit(logical: bool) -> Self {
        if logical {
            DestinationMode::Logical
        } else {
            DestinationMode::Physical
        }
    }

    /// The destination mode bit: `true` is logical.
    pub const fn is_logical(self) -> bool {
        matches!(self, DestinationMode::Logical)
    }
}
