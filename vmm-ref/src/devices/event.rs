// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a device can ask of the whole machine.

use std::fmt;
use std::sync::{Arc, Mutex};

/// A request of the guest that ends or restarts the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MachineEvent {
    /// Power off: ACPI soft-off (S5).
    Shutdown,
    /// Restart the machine.
    Reset(ResetCause),
    /// A test kernel ended with this status, `(value << 1) | 1` of what it wrote to the debug exit
    /// port. A process can report its low 8 bits only: [`MachineEvent::exit_status`].
    DebugExit(u64),
}

/// How the guest asked for a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResetCause {
    /// The keyboard controller's reset pulse (port 0x64, command 0xfe).
    KeyboardController,
    /// The reset control register (port 0xcf9).
    ResetRegister,
    /// System control port A, bit 0 (port 0x92).
    SystemControlPortA,
}

impl MachineEvent {
    /// The exit status of the process if this event ends it: 0, or the low 8 bits of the debug
    /// exit status, as a shell sees it.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Shutdown | Self::Reset(_) => 0,
            Self::DebugExit(status) => status.to_le_bytes()[0],
        }
    }
}

impl fmt::Display for MachineEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shutdown => write!(f, "the guest powered off"),
            Self::Reset(ResetCause::KeyboardController) => {
                write!(f, "the guest reset through the keyboard controller")
            }
            Self::Reset(ResetCause::ResetRegister) => {
                write!(f, "the guest reset through port 0xcf9")
            }
            Self::Reset(ResetCause::SystemControlPortA) => {
                write!(f, "the guest reset through port 0x92")
            }
            Self::DebugExit(status) => write!(f, "the guest ended its test with status {status}"),
        }
    }
}

/// Where devices report [`MachineEvent`]s. It is called on the vCPU's thread, during the access:
/// the receiver notes the event and wakes whoever acts on it.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn event(&self, event: MachineEvent);
}

/// A sink as devices hold it.
pub type SharedEventSink = Arc<dyn EventSink>;

impl<F: Fn(MachineEvent) + Send + Sync> EventSink for F {
    fn event(&self, event: MachineEvent) {
        self(event);
    }
}

/// A sink that remembers, for tests.
#[derive(Debug, Default)]
pub struct RecordedEvents(Mutex<Vec<MachineEvent>>);

impl RecordedEvents {
    /// An empty record.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The events since the last call.
    pub fn take(&self) -> Vec<MachineEvent> {
        self.0.lock().map(|mut events| std::mem::take(&mut *events)).unwrap_or_default()
    }
}

impl EventSink for RecordedEvents {
    fn event(&self, event: MachineEvent) {
        if let Ok(mut events) = self.0.lock() {
            events.push(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_status_is_what_a_shell_can_see() {
        assert_eq!(MachineEvent::Shutdown.exit_status(), 0);
        assert_eq!(MachineEvent::Reset(ResetCause::ResetRegister).exit_status(), 0);
        assert_eq!(MachineEvent::DebugExit(0x21).exit_status(), 0x21);
        assert_eq!(MachineEvent::DebugExit(0x101).exit_status(), 1);
    }
}
