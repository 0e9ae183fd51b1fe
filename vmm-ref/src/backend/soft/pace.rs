// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How a vCPU's time goes on: with the host's clock, or with its own instructions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use soft_vcpu::{Exit, TscSource};

use crate::clock::{monotonic_ns, TimeSource, VirtualClock};
use crate::devices::Clock;

/// What a port access takes in virtual time, as on an ISA bus: guests wait by it.
const PORT_ACCESS_NS: u64 = 1000;

/// The time of one vCPU. Its TSC counts nanoseconds either way.
pub enum Pace {
    /// The host's; the TSC was 0 at this time.
    Host(u64),
    /// The machine's virtual clock, which the vCPU moves while it runs.
    Virtual {
        /// The clock.
        clock: Arc<VirtualClock>,
        /// Time less instructions executed.
        offset: Arc<AtomicU64>,
    },
}

impl Pace {
    /// For a machine that started at `epoch` of `time`.
    pub fn new(time: &TimeSource, epoch: u64) -> Self {
        match time {
            TimeSource::Host => Pace::Host(epoch),
            TimeSource::Virtual(clock) => {
                Pace::Virtual { clock: clock.clone(), offset: Arc::default() }
            }
        }
    }

    /// What the vCPU reads its TSC from.
    pub fn tsc_source(&self) -> TscSource {
        match self {
            Pace::Host(epoch) => {
                let epoch = *epoch;
                Box::new(move |_| monotonic_ns().saturating_sub(epoch))
            }
            Pace::Virtual { offset, .. } => {
                let offset = offset.clone();
                Box::new(move |executed| offset.load(Ordering::Relaxed).wrapping_add(executed))
            }
        }
    }

    /// From here on the TSC follows this vCPU's instructions.
    pub fn catch_up(&self, executed: u64) {
        if let Pace::Virtual { clock, offset } = self {
            offset.store(clock.now().wrapping_sub(executed), Ordering::Relaxed);
        }
    }

    /// How many instructions the vCPU may execute now.
    pub fn budget(&self) -> u64 {
        match self {
            Pace::Host(_) => u64::MAX,
            Pace::Virtual { clock, .. } => clock.budget(),
        }
    }

    /// The vCPU has executed this many by now, and comes out for `exit`.
    pub fn ran(&self, executed: u64, exit: &Exit) {
        let Pace::Virtual { clock, offset } = self else { return };
        let port = matches!(exit, Exit::PortRead { .. } | Exit::PortWrite { .. });
        let access = if port { PORT_ACCESS_NS } else { 0 };
        let now = offset.load(Ordering::Relaxed).wrapping_add(executed);
        clock.advance_to(now.saturating_add(access));
    }
}
