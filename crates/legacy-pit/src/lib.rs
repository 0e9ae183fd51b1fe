// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod clock;
mod counter;
mod pit;
mod port;
pub mod spec;
pub mod state;

#[cfg(feature = "kvm")]
pub mod kvm;
#[cfg(feature = "vm-device")]
mod vm_device;

#[cfg(test)]
mod tests;

pub use pit::{AccessError, Irq0, Pit};
pub use port::{LatchedBytes, LatchedCount};
pub use state::{CounterState, InvalidState, PitState, RunState};
#[cfg(feature = "vm-device")]
pub use vm_device::PitDevice;
