// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One counter's port: bytes, latches, binary and BCD.

use crate::counter::Counter;
use crate::spec::{Mode, Status};

/// Byte order and latches between the bus and the counting element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Port {
    /// The low byte of a count whose high byte is to come.
    pub(crate) write_low: Option<u8>,
    /// The next unlatched read gives the high byte.
    pub(crate) read_high: bool,
    pub(crate) count: Option<LatchedCount>,
    pub(crate) status: Option<u8>,
}

/// A latched count and what of it is still to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LatchedCount {
    /// The count as it will be read, binary or BCD.
    pub value: u16,
    /// What of it will be read.
    pub next: LatchedBytes,
}

/// The bytes of a latched count that are still to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum LatchedBytes {
    /// The low byte only.
    Low,
    /// The high byte only, or what is left of both.
    High,
    /// The low byte, then the high byte.
    Both,
}

impl Counter {
    /// RW1, RW0: 1 LSB, 2 MSB, 3 both, 0 before any control word.
    fn rw(&self) -> u8 {
        self.control.map_or(0, |control| control.rw())
    }

    /// A byte written to the counter's port. Before any control word it goes nowhere.
    pub(crate) fn write(&mut self, byte: u8) {
        match (self.rw(), self.port.write_low) {
            (1, _) => self.write_count([byte, 0]),
            (2, _) => self.write_count([0, byte]),
            (3, None) => {
                self.port.write_low = Some(byte);
                // 8254, "Mode 0", 1): the first byte disables counting, OUT goes low.
                if self.mode() == Some(Mode::TerminalCount) {
                    self.stop();
                }
            }
            (3, Some(low)) => {
                self.port.write_low = None;
                self.write_count([low, byte]);
            }
            _ => (),
        }
    }

    fn write_count(&mut self, bytes: [u8; 2]) {
        let count = self.decode(u16::from_le_bytes(bytes));
        self.set_initial(count);
    }

    /// A byte read from the counter's port (8254, "Read Operations").
    pub(crate) fn read(&mut self) -> u8 {
        if let Some(status) = self.port.status.take() {
            return status;
        }
        if let Some(latched) = self.port.count.take() {
            return self.read_latched(latched);
        }
        let [low, high] = self.encode(self.value()).to_le_bytes();
        match self.rw() {
            2 => high,
            3 => {
                self.port.read_high = !self.port.read_high;
                if self.port.read_high {
                    low
                } else {
                    high
                }
            }
            _ => low,
        }
    }

    fn read_latched(&mut self, latched: LatchedCount) -> u8 {
        let [low, high] = latched.value.to_le_bytes();
        match latched.next {
            LatchedBytes::Low => low,
            LatchedBytes::High => high,
            LatchedBytes::Both => {
                self.port.count = Some(LatchedCount { next: LatchedBytes::High, ..latched });
                low
            }
        }
    }

    /// Counter latch command: ignored while a latched count waits.
    pub(crate) fn latch_count(&mut self) {
        let next = match self.rw() {
            2 => LatchedBytes::High,
            3 => LatchedBytes::Both,
            _ => LatchedBytes::Low,
        };
        let value = self.encode(self.value());
        self.port.count.get_or_insert(LatchedCount { value, next });
    }

    /// Read-back of the status: ignored while a latched status waits.
    pub(crate) fn latch_status(&mut self) {
        let status = self.status().into_bits();
        self.port.status.get_or_insert(status);
    }

    pub(crate) fn status(&self) -> Status {
        Status::new()
            .with_programmed(self.control.map_or(0, |control| control.into_bits() & 0x3f))
            .with_null_count(self.null_count)
            .with_out(self.out())
    }

    fn bcd(&self) -> bool {
        self.control.is_some_and(|control| control.bcd())
    }

    /// An initial count as written, to 1..=65536 or 1..=10000. Nibbles above 9 are no BCD; they
    /// count what their place is worth.
    pub(crate) fn decode(&self, written: u16) -> u32 {
        let value = if self.bcd() { from_bcd(written) } else { u32::from(written) };
        match value % self.modulus() {
            0 => self.modulus(),
            count => count,
        }
    }

    /// A value of the counting element as it is read.
    pub(crate) fn encode(&self, value: u16) -> u16 {
        if self.bcd() {
            to_bcd(value)
        } else {
            value
        }
    }
}

fn from_bcd(digits: u16) -> u32 {
    let digit = |place: u32| u32::from(digits >> (4 * place)) & 0xf;
    digit(3) * 1000 + digit(2) * 100 + digit(1) * 10 + digit(0)
}

fn to_bcd(value: u16) -> u16 {
    let digit = |unit: u16| value / unit % 10;
    digit(1000) << 12 | digit(100) << 8 | digit(10) << 4 | digit(1)
}
