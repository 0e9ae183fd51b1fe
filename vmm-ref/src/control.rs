// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How a machine ends: the first reason counts, with few exceptions, and the main loop hears of it.

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

    /// Ends the machine, unless it has ended for another reason. A guest's reset is none for who
    /// ends it from outside: the guest would boot again.
    pub fn end(&self, ending: Ending) {
        let mut current = lock(&self.ending);
        let from_outside = matches!(ending, Ending::Signal(_) | Ending::Escape);
        match &*current {
            None => *current = Some(ending),
            Some(Ending::Guest(MachineEvent::Reset(_))) if from_outside => *current = Some(ending),
            Some(_) => {}
        }
        drop(current);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::ResetCause;

    #[test]
    fn a_signal_beside_a_reset_is_not_lost() {
        let reset = Ending::Guest(MachineEvent::Reset(ResetCause::KeyboardController));
        let shutdown = Ending::Guest(MachineEvent::Shutdown);
        for (first, second, counts) in [
            (&reset, &Ending::Signal(15), &Ending::Signal(15)),
            (&reset, &Ending::Escape, &Ending::Escape),
            (&reset, &shutdown, &reset),
            (&shutdown, &Ending::Signal(15), &shutdown),
            (&Ending::Escape, &reset, &Ending::Escape),
        ] {
            let control = Control::new().unwrap();
            control.end(first.clone());
            control.end(second.clone());
            assert_eq!(control.ending().as_ref(), Some(counts));
        }
    }
}
