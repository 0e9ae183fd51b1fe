// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, loom, feature = "vm-device"))]
extern crate std;

pub mod base;
#[cfg(feature = "vm-device")]
pub mod bus;
mod config;
pub mod deliver;
pub mod destination;
mod esr;
mod icr;
mod init;
#[cfg(feature = "kvm")]
pub mod kvm;
mod lapic;
mod lvt;
mod mmio;
mod posted;
mod registers;
mod signals;
pub mod spec;
pub mod state;
mod timer;
mod vectors;
mod virtual_delivery;
mod x2apic;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

pub use base::ApicMode;
pub use config::{Config, ConfigError};
pub use deliver::{deliver, deliver_ipi, deliver_msi, set_local_intr, InvalidLocalIntr};
pub use destination::{DestinationEntry, DestinationMap, Targets};
pub use icr::{decode_host_icr, HostIcrError, Ipi, Shorthand};
pub use init::StartState;
pub use lapic::{GeneralProtection, Lapic, LapicEvents, Synced};
pub use lvt::Lint;
pub use posted::{Posted, PostedInterrupts, PostedState};
pub use signals::Signals;
pub use spec::LvtIndex;
pub use state::{LapicState, StateError, TimerState};
pub use timer::Now;
