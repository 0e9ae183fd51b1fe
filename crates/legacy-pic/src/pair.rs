// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The two chips as a PC wires them.

use irq_routing::Delivery;

use crate::chip::Chip;
use crate::spec;
use crate::state::{InvalidState, PicState};

/// The master and slave 8259A with their ELCR.
///
/// The slave's INT drives the master's IR2; the master's INT is [`PicPair::intr`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PicPair {
    pub(crate) master: Chip,
    pub(crate) slave: Chip,
}

/// A port access that the pair has no answer to; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Not one of the pair's ports.
    #[error("port {0:#x} is not one of the 8259A pair's")]
    Port(u16),
    /// The ports are 8 bits wide; the value is the access's width in bytes.
    #[error("an access of {0} bytes to a byte-wide port")]
    Width(usize),
}

/// A pin number from 16 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the 8259A pair has pins 0 to 15, not {0}")]
pub struct InvalidPin(pub u8);

/// What an interrupt acknowledge cycle answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledge {
    /// The vector on the bus.
    pub vector: u8,
    /// Who put it there.
    pub source: Source,
}

/// Who answered an interrupt acknowledge cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A request on this pin (0..=15), which is now in service (unless in AEOI mode).
    Pin(u8),
    /// Nobody's request any more: IR7 of the master (7) or of the slave (15) by default.
    Spurious(u8),
    /// The master called a slave that is not there (wrong ICW3); the bus floated.
    Nobody,
}

/// A request that won, before anything is acknowledged.
enum Winner {
    Master(u8),
    Slave(Option<u8>),
    Absent(u8),
    None,
}

impl Default for PicPair {
    fn default() -> Self {
        Self::new()
    }
}

impl PicPair {
    /// A pair out of power-on: all lines low, silent until initialized.
    pub const fn new() -> Self {
        PicPair { master: Chip::new(true), slave: Chip::new(false) }
    }

    /// The pair that `state` describes.
    ///
    /// # Errors
    /// [`InvalidState`] names the first field that no 8259A can hold.
    pub fn from_state(state: &PicState) -> Result<Self, InvalidState> {
        state.restore()
    }

    /// All of the pair's state, including what has not been drained yet.
    pub fn state(&self) -> PicState {
        PicState::save(self)
    }

    /// System reset: power-on state, but the wires stay as their drivers have them, and what was
    /// in service counts as ended.
    pub fn reset(&mut self) {
        self.master.reset();
        self.slave.reset();
    }

    /// Reads one byte from port 0x20, 0x21, 0xa0, 0xa1, 0x4d0 or 0x4d1.
    ///
    /// # Errors
    /// [`AccessError`] for other ports and widths other than 1; `data` is then untouched.
    pub fn read(&mut self, port: u16, data: &mut [u8]) -> Result<(), AccessError> {
        check_port(port)?;
        let [byte] = data else { return Err(AccessError::Width(data.len())) };
        *byte = match port {
            spec::MASTER_ELCR => self.master.elcr,
            spec::SLAVE_ELCR => self.slave.elcr,
            spec::MASTER_COMMAND | spec::MASTER_DATA if self.master.poll => self.poll_master(),
            spec::SLAVE_COMMAND | spec::SLAVE_DATA if self.slave.poll => self.poll_slave(),
            spec::MASTER_DATA => self.master.imr,
            spec::SLAVE_DATA => self.slave.imr,
            spec::MASTER_COMMAND if self.master.read_isr => self.master.isr,
            spec::MASTER_COMMAND => self.master_requests(),
            _ if self.slave.read_isr => self.slave.isr,
            _ => self.slave.requests(),
        };
        Ok(())
    }

    /// Writes one byte to port 0x20, 0x21, 0xa0, 0xa1, 0x4d0 or 0x4d1.
    ///
    /// # Errors
    /// [`AccessError`] for other ports and widths other than 1; nothing changed then.
    pub fn write(&mut self, port: u16, data: &[u8]) -> Result<(), AccessError> {
        check_port(port)?;
        let &[byte] = data else { return Err(AccessError::Width(data.len())) };
        match port {
            spec::MASTER_COMMAND => self.master.write_command(byte),
            spec::MASTER_DATA => self.master.write_data(byte),
            spec::SLAVE_COMMAND => self.slave.write_command(byte),
            spec::SLAVE_DATA => self.slave.write_data(byte),
            spec::MASTER_ELCR => self.master.write_elcr(byte, spec::MASTER_ELCR_MASK),
            _ => self.slave.write_elcr(byte, spec::SLAVE_ELCR_MASK),
        }
        self.drive_cascade();
        Ok(())
    }

    /// Drives input `pin` (0..=15) high or low.
    ///
    /// `Delivered(1)` is a new request, `Coalesced` one that met its predecessor still waiting.
    /// A line that does not rise, or whose request cannot get out now (masked here or at the
    /// cascade, chip not initialized), is `Ignored`; edges are latched all the same. Pin 2 is the
    /// cascade, which only the slave drives: always `Ignored`.
    ///
    /// # Errors
    /// [`InvalidPin`] from 16 on.
    pub fn set_irq(&mut self, pin: u8, high: bool) -> Result<Delivery, InvalidPin> {
        if pin >= spec::PINS {
            return Err(InvalidPin(pin));
        }
        if pin == spec::CASCADE_PIN {
            return Ok(Delivery::Ignored);
        }
        let (level, bit) = (pin & 7, 1u8 << (pin & 7));
        let masked = self.masked(pin);
        let chip = if pin < 8 { &mut self.master } else { &mut self.slave };
        let rising = high && chip.lines & bit == 0;
        let waiting = chip.requests() & bit != 0;
        chip.input(level, high);
        self.drive_cascade();
        Ok(match (rising && !masked, waiting) {
            (false, _) => Delivery::Ignored,
            (true, true) => Delivery::Coalesced,
            (true, false) => Delivery::Delivered(1),
        })
    }

    /// The INT output to the CPU (or to LINT0, or to an IOAPIC's ExtINT pin).
    pub fn intr(&self) -> bool {
        self.master.ready() && self.master.resolve(self.master_requests()).is_some()
    }

    /// The vector that [`PicPair::inta`] would answer now; `None` while INT is low. Changes
    /// nothing.
    pub fn peek(&self) -> Option<u8> {
        if !self.intr() {
            return None;
        }
        match self.winner() {
            Winner::Master(level) => Some(self.master.vector(level)),
            Winner::Slave(Some(level)) => Some(self.slave.vector(level)),
            Winner::Absent(_) => Some(spec::OPEN_BUS),
            Winner::Slave(None) | Winner::None => None,
        }
    }

    /// An interrupt acknowledge cycle, of which only the vector is of interest.
    pub fn inta(&mut self) -> Option<u8> {
        self.acknowledge().map(|acknowledge| acknowledge.vector)
    }

    /// An interrupt acknowledge cycle: the highest request goes into service and its vector on
    /// the bus (8259A, "Interrupt Sequence", and "Cascade Mode").
    ///
    /// `None` while the master is not initialized. With the request gone, IR7's vector comes out
    /// and nothing goes into service, but for the master's IR2 where the slave is spurious.
    pub fn acknowledge(&mut self) -> Option<Acknowledge> {
        if !self.master.ready() {
            return None;
        }
        Some(match self.winner() {
            Winner::Master(level) => {
                self.master.acknowledge(level);
                Acknowledge { vector: self.master.vector(level), source: Source::Pin(level) }
            }
            Winner::Absent(level) => {
                self.master.acknowledge(level);
                Acknowledge { vector: spec::OPEN_BUS, source: Source::Nobody }
            }
            Winner::Slave(Some(level)) => {
                self.master.acknowledge(spec::CASCADE_PIN);
                self.acknowledge_slave(level);
                Acknowledge { vector: self.slave.vector(level), source: Source::Pin(8 + level) }
            }
            Winner::Slave(None) => {
                self.master.acknowledge(spec::CASCADE_PIN);
                Acknowledge { vector: self.slave.vector(7), source: Source::Spurious(15) }
            }
            Winner::None => {
                Acknowledge { vector: self.master.vector(7), source: Source::Spurious(7) }
            }
        })
    }

    /// Pins (bit n: pin n) that left service since the last call, by EOI, automatic EOI or
    /// initialization: the moment to resample level lines. Never bit 2.
    pub fn drain_eoi(&mut self) -> u16 {
        let pins = self.ended();
        self.master.ended = 0;
        self.slave.ended = 0;
        pins
    }

    pub(crate) fn ended(&self) -> u16 {
        u16::from_le_bytes([self.master.ended, self.slave.ended])
    }

    /// Whether a request on `pin` could not reach INT whatever its priority.
    fn masked(&self, pin: u8) -> bool {
        let cascade = 1 << spec::CASCADE_PIN;
        let blocked = |chip: &Chip, bit: u8| !chip.ready() || chip.imr & bit != 0;
        if pin < 8 {
            blocked(&self.master, 1 << pin)
        } else {
            blocked(&self.slave, 1 << (pin & 7)) || blocked(&self.master, cascade)
        }
    }

    /// Who would answer an acknowledge.
    ///
    /// IR2's latch outlives the slave's request, as every edge latch does; INT does not follow
    /// it, but where INT was seen and the request went away before the acknowledge, it tells the
    /// master to call the slave, which then answers with its own default.
    fn winner(&self) -> Winner {
        match self.master.resolve(self.master_requests()) {
            Some(level) if self.master.slaves() & (1 << level) == 0 => Winner::Master(level),
            Some(spec::CASCADE_PIN) if self.slave.icw3 == spec::CASCADE_PIN => {
                Winner::Slave(self.slave_level())
            }
            Some(level) => Winner::Absent(level),
            None if self.cascade_latch_wins() => Winner::Slave(None),
            None => Winner::None,
        }
    }

    fn cascade_latch_wins(&self) -> bool {
        self.master.resolve(self.master.requests()) == Some(spec::CASCADE_PIN)
            && self.master.slaves() & (1 << spec::CASCADE_PIN) != 0
            && self.slave.ready()
            && self.slave.icw3 == spec::CASCADE_PIN
    }

    /// The level that holds the slave's INT up.
    fn slave_level(&self) -> Option<u8> {
        if self.slave.ready() {
            self.slave.resolve(self.slave.requests())
        } else {
            None
        }
    }

    /// The master's requests, IR2 only while the slave's INT is up.
    fn master_requests(&self) -> u8 {
        let cascade = 1 << spec::CASCADE_PIN;
        let requests = self.master.requests();
        // A restored pair may not have seen the slave's edge yet.
        let edge = !self.master.lines & cascade;
        match self.slave_level() {
            Some(_) => requests | edge,
            None => requests & !cascade,
        }
    }

    /// Puts the slave's INT on the master's IR2.
    fn drive_cascade(&mut self) {
        let high = self.slave_level().is_some();
        self.master.input(spec::CASCADE_PIN, high);
    }

    /// The slave's part of an acknowledge. INT drops with it, so what is left is a new edge.
    fn acknowledge_slave(&mut self, level: u8) {
        self.slave.acknowledge(level);
        self.master.input(spec::CASCADE_PIN, false);
        self.drive_cascade();
    }

    /// A poll of the master (8259A, "Poll Command"). IR2 says that the slave is to be polled.
    fn poll_master(&mut self) -> u8 {
        self.master.poll = false;
        let level = match self.master.ready() {
            true => self.master.resolve(self.master_requests()),
            false => None,
        };
        let Some(level) = level else { return 0 };
        self.master.acknowledge(level);
        0x80 | level
    }

    /// A poll of the slave. The request that it takes is gone for the master too.
    fn poll_slave(&mut self) -> u8 {
        self.slave.poll = false;
        let Some(level) = self.slave_level() else { return 0 };
        self.master.irr &= !(1 << spec::CASCADE_PIN);
        self.acknowledge_slave(level);
        0x80 | level
    }
}

fn check_port(port: u16) -> Result<(), AccessError> {
    match port {
        spec::MASTER_COMMAND
        | spec::MASTER_DATA
        | spec::SLAVE_COMMAND
        | spec::SLAVE_DATA
        | spec::MASTER_ELCR
        | spec::SLAVE_ELCR => Ok(()),
        _ => Err(AccessError::Port(port)),
    }
}
