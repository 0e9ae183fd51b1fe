// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One vector of an MSI-X table.

use super::{CONTROL_ENABLE, CONTROL_FUNCTION_MASK};
use crate::group::{MsiBackend, RouteChange};
use crate::notify::NO_GSI;
use crate::packed;
use crate::sync::{AtomicU32, AtomicU64, Relaxed, SeqCst};
use crate::{Delivery, Gsi, Msi};

/// Vector control: mask bit.
pub(super) const VECTOR_MASK: u32 = 1;

// The bits of a vector's word above its message.
pub(super) const MASKED: u64 = 1 << 60;
pub(super) const PENDING: u64 = 1 << 61;
pub(super) const FUNCTION_MASKED: u64 = 1 << 62;
pub(super) const DISABLED: u64 = 1 << 63;
pub(super) const SILENT: u64 = MASKED | FUNCTION_MASKED | DISABLED;

/// One vector.
#[derive(Debug)]
pub(super) struct Vector {
    pub(super) word: AtomicU64,
    /// The first three dwords as the guest wrote them, for reading back.
    pub(super) raw: [AtomicU32; 3],
    /// The GSI behind the notifier, or [`NO_GSI`].
    pub(super) gsi: AtomicU32,
}

/// A change of an entry: the bits of each dword that `masks` names, from `values`.
#[derive(Clone, Copy, Default)]
pub(super) struct EntryWrite {
    pub(super) values: [u32; 4],
    pub(super) masks: [u32; 4],
}

impl Vector {
    pub(super) fn new() -> Self {
        Vector {
            word: AtomicU64::new(reset_word()),
            raw: core::array::from_fn(|_| AtomicU32::new(0)),
            gsi: AtomicU32::new(NO_GSI),
        }
    }

    /// The path of every interrupt.
    pub(super) fn trigger<B: MsiBackend>(&self, backend: &B) -> Delivery {
        let mut word = self.word.load(SeqCst);
        while word & SILENT != 0 {
            if word & DISABLED != 0 {
                return Delivery::Ignored;
            }
            // Fails if the word changed, then perhaps unmasked: whoever unmasks after this
            // succeeded sees the pending bit in the same word.
            match self.word.compare_exchange(word, word | PENDING, SeqCst, SeqCst) {
                Ok(_) => return Delivery::Coalesced,
                Err(now) => word = now,
            }
        }
        send(word, backend)
    }

    /// Changes the word; if it leaves nothing to mask a pending interrupt, sends that.
    pub(super) fn change<B: MsiBackend>(&self, change: impl Fn(u64) -> u64, backend: &B) {
        let mut word = self.word.load(SeqCst);
        loop {
            let next = change(word);
            let deliver = next & SILENT == 0 && next & PENDING != 0;
            let next = if deliver { next & !PENDING } else { next };
            match self.word.compare_exchange(word, next, SeqCst, SeqCst) {
                Ok(_) => {
                    if deliver {
                        let _ = send(next, backend);
                    }
                    return;
                }
                Err(now) => word = now,
            }
        }
    }

    pub(super) fn reset(&self) {
        self.word.store(reset_word(), SeqCst);
        self.raw.iter().for_each(|dword| dword.store(0, Relaxed));
    }

    pub(super) fn dword(&self, dword: usize) -> u32 {
        match self.raw.get(dword) {
            Some(raw) => raw.load(Relaxed),
            None => u32::from(self.word.load(SeqCst) & MASKED != 0),
        }
    }

    /// Keeps what the guest wrote; gives the three dwords back as they are now. Address bits
    /// 1:0 are read-only zeroes.
    pub(super) fn store_raw(&self, write: EntryWrite) -> [u32; 3] {
        core::array::from_fn(|dword| {
            let mask = write.masks[dword];
            let writable = if dword == 0 { !3 } else { !0 };
            let value = (self.raw[dword].load(Relaxed) & !mask | write.values[dword]) & writable;
            if mask != 0 {
                self.raw[dword].store(value, Relaxed);
            }
            value
        })
    }

    pub(super) fn gsi(&self) -> Option<Gsi> {
        Some(self.gsi.load(SeqCst)).filter(|gsi| *gsi != NO_GSI).map(Gsi)
    }

    pub(super) fn route(&self) -> Option<RouteChange> {
        let gsi = self.gsi()?;
        let word = self.word.load(SeqCst);
        let msi = if word & SILENT == 0 { packed::message(word) } else { None };
        Some(RouteChange { gsi, msi })
    }
}

fn reset_word() -> u64 {
    packed::with_message(0, Msi::default()) | MASKED | DISABLED
}

pub(super) fn entry_word(entry: &[u32; 4], pending: bool) -> u64 {
    let word = packed::with_low(0, entry[0]);
    let word = packed::with_data(packed::with_high(word, entry[1]), entry[2]);
    let masked = if entry[3] & VECTOR_MASK != 0 { MASKED } else { 0 };
    word | masked | if pending { PENDING } else { 0 }
}

pub(super) fn control_bits(control: u16) -> u64 {
    let disabled = if control & CONTROL_ENABLE == 0 { DISABLED } else { 0 };
    let masked = if control & CONTROL_FUNCTION_MASK != 0 { FUNCTION_MASKED } else { 0 };
    disabled | masked
}

fn send<B: MsiBackend>(word: u64, backend: &B) -> Delivery {
    packed::message(word).map_or(Delivery::Ignored, |msi| backend.send(msi))
}
