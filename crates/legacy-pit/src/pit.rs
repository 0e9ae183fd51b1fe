// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The three counters behind their ports.

use crate::counter::Counter;
use crate::spec::{self, ControlWord, PortB, ReadBack, REFRESH_TICKS};
use crate::state::{InvalidState, PitState};

/// The 8254 with system control port B (0x61).
///
/// Times are nanoseconds of a monotonic clock of the caller's. They may come late, but a time
/// that lies before an earlier one counts as that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pit {
    pub(crate) counters: [Counter; 3],
    /// Writable bits 1 to 3; GATE is in counter 2.
    pub(crate) port_b: PortB,
    /// Rises of IRQ0 that nobody asked for yet.
    pub(crate) edges: u64,
    /// Tick 0 of counter 1's clock in the refresh bit's period.
    pub(crate) refresh: u8,
    /// The latest time seen.
    pub(crate) now: u64,
}

/// What counter 0's OUT did since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Irq0 {
    /// Rising edges: interrupts, if the controller took each of them.
    pub edges: u64,
    /// The present level.
    pub level: bool,
}

/// A port access that the PIT has no answer to; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Not one of the PIT's ports.
    #[error("port {0:#x} is not one of the 8254's")]
    Port(u16),
    /// The ports are 8 bits wide; the value is the access's width in bytes.
    #[error("an access of {0} bytes to a byte-wide port")]
    Width(usize),
}

impl Pit {
    /// A PIT out of power-on: nothing runs, OUTs and GATEs 0 and 1 are high, GATE 2 is low.
    pub fn new(now: u64) -> Self {
        Pit {
            counters: [true, true, false].map(|gate| Counter::new(now, gate)),
            port_b: PortB::new(),
            edges: 0,
            refresh: 0,
            now,
        }
    }

    /// The PIT that `state` describes, going on at `now`.
    ///
    /// # Errors
    /// [`InvalidState`] names the first field that no 8254 can hold.
    pub fn from_state(state: &PitState, now: u64) -> Result<Self, InvalidState> {
        state.restore(now)
    }

    /// All of the PIT's state at `now`, in times relative to it.
    pub fn state(&self, now: u64) -> PitState {
        let mut pit = self.clone();
        pit.pass(now);
        PitState::save(&pit)
    }

    /// IRQ0 at `now`: how often it rose since the last call, and its level. However long the
    /// interval, this takes constant time.
    ///
    /// Counter 0 goes low for as little as one CLK, so a caller that drives a line gives it one
    /// pulse (low, high) where `edges` is not 0, and then `level`.
    pub fn advance(&mut self, now: u64) -> Irq0 {
        self.pass(now);
        let edges = core::mem::take(&mut self.edges);
        Irq0 { edges, level: self.counters[0].out() }
    }

    /// The time at which IRQ0 rises next, if no port is written before; `None`: never. A time in
    /// the past means that edges wait to be collected.
    ///
    /// Calling [`Pit::advance`] later than that loses nothing: a caller may hold a fast timer
    /// back.
    pub fn next_deadline(&self) -> Option<u64> {
        if self.edges > 0 {
            return Some(self.now);
        }
        let counter = &self.counters[0];
        counter.clock.when(counter.next_rise()?)
    }

    /// Whether the speaker's membrane is pushed out at `now`: OUT 2, where port 0x61 lets it
    /// through.
    pub fn speaker(&mut self, now: u64) -> bool {
        self.pass(now);
        self.port_b.speaker_data() && self.counters[2].out()
    }

    /// Reads one byte from port 0x40..=0x43 or 0x61. The control word register is write-only and
    /// reads as ones.
    ///
    /// # Errors
    /// [`AccessError`] for other ports and widths other than 1; `data` is then untouched.
    pub fn read(&mut self, port: u16, data: &mut [u8], now: u64) -> Result<(), AccessError> {
        check_port(port)?;
        let [byte] = data else { return Err(AccessError::Width(data.len())) };
        self.pass(now);
        let [counter_0, counter_1, counter_2] = &mut self.counters;
        *byte = match port {
            spec::COUNTER_0 => counter_0.read(),
            spec::COUNTER_1 => counter_1.read(),
            spec::COUNTER_2 => counter_2.read(),
            spec::PORT_B => self.read_port_b().into_bits(),
            _ => spec::OPEN_BUS,
        };
        Ok(())
    }

    /// Writes one byte to port 0x40..=0x43 or 0x61. Ask [`Pit::next_deadline`] again after it.
    ///
    /// # Errors
    /// [`AccessError`] for other ports and widths other than 1; nothing changed then.
    pub fn write(&mut self, port: u16, data: &[u8], now: u64) -> Result<(), AccessError> {
        check_port(port)?;
        let &[byte] = data else { return Err(AccessError::Width(data.len())) };
        self.pass(now);
        let [counter_0, counter_1, counter_2] = &mut self.counters;
        match port {
            spec::COUNTER_0 => counter_0.write(byte),
            spec::COUNTER_1 => counter_1.write(byte),
            spec::COUNTER_2 => counter_2.write(byte),
            spec::PORT_B => self.write_port_b(PortB::from_bits(byte)),
            _ => self.write_control(byte),
        }
        Ok(())
    }

    /// Lets time pass.
    fn pass(&mut self, now: u64) {
        self.now = self.now.max(now);
        let [counter_0, counter_1, counter_2] = &mut self.counters;
        let rises = counter_0.advance(self.now);
        self.edges = self.edges.saturating_add(rises);
        // Nobody listens to these two's edges.
        counter_1.advance(self.now);
        counter_2.advance(self.now);
    }

    fn write_control(&mut self, byte: u8) {
        let control = ControlWord::from_bits(byte);
        let Some(counter) = self.counters.get_mut(usize::from(control.sc())) else {
            return self.read_back(ReadBack::from_bits(byte));
        };
        if control.rw() == 0 {
            return counter.latch_count();
        }
        let before = counter.out();
        counter.program(control);
        // Out of mode 0, a control word by itself raises OUT.
        if control.sc() == 0 && !before && counter.out() {
            self.edges = self.edges.saturating_add(1);
        }
    }

    fn read_back(&mut self, command: ReadBack) {
        for (n, counter) in self.counters.iter_mut().enumerate() {
            if command.counters() >> n & 1 == 0 {
                continue;
            }
            if !command.no_count() {
                counter.latch_count();
            }
            if !command.no_status() {
                counter.latch_status();
            }
        }
    }

    fn read_port_b(&self) -> PortB {
        self.port_b
            .with_gate_2(self.counters[2].gate)
            .with_out_2(self.counters[2].out())
            .with_refresh(self.refresh_position() >= REFRESH_TICKS)
    }

    fn write_port_b(&mut self, value: PortB) {
        self.port_b = PortB::new()
            .with_speaker_data(value.speaker_data())
            .with_serr_disable(value.serr_disable())
            .with_iochk_disable(value.iochk_disable());
        self.counters[2].set_gate(value.gate_2());
    }

    /// CLKs since the refresh bit last went low, below twice [`REFRESH_TICKS`].
    pub(crate) fn refresh_position(&self) -> u8 {
        let ticks = self.counters[1].seen.unsigned_abs() + u64::from(self.refresh);
        (ticks % (2 * u64::from(REFRESH_TICKS))) as u8
    }
}

fn check_port(port: u16) -> Result<(), AccessError> {
    match port {
        spec::COUNTER_0..=spec::CONTROL | spec::PORT_B => Ok(()),
        _ => Err(AccessError::Port(port)),
    }
}
