// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How a machine ends: the first reason counts unless a fault of ours overrules it, and the main
//! loop hears of it.

use std::io;
use std::sync::{Arc, Mutex};

use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

use crate::devices::{EventSink, MachineEvent};
use crate::sync::lock;

/// Why a machine stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The guest asked for it.
    Guest(MachineEvent),
    /// A vCPU shut down.
    TripleFault {
        /// Which one.
        cpu: usize,
        /// Its registers.
        registers: String,
    },
    /// A vCPU's backend gave up.
    VcpuFailed {
        /// Which one.
        cpu: usize,
        /// What it said.
        error: String,
        /// Its registers.
        registers: String,
    },
    /// A signal to the process.
    Signal(i32),
    /// The person at the terminal asked for it.
    Escape,
}

/// Shared by whoever can end the machine.
pub struct Control {
    ending: Mutex<Option<Ending>>,
    wake: EventFd,
}

impl Control {
    /// A machine that goes on.
    ///
    /// # Errors
    /// What eventfd reports.
    pub fn new() -> io::Result<Arc<Self>> {
        let wake = EventFd::new(EFD_NONBLOCK)?;
        Ok(Arc::new(Control { ending: Mutex::new(None), wake }))
    }

    /// Ends the machine, unless it has ended for another reason.
    pub fn end(&self, ending: Ending) {
        lock(&self.ending).get_or_insert(ending);
        // Fails only when 2^64 - 1 ends are unread; one is enough.
        let _ = self.wake.write(1);
    }

    /// Ends the machine for this reason, whatever else has ended it.
    pub fn overrule(&self, ending: Ending) {
        *lock(&self.ending) = Some(ending);
        let _ = self.wake.write(1);
    }

    /// The reason, once there is one.
    pub fn ending(&self) -> Option<Ending> {
        lock(&self.ending).clone()
    }

    /// Whether there is a reason.
    pub fn has_ended(&self) -> bool {
        lock(&self.ending).is_some()
    }

    /// Readable once there is a reason.
    pub fn wake(&self) -> &EventFd {
        &self.wake
    }
}

impl EventSink for Control {
    fn event(&self, event: MachineEvent) {
        self.end(Ending::Guest(event));
    }
}
