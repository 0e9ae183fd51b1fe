// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod chip;
mod pair;
pub mod spec;
pub mod state;

#[cfg(feature = "kvm")]
pub mod kvm;
#[cfg(feature = "vm-device")]
mod vm_device;

#[cfg(test)]
mod tests;

pub use pair::{AccessError, Acknowledge, InvalidPin, PicPair, Source};
pub use state::{ChipState, InvalidState, PicState, Step};
