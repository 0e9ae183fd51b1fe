// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Register layouts: Intel 82093AA data sheet (290566), "Register Description"; the EOI register
//! and version 0x20 from the ICH and PCH data sheets, "APIC Direct Registers".

use bitfield_struct::bitfield;
use irq_routing::{DeliveryMode, DestinationMode, InterruptMessage, TriggerMode, BROADCAST};

/// Guest-physical address of the first IOAPIC (82093AA, "I/O APIC Registers").
pub const DEFAULT_BASE: u64 = 0xfec0_0000;
/// Size of the MMIO window in bytes.
pub const WINDOW_SIZE: u64 = 0x1000;
/// Pins of the 82093AA and of every PC chipset since.
pub const DEFAULT_PINS: u8 = 24;
/// Pins that the version register's 8-bit "maximum redirection entry" may announce
/// (82093AA, "IOAPICVER": 0 through 239).
pub const MAX_PINS: u8 = 240;

/// Offset of IOREGSEL, the index of the register that IOWIN shows.
pub const IOREGSEL: u64 = 0x00;
/// Offset of IOWIN, the selected register.
pub const IOWIN: u64 = 0x10;
/// Offset of the EOI register (version 0x20 only; write-only).
pub const EOI: u64 = 0x40;

/// Index of IOAPICID: the id in bits 27:24.
pub const INDEX_ID: u16 = 0x00;
/// Index of IOAPICVER: version in bits 7:0, maximum redirection entry in bits 23:16.
pub const INDEX_VERSION: u16 = 0x01;
/// Index of IOAPICARB: the arbitration id in bits 27:24, loaded from IOAPICID.
pub const INDEX_ARBITRATION: u16 = 0x02;
/// Index of IOREDTBL\[0\]'s low half; its high half follows, then the next entry.
pub const INDEX_REDIRECTION_TABLE: u16 = 0x10;

/// The version register's bits 7:0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(u8)]
pub enum Version {
    /// 0x11, the 82093AA: no EOI register.
    V11 = 0x11,
    /// 0x20, ICH and later: with the EOI register at offset 0x40.
    #[default]
    V20 = 0x20,
}

/// One redirection table entry, 64 bits (82093AA, "IOREDTBL\[23:0\]: I/O Redirection Table
/// Registers").
#[bitfield(u64)]
#[derive(PartialEq, Eq, Hash)]
pub struct Rte {
    /// Bits 7:0: interrupt vector.
    #[bits(8)]
    pub vector: u8,
    /// Bits 10:8: delivery mode; 3 is reserved, 6 is not for an IOAPIC.
    #[bits(3)]
    pub delivery_mode_bits: u8,
    /// Bit 11: destination mode; logical when set.
    pub logical: bool,
    /// Bit 12, read-only: delivery status; send pending when set.
    pub delivery_status: bool,
    /// Bit 13: input polarity; active low when set.
    pub active_low: bool,
    /// Bit 14, read-only: remote IRR.
    pub remote_irr: bool,
    /// Bit 15: trigger mode; level when set.
    pub level: bool,
    /// Bit 16: masked when set.
    pub masked: bool,
    #[bits(32)]
    __: u32,
    /// Bits 55:49: destination bits 14:8, where extended destination ids are enabled (KVM's, Xen's
    /// and Hyper-V's convention; Linux `virt_destid_8_14`); reserved otherwise.
    #[bits(7)]
    pub destination_high: u8,
    /// Bits 63:56: destination bits 7:0.
    #[bits(8)]
    pub destination_low: u8,
}

impl Rte {
    /// After reset: masked, everything else 0.
    pub const RESET: Rte = Rte::new().with_masked(true);

    /// The bits that a guest can write.
    pub const fn writable(extended_destination: bool) -> u64 {
        const PLAIN: u64 = 0xff00_0000_0001_afff;
        const EXTENDED: u64 = 0x00fe_0000_0000_0000;
        if extended_destination {
            PLAIN | EXTENDED
        } else {
            PLAIN
        }
    }

    /// The delivery mode, `None` where an IOAPIC has none for those bits (reserved 3, start-up 6).
    pub fn delivery_mode(self) -> Option<DeliveryMode> {
        DeliveryMode::from_bits(self.delivery_mode_bits())
            .ok()
            .filter(|mode| *mode != DeliveryMode::StartUp)
    }

    /// The trigger mode that the pin really has.
    ///
    /// Level is for fixed and lowest priority only: the data sheet treats SMI, NMI, INIT and
    /// ExtINT as edge whatever bit 15 says, and no EOI would ever clear their remote IRR.
    pub fn trigger_mode(self) -> TriggerMode {
        let has_eoi = matches!(
            self.delivery_mode(),
            Some(DeliveryMode::Fixed | DeliveryMode::LowestPriority)
        );
        TriggerMode::from_bit(self.level() && has_eoi)
    }

    /// The message that this entry sends; `None` for delivery modes 3 and 6.
    pub fn message(self, extended_destination: bool) -> Option<InterruptMessage> {
        Some(InterruptMessage {
            destination: self.destination(extended_destination),
            destination_mode: DestinationMode::from_bit(self.logical()),
            delivery_mode: self.delivery_mode()?,
            trigger_mode: self.trigger_mode(),
            vector: self.vector(),
        })
    }

    /// 8-bit destination with 0xff widened to [`BROADCAST`], or the 15-bit one as it stands.
    fn destination(self, extended_destination: bool) -> u32 {
        let low = u32::from(self.destination_low());
        match (extended_destination, low) {
            (true, _) => u32::from(self.destination_high()) << 8 | low,
            (false, 0xff) => BROADCAST,
            (false, _) => low,
        }
    }
}
