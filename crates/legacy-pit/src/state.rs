// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Saved state: plain data, in times relative to the moment of saving, checked when it comes
//! back.

use crate::clock::{Clock, PHASE_LIMIT};
use crate::counter::{Counter, Run};
use crate::pit::Pit;
use crate::port::{LatchedCount, Port};
use crate::spec::{ControlWord, PortB, BINARY_COUNTS, REFRESH_TICKS};

/// State of the PIT and of port 0x61.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PitState {
    /// Counters 0, 1 and 2.
    pub counters: [CounterState; 3],
    /// Bits 1 to 3 of port 0x61; the others are 0.
    pub port_b: u8,
    /// Rising edges of IRQ0 that were not collected yet.
    pub edges: u64,
    /// CLKs since port 0x61's refresh bit last went low, 0..36.
    pub refresh: u8,
}

/// State of one counter. Ticks are CLKs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CounterState {
    /// BCD, mode and RW (6 bits, RW not 0) as programmed; `None` since power-on.
    pub control: Option<u8>,
    /// GATE. Those of counters 0 and 1 are tied high.
    pub gate: bool,
    /// The count register, 1..=65536 (1..=10000 in BCD), once written.
    pub initial_count: Option<u32>,
    /// The counting element has not loaded it yet.
    pub null_count: bool,
    /// Ticks until it will, 1..=65536.
    pub load_in: Option<u32>,
    /// The count that runs or has run out.
    pub run: Option<RunState>,
    /// The counting element, 0..=65535 (0..=9999 in BCD), while there is none.
    pub rest: u16,
    /// How far into the present CLK the clock is, in 1/1193182 ns, below 10^9.
    pub phase: u32,
    /// The low byte of a count whose high byte is to come.
    pub write_low: Option<u8>,
    /// The next unlatched read gives the high byte.
    pub read_high: bool,
    /// The latched count.
    pub latched_count: Option<LatchedCount>,
    /// The latched status.
    pub latched_status: Option<u8>,
}

/// A loaded count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RunState {
    /// The initial count that was loaded, 1..=65536 (1..=10000 in BCD).
    pub count: u32,
    /// Ticks that were counted since (mode 3: since OUT went high), at most 2^60.
    pub counted: u64,
    /// Ticks since something stopped it, at most 2^60.
    pub halted_for: Option<u64>,
}

/// A field that no 8254 can hold, with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidState {
    /// A control word of more than 6 bits, or with RW = 0.
    #[error("control word {0:#04x} is none of a counter's")]
    Control(u8),
    /// GATE 0 or GATE 1 is low.
    #[error("GATE of counter {0} is low, but tied high")]
    Gate(usize),
    /// A count beyond its modulus, or 0.
    #[error("count {0} is out of range")]
    Count(u32),
    /// A time or phase out of range.
    #[error("a time of {0} ticks is out of range")]
    Time(u64),
    /// A half-written count without a control word that takes two bytes, a programmed counter
    /// that runs without an initial count, or a load of none.
    #[error("counter state contradicts itself: {0}")]
    Contradiction(&'static str),
    /// Port 0x61 has bits beyond 1 to 3.
    #[error("port 0x61 state {0:#04x} has bits other than 1 to 3")]
    PortB(u8),
    /// The refresh bit's period has 36 CLKs.
    #[error("refresh position {0} is not below 36")]
    Refresh(u8),
}

/// Longer than any clock of 64-bit nanoseconds lasts, and far from an overflow.
const MAX_TICKS: u64 = 1 << 60;

const PORT_B_WRITABLE: u8 = PortB::new().with_speaker_data(true).into_bits() | 1 << 2 | 1 << 3;

impl Default for CounterState {
    fn default() -> Self {
        Counter::new(0, true).state()
    }
}

impl PitState {
    pub(crate) fn save(pit: &Pit) -> Self {
        let Pit { counters, port_b, edges, refresh: _, now } = pit;
        let save = |counter: &Counter| CounterState {
            phase: counter.clock.phase(*now),
            ..counter.state()
        };
        PitState {
            counters: [save(&counters[0]), save(&counters[1]), save(&counters[2])],
            port_b: port_b.into_bits(),
            edges: *edges,
            refresh: pit.refresh_position(),
        }
    }

    pub(crate) fn restore(&self, now: u64) -> Result<Pit, InvalidState> {
        let PitState { counters: [counter_0, counter_1, counter_2], port_b, edges, refresh } =
            *self;
        if port_b & !PORT_B_WRITABLE != 0 {
            return Err(InvalidState::PortB(port_b));
        }
        if refresh >= 2 * REFRESH_TICKS {
            return Err(InvalidState::Refresh(refresh));
        }
        for (n, counter) in [counter_0, counter_1].iter().enumerate() {
            if !counter.gate {
                return Err(InvalidState::Gate(n));
            }
        }
        Ok(Pit {
            counters: [counter_0.restore(now)?, counter_1.restore(now)?, counter_2.restore(now)?],
            port_b: PortB::from_bits(port_b),
            edges,
            refresh,
            now,
        })
    }
}

impl CounterState {
    fn restore(&self, now: u64) -> Result<Counter, InvalidState> {
        self.check()?;
        // Exhaustive, so that a new field cannot be forgotten.
        let CounterState {
            control,
            gate,
            initial_count,
            null_count,
            load_in,
            run,
            rest,
            phase,
            write_low,
            read_high,
            latched_count,
            latched_status,
        } = *self;
        // Tick 0 is now.
        let halted = run.and_then(|run| run.halted_for).map(|ticks| -(ticks as i64));
        Ok(Counter {
            clock: Clock { epoch: now, phase },
            control: control.map(ControlWord::from_bits),
            gate,
            initial: initial_count,
            null_count,
            load_at: load_in.map(i64::from),
            run: run.map(|run| Run {
                start: halted.unwrap_or(0) - run.counted as i64,
                count: run.count,
            }),
            halted,
            rest,
            seen: 0,
            port: Port { write_low, read_high, count: latched_count, status: latched_status },
        })
    }

    fn check(&self) -> Result<(), InvalidState> {
        self.check_control()?;
        self.check_counts()?;
        self.check_times()?;
        let two_bytes = self.control.is_some_and(|control| control & 0x30 == 0x30);
        let contradictions = [
            (self.write_low.is_some() && !two_bytes, "half a count in a mode of one byte"),
            (self.read_high && !two_bytes, "half a read in a mode of one byte"),
            (self.load_in.is_some() && self.initial_count.is_none(), "a load of no count"),
            (
                self.control.is_some() && self.run.is_some() && self.initial_count.is_none(),
                "a count that was never written runs",
            ),
        ];
        match contradictions.into_iter().find(|(found, _)| *found) {
            Some((_, what)) => Err(InvalidState::Contradiction(what)),
            None => Ok(()),
        }
    }

    fn check_control(&self) -> Result<(), InvalidState> {
        match self.control {
            Some(control) if control > 0x3f || control & 0x30 == 0 => {
                Err(InvalidState::Control(control))
            }
            _ => Ok(()),
        }
    }

    fn check_counts(&self) -> Result<(), InvalidState> {
        let bcd = self.control.is_some_and(|control| control & 1 != 0);
        let modulus = if bcd { crate::spec::BCD_COUNTS } else { BINARY_COUNTS };
        let counts = [self.initial_count, self.run.map(|run| run.count)];
        for count in counts.into_iter().flatten() {
            if count == 0 || count > modulus {
                return Err(InvalidState::Count(count));
            }
        }
        if u32::from(self.rest) >= BINARY_COUNTS.min(modulus) {
            return Err(InvalidState::Count(self.rest.into()));
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), InvalidState> {
        let run = self.run.map_or([0, 0], |run| [run.counted, run.halted_for.unwrap_or(0)]);
        let load_in = u64::from(self.load_in.unwrap_or(1));
        let limits = [
            (run[0], 0..=MAX_TICKS),
            (run[1], 0..=MAX_TICKS),
            (self.phase.into(), 0..=u64::from(PHASE_LIMIT) - 1),
            (load_in, 1..=u64::from(BINARY_COUNTS)),
        ];
        match limits.into_iter().find(|(value, range)| !range.contains(value)) {
            Some((value, _)) => Err(InvalidState::Time(value)),
            None => Ok(()),
        }
    }
}

impl Counter {
    /// Everything but the phase, which depends on the time.
    fn state(&self) -> CounterState {
        let Counter {
            clock: _,
            control,
            gate,
            initial,
            null_count,
            load_at,
            run,
            halted,
            rest,
            seen,
            port: Port { write_low, read_high, count, status },
        } = *self;
        CounterState {
            control: control.map(ControlWord::into_bits),
            gate,
            initial_count: initial,
            null_count,
            load_in: load_at.map(|at| (at - seen) as u32),
            run: run.map(|run| RunState {
                count: run.count,
                counted: self.counted(run).unsigned_abs(),
                halted_for: halted.map(|at| (seen - at).unsigned_abs()),
            }),
            rest,
            phase: 0,
            write_low,
            read_high,
            latched_count: count,
            latched_status: status,
        }
    }
}
