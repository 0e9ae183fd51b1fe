// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Nanoseconds to CLKs and back, exactly.

use crate::spec::FREQUENCY_HZ;

const HZ: u128 = FREQUENCY_HZ as u128;
const NS_PER_S: u128 = 1_000_000_000;

/// One CLK in units of 1 / [`FREQUENCY_HZ`] nanoseconds: what a phase stays below.
pub(crate) const PHASE_LIMIT: u32 = 1_000_000_000;

/// Counts CLKs from tick 0, which lay `phase` before `epoch`.
///
/// A phase counts 1 / [`FREQUENCY_HZ`] ns, of which a CLK has exactly 10^9: nothing is ever
/// rounded away, so nothing drifts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    pub(crate) epoch: u64,
    pub(crate) phase: u32,
}

impl Clock {
    /// Whole CLKs by `now`; at most 2.3e16.
    pub(crate) fn tick(self, now: u64) -> i64 {
        (self.elapsed(now) / NS_PER_S) as i64
    }

    /// What is left of `now` above [`Clock::tick`], below [`PHASE_LIMIT`].
    pub(crate) fn phase(self, now: u64) -> u32 {
        (self.elapsed(now) % NS_PER_S) as u32
    }

    /// The first nanosecond at which `tick` has happened; `None` beyond 64 bits.
    pub(crate) fn when(self, tick: i64) -> Option<u64> {
        let wanted = u128::try_from(tick).unwrap_or(0) * NS_PER_S;
        let ns = wanted.saturating_sub(self.phase.into()).div_ceil(HZ);
        u64::try_from(ns).ok()?.checked_add(self.epoch)
    }

    fn elapsed(self, now: u64) -> u128 {
        u128::from(now.saturating_sub(self.epoch)) * HZ + u128::from(self.phase)
    }
}
