// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Memory: from an instruction's operand to bytes of the host.
//!
//! operand -> [`address`]: segment -> linear address -> [`tlb`], or [`walk`] of the page tables ->
//! guest-physical address -> [`physical`] -> host memory, or an exit where there is none.

mod access;
mod address;
mod members;
mod physical;
mod quick;
mod stack;
mod tlb;
mod walk;
mod wide;

pub(crate) use members::{Member, Running};
pub(crate) use physical::Page;
pub use physical::{Memory, MemoryError};
pub(crate) use quick::{Address, Any, Plain};
pub(crate) use tlb::Tlb;
pub(crate) use walk::Access;

/// Bytes of a page.
pub(crate) const PAGE: u64 = 0x1000;
/// Clears the offset in a page.
pub(crate) const PAGE_MASK: u64 = !(PAGE - 1);
