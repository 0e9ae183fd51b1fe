// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A device's deadline as a file descriptor for the main loop.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vmm_sys_util::timerfd::TimerFd;

use crate::clock::monotonic_ns;
use crate::sync::lock;

/// One timer. Any thread sets it; the main loop waits for it.
pub struct Alarm(Mutex<TimerFd>);

impl Alarm {
    /// A timer that is off.
    ///
    /// # Errors
    /// What timerfd_create reports.
    pub fn new() -> io::Result<Arc<Self>> {
        let timer = TimerFd::new().map_err(|e| io::Error::from_raw_os_error(e.errno()))?;
        Ok(Arc::new(Alarm(Mutex::new(timer))))
    }

    /// Sets the timer to `deadline` (ns), or switches it off.
    pub fn set(&self, deadline: Option<u64>) {
        let mut timer = lock(&self.0);
        let result = match deadline {
            None => timer.clear(),
            Some(at) => {
                // 0 would switch it off.
                let wait = Duration::from_nanos(at.saturating_sub(monotonic_ns()).max(1));
                timer.reset(wait, None)
            }
        };
        if let Err(error) = result {
            log::error!("timerfd_settime: {error}");
        }
    }

    /// Takes the expiry back, so that the descriptor is no longer readable. Called when it is.
    pub fn acknowledge(&self) {
        let mut timer = lock(&self.0);
        // It may have been set anew meanwhile: then a read would wait.
        if let Ok(true) = is_readable(timer.as_raw_fd()) {
            let _ = timer.wait();
        }
    }
}

impl AsRawFd for Alarm {
    fn as_raw_fd(&self) -> RawFd {
        lock(&self.0).as_raw_fd()
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
