// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "vm-device"))]
extern crate std;

mod config;
mod counters;
#[cfg(feature = "vm-device")]
mod device;
mod events;
mod ioapic;
#[cfg(feature = "kvm")]
mod kvm;
mod pin_set;
mod registers;
pub mod spec;
mod state;
#[cfg(test)]
mod tests;

pub use config::{Config, ConfigError, Polarity, StormGuard};
pub use counters::PinCounters;
#[cfg(feature = "vm-device")]
pub use device::{IoApicDevice, IoApicHost};
pub use events::IoApicEvents;
pub use ioapic::{InvalidPin, IoApic};
#[cfg(feature = "kvm")]
pub use kvm::KvmStateError;
pub use pin_set::{PinSet, Pins};
pub use spec::{Rte, Version};
pub use state::{IoApicState, PinState, StateError};
