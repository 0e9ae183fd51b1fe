// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The timer (Intel SDM vol. 3, "APIC Timer", "TSC-Deadline Mode").
//!
//! Time inside a period is kept in units of 10⁻⁹ bus cycles ("nanocycles"): a nanosecond is
//! exactly `bus_hz` of them and a count exactly `divisor * 10⁹`, so nothing is ever rounded and
//! a periodic timer cannot drift, whatever the frequencies.

use crate::spec::{tdcr, timer_mode};

/// Nanocycles per bus cycle, and nanoseconds per second.
const GIGA: u128 = 1_000_000_000;

/// The present, as the caller's clocks show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds of a monotonic clock.
    pub ns: u64,
    /// The guest's time-stamp counter on this vCPU, in ticks.
    pub tsc: u64,
}

/// What counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Armed {
    /// Nothing.
    No,
    /// The counter: at `origin` (ns) the period was `phase` nanocycles old.
    Counter { origin: u64, phase: u128 },
    /// IA32_TSC_DEADLINE holds `tsc`, expected at `ns`.
    Deadline { tsc: u64, ns: u64 },
}

/// The timer's registers, but for its LVT entry, and its clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timer {
    pub(crate) bus_hz: u64,
    pub(crate) tsc_hz: u64,
    /// Bits 18:17 of the LVT entry.
    pub(crate) mode: u8,
    pub(crate) initial: u32,
    pub(crate) divide: u32,
    pub(crate) armed: Armed,
}

impl Timer {
    pub(crate) fn new(bus_hz: u64, tsc_hz: u64) -> Self {
        Timer {
            bus_hz,
            tsc_hz,
            mode: timer_mode::ONE_SHOT,
            initial: 0,
            divide: 0,
            armed: Armed::No,
        }
    }

    pub(crate) fn reset(&mut self) {
        *self = Timer::new(self.bus_hz, self.tsc_hz);
    }

    /// How often the timer expired since the last call; a deadline or one-shot at most once.
    pub(crate) fn advance(&mut self, now: Now) -> u64 {
        match self.armed {
            Armed::No => 0,
            Armed::Counter { .. } => self.advance_counter(now),
            Armed::Deadline { tsc, ns } => self.advance_deadline(tsc, ns, now),
        }
    }

    fn advance_counter(&mut self, now: Now) -> u64 {
        let (age, period) = (self.age(now.ns), self.period());
        if period == 0 || age < period {
            return 0;
        }
        if self.mode != timer_mode::PERIODIC {
            self.armed = Armed::No;
            return 1;
        }
        self.armed = Armed::Counter { origin: now.ns, phase: age % period };
        u64::try_from(age / period).unwrap_or(u64::MAX)
    }

    /// The TSC decides; a nanosecond estimate that came too early is made anew.
    fn advance_deadline(&mut self, tsc: u64, ns: u64, now: Now) -> u64 {
        if now.tsc >= tsc {
            self.armed = Armed::No;
            return 1;
        }
        if now.ns >= ns {
            self.arm_deadline(tsc, now);
        }
        0
    }

    /// When to call [`Timer::advance`] next, in ns.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        match self.armed {
            Armed::No => None,
            Armed::Deadline { ns, .. } => Some(ns),
            Armed::Counter { origin, phase } => {
                let left = self.period().saturating_sub(phase);
                let ns = left.div_ceil(u128::from(self.bus_hz.max(1)));
                Some(saturating_add(origin, ns))
            }
        }
    }

    /// The current-count register.
    pub(crate) fn current_count(&self, now: Now) -> u32 {
        let (age, period) = (self.age(now.ns), self.period());
        if !matches!(self.armed, Armed::Counter { .. }) || period == 0 {
            return 0;
        }
        if age >= period && self.mode != timer_mode::PERIODIC {
            return 0;
        }
        // age % period < initial * count, so the quotient is below `initial`.
        self.initial - ((age % period) / self.count()) as u32
    }

    /// A write to the initial-count register; ignored in deadline mode, and in the reserved one.
    pub(crate) fn set_initial(&mut self, initial: u32, now: Now) {
        if self.mode > timer_mode::PERIODIC {
            return;
        }
        self.initial = initial;
        self.armed = match initial {
            0 => Armed::No,
            _ => Armed::Counter { origin: now.ns, phase: 0 },
        };
    }

    /// A write to the divide configuration register. The current count stays as it is and goes
    /// on at the new rate.
    pub(crate) fn set_divide(&mut self, divide: u32, now: Now) {
        let age = self.age(now.ns);
        let old = u128::from(tdcr::divisor(self.divide));
        self.divide = divide;
        if let Armed::Counter { origin, phase } = &mut self.armed {
            *phase = age * u128::from(tdcr::divisor(divide)) / old;
            *origin = now.ns;
        }
    }

    /// The mode bits of the LVT entry were written. One-shot and periodic share the counter,
    /// which goes on; any other change disarms ("TSC-Deadline Mode").
    pub(crate) fn set_mode(&mut self, mode: u8) {
        let counter = |mode| mode <= timer_mode::PERIODIC;
        if mode != self.mode && !(counter(mode) && counter(self.mode)) {
            self.initial = 0;
            self.armed = Armed::No;
        }
        self.mode = mode;
    }

    /// IA32_TSC_DEADLINE: 0 unless armed in that mode.
    pub(crate) fn deadline(&self) -> u64 {
        match self.armed {
            Armed::Deadline { tsc, .. } => tsc,
            _ => 0,
        }
    }

    /// A write to IA32_TSC_DEADLINE: ignored in the other modes, 0 disarms.
    pub(crate) fn set_deadline(&mut self, tsc: u64, now: Now) {
        if self.mode == timer_mode::TSC_DEADLINE {
            self.arm_deadline(tsc, now);
        }
    }

    fn arm_deadline(&mut self, tsc: u64, now: Now) {
        if tsc == 0 {
            self.armed = Armed::No;
            return;
        }
        let ticks = u128::from(tsc.saturating_sub(now.tsc));
        let ns = (ticks * GIGA).div_ceil(u128::from(self.tsc_hz.max(1)));
        self.armed = Armed::Deadline { tsc, ns: saturating_add(now.ns, ns) };
    }

    /// Takes the deadline's nanoseconds anew after the guest's TSC jumped.
    pub(crate) fn tsc_changed(&mut self, now: Now) {
        if let Armed::Deadline { tsc, .. } = self.armed {
            self.arm_deadline(tsc, now);
        }
    }

    /// Nanocycles since the period began; more than a period if an expiry is not yet seen.
    pub(crate) fn age(&self, ns: u64) -> u128 {
        match self.armed {
            // A clock that went backwards stands still. Below 2^70 + 2^64 * 2^37.
            Armed::Counter { origin, phase } => {
                phase + u128::from(ns.saturating_sub(origin)) * u128::from(self.bus_hz)
            }
            _ => 0,
        }
    }

    /// Nanocycles per count.
    pub(crate) fn count(&self) -> u128 {
        u128::from(tdcr::divisor(self.divide)) * GIGA
    }

    /// Nanocycles per period.
    pub(crate) fn period(&self) -> u128 {
        u128::from(self.initial) * self.count()
    }
}

fn saturating_add(a: u64, b: u128) -> u64 {
    u64::try_from(u128::from(a).saturating_add(b)).unwrap_or(u64::MAX)
}
