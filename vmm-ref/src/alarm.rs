// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A device's deadline: a file descriptor for the main loop, or a plain value where time is virtual.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vmm_sys_util::timerfd::TimerFd;

use crate::clock::{monotonic_ns, TimeSource};
use crate::sync::lock;

/// One timer. Any thread sets it; the main loop, or whoever moves a virtual clock, looks at it.
pub struct Alarm(Mutex<Timer>);

enum Timer {
    Host(TimerFd),
    Virtual(Option<u64>),
}

impl Alarm {
    /// A timer that is off.
    ///
    /// # Errors
    /// What timerfd_create reports.
    pub fn new(time: &TimeSource) -> io::Result<Arc<Self>> {
        let timer = match time {
            TimeSource::Host => Timer::Host(
                TimerFd::new().map_err(|error| io::Error::from_raw_os_error(error.errno()))?,
            ),
            TimeSource::Virtual(_) => Timer::Virtual(None),
        };
        Ok(Arc::new(Alarm(Mutex::new(timer))))
    }

    /// Sets the timer to `deadline` (ns), or switches it off.
    pub fn set(&self, deadline: Option<u64>) {
        match &mut *lock(&self.0) {
            Timer::Host(timer) => {
                if let Err(error) = arm(timer, deadline) {
                    log::error!("timerfd_settime: {error}");
                }
            }
            Timer::Virtual(at) => *at = deadline,
        }
    }

    /// Takes the expiry back, so that the descriptor is no longer readable. Called when it is.
    pub fn acknowledge(&self) {
        let Timer::Host(timer) = &mut *lock(&self.0) else { return };
        // It may have been set anew meanwhile: then a read would wait.
        if let Ok(true) = is_readable(timer.as_raw_fd()) {
            let _ = timer.wait();
        }
    }

    /// The host's descriptor, readable when the time has come.
    pub fn descriptor(&self) -> Option<RawFd> {
        match &*lock(&self.0) {
            Timer::Host(timer) => Some(timer.as_raw_fd()),
            Timer::Virtual(_) => None,
        }
    }

    /// When a virtual timer is due.
    pub fn deadline(&self) -> Option<u64> {
        match &*lock(&self.0) {
            Timer::Host(_) => None,
            Timer::Virtual(at) => *at,
        }
    }

    /// Whether a virtual timer is due at `now`; if so it is off from here on.
    pub fn expire(&self, now: u64) -> bool {
        match &mut *lock(&self.0) {
            Timer::Host(_) => false,
            Timer::Virtual(at) => at.take_if(|at| *at <= now).is_some(),
        }
    }
}

fn arm(timer: &mut TimerFd, deadline: Option<u64>) -> Result<(), vmm_sys_util::errno::Error> {
    match deadline {
        None => timer.clear(),
        Some(at) => {
            // 0 would switch it off.
            let wait = Duration::from_nanos(at.saturating_sub(monotonic_ns()).max(1));
            timer.reset(wait, None)
        }
    }
}

fn is_readable(fd: RawFd) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd, for the duration of the call.
    match unsafe { libc::poll(&mut poll, 1, 0) } {
        -1 => Err(io::Error::last_os_error()),
        ready => Ok(ready == 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_alarm_expires_once() {
        let alarm = Alarm::new(&TimeSource::new_virtual()).unwrap();
        alarm.set(Some(10));
        assert_eq!((alarm.deadline(), alarm.descriptor()), (Some(10), None));
        assert!(!alarm.expire(9));
        assert!(alarm.expire(10));
        assert_eq!((alarm.expire(11), alarm.deadline()), (false, None));
    }
}
