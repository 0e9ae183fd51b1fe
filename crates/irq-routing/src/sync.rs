// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Atomics: core's, or loom's where a test tries every interleaving.

#[cfg(not(all(test, loom)))]
pub(crate) use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicU8};
#[cfg(all(test, loom))]
pub(crate) use loom::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicU8};

pub(crate) use core::sync::atomic::Ordering::{Relaxed, SeqCst};
