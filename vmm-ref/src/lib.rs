// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A reference VMM: a machine, its backends and its devices, composed from the interrupt crates.

pub mod acpi;
pub mod alarm;
pub mod backend;
pub mod board;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod console;
pub mod control;
pub mod devices;
pub mod interrupts;
pub mod kick;
pub mod layout;
pub mod loader;
pub mod logging;
pub mod machine;
pub mod main_loop;
pub mod pit;
pub mod stats;
pub mod sync;
pub mod terminal;
pub mod trace;
pub mod vcpu;
