// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One counter's counting element: where it stands at any CLK, without stepping through them.
//!
//! Everything follows from the CLK at which the running count was loaded, so a step over a year
//! costs what a step over a microsecond does.

use crate::clock::Clock;
use crate::port::Port;
use crate::spec::{ControlWord, Mode, BCD_COUNTS, BINARY_COUNTS};

/// One counter. Ticks are CLKs of `clock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counter {
    pub(crate) clock: Clock,
    /// As programmed, SC apart; `None` since power-on.
    pub(crate) control: Option<ControlWord>,
    pub(crate) gate: bool,
    /// Count register: the initial count 1..=65536 (10000), once written.
    pub(crate) initial: Option<u32>,
    /// The counting element has not loaded `initial` yet.
    pub(crate) null_count: bool,
    /// The tick at which it will; later than `seen`.
    pub(crate) load_at: Option<i64>,
    /// The count that runs or has run out.
    pub(crate) run: Option<Run>,
    /// The tick at which GATE (or half of a new count in mode 0) stopped `run`.
    pub(crate) halted: Option<i64>,
    /// What the counting element holds while nothing runs.
    pub(crate) rest: u16,
    /// The tick up to which everything has happened.
    pub(crate) seen: i64,
    pub(crate) port: Port,
}

/// A loaded count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The tick at which it was loaded (mode 3: with OUT going high).
    pub(crate) start: i64,
    /// 1..=65536.
    pub(crate) count: u32,
}

impl Run {
    /// CLKs that mode 3 spends with OUT high in each period.
    fn high(self) -> i64 {
        i64::from(self.count.div_ceil(2))
    }
}

impl Counter {
    /// A counter out of power-on, whose contents the data sheet leaves undefined: here OUT is
    /// high and stays so.
    pub(crate) fn new(now: u64, gate: bool) -> Self {
        Counter {
            clock: Clock { epoch: now, phase: 0 },
            control: None,
            gate,
            initial: None,
            null_count: false,
            load_at: None,
            run: Some(Run { start: 0, count: BINARY_COUNTS }),
            halted: None,
            rest: 0,
            seen: 0,
            port: Port::default(),
        }
    }

    pub(crate) fn mode(&self) -> Option<Mode> {
        self.control.map(|control| Mode::from_bits(control.mode()))
    }

    /// Where the count wraps: 65536 or 10000.
    pub(crate) fn modulus(&self) -> u32 {
        match self.control {
            Some(control) if control.bcd() => BCD_COUNTS,
            _ => BINARY_COUNTS,
        }
    }

    /// Lets time pass until `now`; returns how often OUT rose (GATE being high). Time that goes
    /// backwards stands still.
    pub(crate) fn advance(&mut self, now: u64) -> u64 {
        let tick = self.clock.tick(now).max(self.seen);
        let mut rises = 0;
        if let Some(at) = self.load_at.filter(|at| *at <= tick) {
            rises += self.run_to(at);
            self.load(at);
        }
        rises + self.run_to(tick)
    }

    fn run_to(&mut self, tick: i64) -> u64 {
        let before = self.rises();
        self.seen = tick;
        self.rises().saturating_sub(before)
    }

    /// CLK `at` moves the count register into the counting element.
    fn load(&mut self, at: i64) {
        self.load_at = None;
        let Some(count) = self.initial else { return };
        let mut run = Run { start: at, count };
        // A square wave goes on with its other half; a trigger or a first count finds OUT high.
        if self.run.is_some() && !self.out() && self.is_square_wave() {
            run.start -= run.high();
        }
        self.run = Some(run);
        self.null_count = false;
        self.halted = self.stopped().then_some(at);
    }

    fn is_square_wave(&self) -> bool {
        self.mode() == Some(Mode::SquareWave)
    }

    /// Whether something keeps the count from running.
    fn stopped(&self) -> bool {
        match self.mode() {
            Some(Mode::TerminalCount) => !self.gate || self.port.write_low.is_some(),
            Some(mode) => mode.gate_stops() && !self.gate,
            None => false,
        }
    }

    /// CLKs that `run` has counted.
    pub(crate) fn counted(&self, run: Run) -> i64 {
        self.halted.unwrap_or(self.seen) - run.start
    }

    /// OUT.
    pub(crate) fn out(&self) -> bool {
        let Some(mode) = self.mode() else { return true };
        let Some(run) = self.run else { return mode != Mode::TerminalCount };
        let (counted, count) = (self.counted(run), i64::from(run.count));
        match mode {
            Mode::TerminalCount | Mode::OneShot => counted >= count,
            _ if mode.periodic() && (self.halted.is_some() || count < 2) => true,
            Mode::RateGenerator => counted % count != count - 1,
            Mode::SquareWave => counted % count < run.high(),
            // The strobe lasts one CLK, also where GATE stops the count on it.
            Mode::SoftwareStrobe | Mode::HardwareStrobe => {
                counted != count || self.halted.is_some_and(|at| at != self.seen)
            }
        }
    }

    /// How often OUT rose since `run` was loaded. A count of 1 is illegal in the periodic modes
    /// (8254, "Minimum and Maximum Initial Counts"): OUT stays high then.
    fn rises(&self) -> u64 {
        let (Some(mode), Some(run)) = (self.mode(), self.run) else { return 0 };
        let (counted, count) = (self.counted(run), i64::from(run.count));
        match mode {
            Mode::TerminalCount | Mode::OneShot => (counted >= count).into(),
            Mode::RateGenerator | Mode::SquareWave if count < 2 => 0,
            Mode::RateGenerator | Mode::SquareWave => (counted / count).unsigned_abs(),
            Mode::SoftwareStrobe | Mode::HardwareStrobe => (counted > count).into(),
        }
    }

    /// The tick at which OUT rises next, if nobody touches the counter.
    pub(crate) fn next_rise(&self) -> Option<i64> {
        let rise = self.next_rise_of_run();
        let Some(at) = self.load_at else { return rise };
        if rise.is_some_and(|rise| rise <= at) {
            return rise;
        }
        let mut loaded = self.clone();
        loaded.seen = at;
        loaded.load(at);
        loaded.next_rise_of_run()
    }

    fn next_rise_of_run(&self) -> Option<i64> {
        let (mode, run) = (self.mode()?, self.run?);
        let (counted, count) = (self.counted(run), i64::from(run.count));
        let at = match mode {
            Mode::TerminalCount | Mode::OneShot => count,
            _ if mode.periodic() && count < 2 => return None,
            Mode::RateGenerator | Mode::SquareWave => (counted / count + 1) * count,
            Mode::SoftwareStrobe | Mode::HardwareStrobe => count + 1,
        };
        (at > counted && self.halted.is_none()).then_some(run.start + at)
    }

    /// The counting element's value: binary, or 0..=9999 in BCD; 0 stands for the modulus.
    pub(crate) fn value(&self) -> u16 {
        let Some(run) = self.run else { return self.rest };
        let (counted, count) = (self.counted(run), i64::from(run.count));
        let value = match self.mode() {
            Some(Mode::RateGenerator) => count - counted % count,
            Some(Mode::SquareWave) => {
                // By twos from an even number, in each half of the period.
                let position = counted % count;
                let half = if position < run.high() { position } else { position - run.high() };
                (count & !1) - 2 * half
            }
            _ => count - counted,
        };
        value.rem_euclid(self.modulus().into()) as u16
    }

    /// A control word (8254, "Programming the 8254"): everything starts over.
    pub(crate) fn program(&mut self, control: ControlWord) {
        self.stop();
        self.control = Some(control.with_sc(0));
        self.rest = (u32::from(self.rest) % self.modulus()) as u16;
        self.initial = None;
        self.null_count = true;
        self.load_at = None;
        self.port = Port::default();
    }

    /// Freezes the counting element; in mode 0 that is OUT low.
    pub(crate) fn stop(&mut self) {
        self.rest = self.value();
        self.run = None;
        self.halted = None;
    }

    /// A complete initial count, 1..=65536 (10000).
    pub(crate) fn set_initial(&mut self, count: u32) {
        self.initial = Some(count);
        self.null_count = true;
        let next = Some(self.seen + 1);
        match self.mode() {
            Some(Mode::TerminalCount) => {
                self.stop();
                self.load_at = next;
            }
            Some(Mode::SoftwareStrobe) => self.load_at = next,
            Some(Mode::RateGenerator | Mode::SquareWave) => match self.run {
                None => self.load_at = next,
                Some(run) if self.halted.is_none() => self.load_at = Some(self.end_of_cycle(run)),
                // GATE's rising edge will load it.
                Some(_) => (),
            },
            Some(Mode::OneShot | Mode::HardwareStrobe) | None => (),
        }
    }

    /// The next tick at which a periodic mode reloads: mode 3 does so twice in a period.
    fn end_of_cycle(&self, run: Run) -> i64 {
        let (counted, count) = (self.counted(run), i64::from(run.count));
        let position = counted % count;
        let length =
            if self.is_square_wave() && position < run.high() { run.high() } else { count };
        self.seen - position + length
    }

    /// Drives GATE (8254, "Gate Pin Operations Summary").
    pub(crate) fn set_gate(&mut self, gate: bool) {
        if gate == self.gate {
            return;
        }
        self.gate = gate;
        let Some(mode) = self.mode() else { return };
        if gate && mode.gate_triggers() {
            if self.initial.is_some() {
                self.load_at = Some(self.seen + 1);
            }
        } else if gate {
            self.resume();
        } else if mode.gate_stops() && self.halted.is_none() && self.run.is_some() {
            self.halted = Some(self.seen);
            if mode.periodic() {
                self.load_at = None;
            }
        }
    }

    /// GATE high in modes 0 and 4: the count goes on where it stopped.
    fn resume(&mut self) {
        let modulus = i64::from(self.modulus());
        let strobing = self.mode() == Some(Mode::SoftwareStrobe);
        if self.stopped() {
            return;
        }
        let (Some(run), Some(halted)) = (&mut self.run, self.halted) else { return };
        let paused = self.seen - halted;
        if strobing && paused > 0 && halted - run.start == i64::from(run.count) {
            // The strobe is over; a whole turn later the count is the same and stays silent.
            run.start -= modulus;
        }
        run.start += paused;
        self.halted = None;
    }
}
