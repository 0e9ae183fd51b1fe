// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Ports and command words of the 8259A pair.
//!
//! "8259A" is Intel's data sheet "8259A Programmable Interrupt Controller" (order number
//! 231468); "82371AB" is the data sheet of the PIIX4, whose pair and ELCR PCs have kept.

use bitfield_struct::bitfield;

/// Master, A0 = 0: ICW1, OCW2, OCW3; reads IRR, ISR or the poll word.
pub const MASTER_COMMAND: u16 = 0x20;
/// Master, A0 = 1: ICW2..4, OCW1; reads IMR.
pub const MASTER_DATA: u16 = 0x21;
/// Slave, A0 = 0.
pub const SLAVE_COMMAND: u16 = 0xa0;
/// Slave, A0 = 1.
pub const SLAVE_DATA: u16 = 0xa1;
/// Edge/level control register of the master (82371AB, "ELCR1").
pub const MASTER_ELCR: u16 = 0x4d0;
/// Edge/level control register of the slave (82371AB, "ELCR2").
pub const SLAVE_ELCR: u16 = 0x4d1;

/// The master's input that the slave's INT drives.
pub const CASCADE_PIN: u8 = 2;
/// Inputs of the pair, the cascade's included.
pub const PINS: u8 = 16;
/// What nobody drives reads as ones: also the "vector" when no slave answers the master.
pub const OPEN_BUS: u8 = 0xff;

/// ELCR bits of the master that exist: IRQ 0, 1 and 2 are always edge.
pub const MASTER_ELCR_MASK: u8 = 0xf8;
/// ELCR bits of the slave that exist: IRQ 8 and 13 are always edge.
pub const SLAVE_ELCR_MASK: u8 = 0xde;

/// Initialization Command Word 1 (8259A, "Initialization Command Words 1 and 2").
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Icw1 {
    /// IC4: ICW4 follows; without it everything that ICW4 selects is zero.
    pub ic4: bool,
    /// SNGL: no slaves, and no ICW3.
    pub sngl: bool,
    /// ADI: call address interval, MCS-80/85 only.
    pub adi: bool,
    /// LTIM: all inputs are level-triggered.
    pub ltim: bool,
    /// Set: this is what makes it an ICW1.
    pub is_icw1: bool,
    /// A7..A5 of the call address, MCS-80/85 only.
    #[bits(3)]
    pub a7_a5: u8,
}

/// Initialization Command Word 4 (8259A, "Initialization Command Word 4").
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Icw4 {
    /// µPM: 8086 mode. Stored; a PC's chip is always in 8086 mode.
    pub upm: bool,
    /// AEOI: the end of the acknowledge is the EOI.
    pub aeoi: bool,
    /// M/S: master, in buffered mode. Stored.
    pub ms: bool,
    /// BUF: buffered mode. Stored.
    pub buf: bool,
    /// SFNM: special fully nested mode.
    pub sfnm: bool,
    /// Reserved.
    #[bits(3)]
    _reserved: u8,
}

/// Operation Command Word 2: a command and the level it may be about (8259A, "Operation
/// Control Word 2").
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Ocw2 {
    /// L2..L0: level, where SL is set.
    #[bits(3)]
    pub level: u8,
    /// Zero in an OCW2.
    #[bits(2)]
    _select: u8,
    /// R, SL, EOI: see [`Command`].
    #[bits(3)]
    pub command: u8,
}

/// The eight commands of OCW2, by R, SL and EOI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Command {
    /// Rotate in automatic EOI mode, clear.
    ClearRotateInAutomaticEoi = 0,
    /// Non-specific EOI.
    NonSpecificEoi = 1,
    /// No operation.
    Nop = 2,
    /// Specific EOI.
    SpecificEoi = 3,
    /// Rotate in automatic EOI mode, set.
    SetRotateInAutomaticEoi = 4,
    /// Rotate on non-specific EOI.
    RotateOnNonSpecificEoi = 5,
    /// Set priority: the level becomes the lowest.
    SetPriority = 6,
    /// Rotate on specific EOI.
    RotateOnSpecificEoi = 7,
}

impl Ocw2 {
    /// What the three command bits ask for.
    pub const fn decode(self) -> Command {
        match self.command() {
            0 => Command::ClearRotateInAutomaticEoi,
            1 => Command::NonSpecificEoi,
            2 => Command::Nop,
            3 => Command::SpecificEoi,
            4 => Command::SetRotateInAutomaticEoi,
            5 => Command::RotateOnNonSpecificEoi,
            6 => Command::SetPriority,
            _ => Command::RotateOnSpecificEoi,
        }
    }
}

/// Operation Command Word 3 (8259A, "Operation Control Word 3").
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Ocw3 {
    /// RIS: with RR, 1 selects ISR and 0 IRR.
    pub ris: bool,
    /// RR: RIS counts.
    pub rr: bool,
    /// P: the next read is a poll.
    pub poll: bool,
    /// Set in an OCW3.
    pub is_ocw3: bool,
    /// Clear in an OCW3 (set: ICW1).
    pub is_icw1: bool,
    /// SMM: with ESMM, sets or clears the special mask mode.
    pub smm: bool,
    /// ESMM: SMM counts.
    pub esmm: bool,
    /// Zero.
    _reserved: bool,
}
