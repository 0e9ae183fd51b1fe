// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the process waits for while the vCPUs run: device deadlines, signals, the end.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use vmm_sys_util::eventfd::EventFd;

use crate::alarm::Alarm;
use crate::clock::monotonic_ns;
use crate::control::{Control, Ending};
use crate::terminal;

/// A device's deadline and what is due then.
pub struct Timed {
    /// When.
    pub alarm: Arc<Alarm>,
    /// Called with the time when it expires.
    pub expired: Box<dyn FnMut(u64) + Send>,
}

/// Runs until the machine has an ending. `signals` is what [`terminal::on_termination`] writes to.
///
/// # Errors
/// What epoll reports.
pub fn run(control: &Arc<Control>, signals: &EventFd, timed: Vec<Timed>) -> io::Result<Ending> {
    let signals = signals.try_clone()?;
    let mut manager = EventManager::new().map_err(io::Error::other)?;
    manager.add_subscriber(Waiter { control: control.clone(), signals, timed });
    loop {
        if let Some(ending) = control.ending() {
            return Ok(ending);
        }
        manager.run().map_err(io::Error::other)?;
    }
}

struct Waiter {
    control: Arc<Control>,
    signals: EventFd,
    timed: Vec<Timed>,
}

/// Event data; the deadlines count up from the last one.
const WAKE: u32 = 0;
const SIGNAL: u32 = 1;
const FIRST_ALARM: u32 = 2;

impl MutEventSubscriber for Waiter {
    fn process(&mut self, events: Events, _ops: &mut EventOps) {
        match events.data() {
            WAKE => {
                let _ = self.control.wake().read();
            }
            SIGNAL => self.take_signal(),
            alarm => {
                if let Some(timed) = self.timed.get_mut((alarm - FIRST_ALARM) as usize) {
                    timed.alarm.acknowledge();
                    (timed.expired)(monotonic_ns());
                }
            }
        }
    }

    fn init(&mut self, ops: &mut EventOps) {
        let wake = self.control.wake().as_raw_fd();
        let fixed = [(wake, WAKE), (self.signals.as_raw_fd(), SIGNAL)];
        let alarms = self.timed.iter().zip(FIRST_ALARM..);
        let alarms = alarms.filter_map(|(timed, data)| Some((timed.alarm.descriptor()?, data)));
        for (fd, data) in fixed.into_iter().chain(alarms) {
            if let Err(error) = ops.add(Events::with_data_raw(fd, data, EventSet::IN)) {
                log::error!("epoll: {error:?}");
            }
        }
    }
}

impl Waiter {
    fn take_signal(&mut self) {
        let _ = self.signals.read();
        if let Some(signal) = terminal::received() {
            self.control.end(Ending::Signal(signal));
        }
    }
}
