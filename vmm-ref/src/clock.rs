// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The one clock of the machine: the host's, or a virtual one that counts instructions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use crate::devices::clock::host_wall_clock;
use crate::devices::{Clock, SharedClock};

/// Nanoseconds of CLOCK_MONOTONIC, the clock that the host's timers are armed with.
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a live local; CLOCK_MONOTONIC always exists on Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// When a machine with a virtual clock starts: 2025-01-01 00:00:00 UTC, in seconds since 1970.
pub const VIRTUAL_EPOCH: u64 = 1_735_689_600;

/// Where a machine's time comes from.
#[derive(Clone)]
pub enum TimeSource {
    /// The host's clock; every vCPU has a thread.
    Host,
    /// Executed instructions; one thread runs all vCPUs in turn.
    Virtual(Arc<VirtualClock>),
}

impl TimeSource {
    /// A virtual clock that stands at 0.
    pub fn new_virtual() -> Self {
        TimeSource::Virtual(Arc::default())
    }

    /// The clock that everything in the machine reads.
    pub fn clock(&self) -> SharedClock {
        match self {
            TimeSource::Host => Arc::new(monotonic_ns),
            TimeSource::Virtual(clock) => clock.clone(),
        }
    }

    /// The time of day when the machine starts, in ns since 1970-01-01 UTC.
    pub fn wall_ns(&self) -> u64 {
        match self {
            TimeSource::Host => host_wall_clock(),
            TimeSource::Virtual(_) => VIRTUAL_EPOCH * 1_000_000_000,
        }
    }
}

/// Time that goes on only with executed instructions, one ns each, with port accesses, and when it
/// is moved: while all vCPUs are halted it goes to the next deadline at once.
///
/// One thread at a time moves it; the others may look.
#[derive(Debug, Default)]
pub struct VirtualClock {
    now: AtomicU64,
    limit: AtomicU64,
}

impl VirtualClock {
    /// Instructions until the time at which the running vCPU has to come out; at least one, so that
    /// time goes on.
    pub fn budget(&self) -> u64 {
        self.limit.load(Ordering::Relaxed).saturating_sub(self.now()).max(1)
    }

    /// The running vCPU has to come out at this time.
    pub fn set_limit(&self, at: u64) {
        self.limit.store(at, Ordering::Relaxed);
    }

    /// It is this late by now; never earlier than before.
    pub fn advance_to(&self, now: u64) {
        self.now.fetch_max(now, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_time_never_goes_back() {
        let clock = VirtualClock::default();
        clock.advance_to(7);
        clock.advance_to(3);
        assert_eq!(clock.now(), 7);
    }

    #[test]
    fn a_limit_that_is_over_leaves_one_instruction() {
        let clock = VirtualClock::default();
        clock.advance_to(100);
        clock.set_limit(130);
        assert_eq!(clock.budget(), 30);
        clock.set_limit(90);
        assert_eq!(clock.budget(), 1);
    }
}
