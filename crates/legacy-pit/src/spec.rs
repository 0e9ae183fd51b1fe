// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Ports, frequency and command words of the 8254 as a PC has it.
//!
//! "8254" is Intel's data sheet "8254 Programmable Interval Timer" (order number 231164);
//! "82371AB" is the data sheet of the PIIX4, for port 0x61.

use bitfield_struct::bitfield;

/// CLK of all three counters in Hz: 14.318182 MHz / 12, the colour burst's multiple.
pub const FREQUENCY_HZ: u32 = 1_193_182;

/// Counter 0, whose OUT is IRQ0.
pub const COUNTER_0: u16 = 0x40;
/// Counter 1, once the DRAM refresh; its OUT goes nowhere.
pub const COUNTER_1: u16 = 0x41;
/// Counter 2, the speaker's, with its GATE and OUT in port 0x61.
pub const COUNTER_2: u16 = 0x42;
/// Control word register, write-only.
pub const CONTROL: u16 = 0x43;
/// System control port B.
pub const PORT_B: u16 = 0x61;

/// What nobody drives reads as ones.
pub const OPEN_BUS: u8 = 0xff;

/// CLKs between two toggles of port 0x61's refresh bit: 15 µs, as the PC's BIOS programs it.
pub const REFRESH_TICKS: u8 = 18;

/// The largest initial count, which is written as 0: 2^16 in binary.
pub const BINARY_COUNTS: u32 = 0x1_0000;
/// The largest initial count, which is written as 0: 10^4 in BCD.
pub const BCD_COUNTS: u32 = 10_000;

/// Control word (8254, "Control Word Format").
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct ControlWord {
    /// BCD: count in four decades instead of 16 bits.
    pub bcd: bool,
    /// M2..M0.
    #[bits(3)]
    pub mode: u8,
    /// RW1, RW0: 0 latches the count, 1 LSB only, 2 MSB only, 3 LSB then MSB.
    #[bits(2)]
    pub rw: u8,
    /// SC1, SC0: the counter, or 3 for a read-back command.
    #[bits(2)]
    pub sc: u8,
}

/// Read-back command (8254, "Read-Back Command").
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct ReadBack {
    /// Zero.
    _reserved: bool,
    /// CNT 2..0: the counters that it is for.
    #[bits(3)]
    pub counters: u8,
    /// STATUS#: 0 latches the status.
    pub no_status: bool,
    /// COUNT#: 0 latches the count.
    pub no_count: bool,
    /// Both set: this is what makes it a read-back command.
    #[bits(2)]
    pub sc: u8,
}

/// Status byte (8254, "Status Byte").
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Status {
    /// BCD, M2..M0, RW1 and RW0 exactly as they were programmed.
    #[bits(6)]
    pub programmed: u8,
    /// NULL COUNT: the counter has not loaded the last count written.
    pub null_count: bool,
    /// OUT.
    pub out: bool,
}

/// System control port B (82371AB, "NMISC - NMI Status and Control").
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct PortB {
    /// GATE of counter 2.
    pub gate_2: bool,
    /// OUT of counter 2 reaches the speaker.
    pub speaker_data: bool,
    /// PCI SERR# disable: stored.
    pub serr_disable: bool,
    /// IOCHK# disable: stored.
    pub iochk_disable: bool,
    /// Toggles with each refresh; read-only.
    pub refresh: bool,
    /// OUT of counter 2; read-only.
    pub out_2: bool,
    /// IOCHK# NMI source; never.
    pub iochk: bool,
    /// SERR# NMI source; never.
    pub serr: bool,
}

/// Counter modes (8254, "Mode Definitions").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// 0: interrupt on terminal count.
    TerminalCount,
    /// 1: hardware retriggerable one-shot.
    OneShot,
    /// 2: rate generator.
    RateGenerator,
    /// 3: square wave.
    SquareWave,
    /// 4: software triggered strobe.
    SoftwareStrobe,
    /// 5: hardware triggered strobe.
    HardwareStrobe,
}

impl Mode {
    /// From M2..M0, of which 6 and 7 are 2 and 3.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 7 {
            0 => Mode::TerminalCount,
            1 => Mode::OneShot,
            2 | 6 => Mode::RateGenerator,
            3 | 7 => Mode::SquareWave,
            4 => Mode::SoftwareStrobe,
            _ => Mode::HardwareStrobe,
        }
    }

    /// Whether GATE low stops the count (8254, "Gate Pin Operations Summary").
    pub const fn gate_stops(self) -> bool {
        !matches!(self, Mode::OneShot | Mode::HardwareStrobe)
    }

    /// Whether GATE's rising edge loads the count.
    pub const fn gate_triggers(self) -> bool {
        !matches!(self, Mode::TerminalCount | Mode::SoftwareStrobe)
    }

    /// Whether the count starts over by itself.
    pub const fn periodic(self) -> bool {
        matches!(self, Mode::RateGenerator | Mode::SquareWave)
    }
}
