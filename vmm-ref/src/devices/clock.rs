// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Where devices behind a bus get the time from.
//!
//! The models take the time as an argument; only their bus adapters ask a [`Clock`], because a bus
//! access carries no time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A monotonic clock.
pub trait Clock: Send + Sync {
    /// Nanoseconds since some fixed moment. Never goes back.
    fn now(&self) -> u64;
}

/// A clock as devices hold it.
pub type SharedClock = Arc<dyn Clock>;

impl<F: Fn() -> u64 + Send + Sync> Clock for F {
    fn now(&self) -> u64 {
        self()
    }
}

/// The host's wall clock in nanoseconds since 1970-01-01 UTC; 0 when it is set before that.
pub fn host_wall_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A clock that stands still until it is moved, for tests.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that reads `now` nanoseconds.
    pub fn at(now: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(now)))
    }

    /// Moves the clock on by `ns`.
    pub fn advance(&self, ns: u64) {
        self.0.fetch_add(ns, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Called on the vCPU's thread, under the device's lock, when an access changes the time of a
/// device's next action: the receiver arms its timer anew. It must not call the device.
pub type DeadlineNotifier = Box<dyn Fn(Option<u64>) + Send>;

/// Tells a [`DeadlineNotifier`] about changes, and only about changes.
#[derive(Default)]
pub(super) struct DeadlineWatch {
    told: Option<u64>,
    notifier: Option<DeadlineNotifier>,
}

impl DeadlineWatch {
    pub(super) fn notify(&mut self, notifier: DeadlineNotifier) {
        notifier(self.told);
        self.notifier = Some(notifier);
    }

    pub(super) fn set(&mut self, deadline: Option<u64>) {
        if deadline != self.told {
            self.told = deadline;
            if let Some(notifier) = &self.notifier {
                notifier(deadline);
            }
        }
    }
}
