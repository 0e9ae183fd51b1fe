// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#![doc = include_str!("../README.md")]

#[cfg(not(target_arch = "x86_64"))]
compile_error!("soft-vcpu keeps x86's memory ordering by being run on it: it needs an x86-64 host");

mod block;
mod config;
mod cpu;
mod decode;
mod exec;
mod exit;
mod flags;
mod int;
mod io;
mod mem;
mod mode;
mod op;
mod run;
pub mod segment;
pub mod spec;
mod sse;
mod state;
mod sync;
mod system;
mod tsc;
mod vcpu;
mod x87;

#[cfg(all(test, not(loom)))]
mod tests;

pub use config::{Config, Cpuid, CpuidResult, Msr, MsrTable};
pub use exit::Exit;
pub use io::GeneralProtection;
pub use mem::{Memory, MemoryError};
pub use segment::{AccessRights, Segment, Table};
pub use state::{InvalidState, State};
pub use tsc::TscSource;
pub use vcpu::{Kick, NotStored, Occupied, Vcpu};
pub use vcpu_events::{Event, Exception, Interruptibility, Window};
