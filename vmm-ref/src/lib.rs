// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A reference VMM: a machine, its backends and its devices, composed from the interrupt crates.

pub mod acpi;
pub mod cli;
pub mod devices;
pub mod layout;
pub mod loader;
pub mod logging;
pub mod terminal;
