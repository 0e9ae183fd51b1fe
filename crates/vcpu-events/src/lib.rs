// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod decide;
pub mod event;
pub mod events;
pub mod exception;
pub mod interruptibility;
#[cfg(feature = "kvm")]
pub mod kvm;
pub mod mailbox;
pub mod protocol;
pub mod reinject;
pub mod request;
pub mod spec;
pub mod state;
pub mod svm;
pub mod vmx;

#[cfg(all(test, not(loom)))]
mod tests;

pub use decide::{Decision, Injection, Window};
pub use event::{Event, InvalidLength, SoftwareInterrupt};
pub use events::{Events, Tracking};
pub use exception::{Exception, InvalidException, Merged, Origin};
pub use interruptibility::{Activity, Interruptibility, Shadow};
pub use mailbox::{Mailbox, Mode, Notify};
pub use protocol::{InterruptSlot, QueueError, RunIn, RunOut};
pub use request::{Request, Requests};
pub use state::{EventsState, ExceptionState, InterruptState, InvalidState};
