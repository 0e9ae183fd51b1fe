// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The posted-interrupt descriptor: how everyone but the owner reaches a local APIC.
//!
//! The shape is the hardware's (Intel SDM vol. 3, "Posted-Interrupt Processing"): 256 request
//! bits and an outstanding-notification bit. Level-triggered requests have a bitmap of their own,
//! so that two senders of one vector cannot race over its trigger mode, and what is not a vector
//! (NMI, SMI, INIT, SIPI, ExtINT, local interrupts) is a bit in one more word.
//!
//! # Why nothing is lost
//! A poster sets its request, then ON; the owner clears ON, then takes the requests. All four are
//! read-modify-writes with acquire and release ordering on the two locations.
//! * The poster's ON comes before the owner's clear in ON's modification order: the clear then
//!   reads from the poster's write or a later one of its release sequence, so the request
//!   happens before the owner's take, which gets it.
//! * It comes after: it finds ON clear, and the poster is told to notify.
//!
//! A poster that finds its request bit already set leaves ON to whoever set the bit; the owner
//! has not taken that bit yet, and its take synchronises with every poster of it.

use irq_routing::{Delivery, DeliveryMode, InterruptMessage, TriggerMode};

use crate::signals::Signals;
use crate::spec::LvtIndex;

#[cfg(not(loom))]
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What [`PostedInterrupts::post`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a target that is not notified may sleep on its interrupt"]
pub struct Posted {
    /// `Delivered(1)`, or `Coalesced` with a request that the owner has not taken yet.
    pub delivery: Delivery,
    /// The outstanding-notification bit went from 0 to 1: wake or kick the target.
    pub notify: bool,
}

impl Posted {
    const COALESCED: Posted = Posted { delivery: Delivery::Coalesced, notify: false };
}

/// Requests for one local APIC, posted from any thread and taken by its owner in
/// [`Lapic::sync`](crate::Lapic::sync).
///
/// An edge-triggered vector touches the first cache line only.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct PostedInterrupts {
    edge: [AtomicU64; 4],
    /// Bit 0: outstanding notification.
    on: AtomicU32,
    /// The owner's published processor priority, see [`PostedInterrupts::priority`].
    priority: AtomicU32,
    signals: AtomicU64,
    // 16 bytes fill the hardware's 64-byte descriptor; what follows is the second line.
    _reserved: [u64; 2],
    level: [AtomicU64; 4],
}

/// The requests of a [`PostedInterrupts`] that its owner has not taken yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PostedState {
    /// Edge-triggered vectors; bit n of the whole is vector n.
    pub edge: [u64; 4],
    /// Level-triggered vectors.
    pub level: [u64; 4],
    /// Everything that is not a vector.
    pub signals: Signals,
    /// The outstanding-notification bit.
    pub outstanding: bool,
}

impl Default for PostedInterrupts {
    fn default() -> Self {
        Self::new()
    }
}

impl PostedInterrupts {
    /// A descriptor without requests.
    pub fn new() -> Self {
        PostedInterrupts {
            edge: core::array::from_fn(|_| AtomicU64::new(0)),
            on: AtomicU32::new(0),
            priority: AtomicU32::new(0),
            signals: AtomicU64::new(0),
            _reserved: [0; 2],
            level: core::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Posts one message, whatever its destination says. Any thread.
    pub fn post(&self, message: &InterruptMessage) -> Posted {
        match message.delivery_mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                self.post_vector(message.vector, message.trigger_mode)
            }
            DeliveryMode::Smi => self.post_signals(|s| Signals { smi: true, ..s }),
            DeliveryMode::Nmi => self.post_nmi(),
            DeliveryMode::ExtInt => self.post_signals(|s| Signals { extint: true, ..s }),
            DeliveryMode::Init => self.post_signals(Signals::with_init),
            DeliveryMode::StartUp => self.post_signals(|s| s.with_sipi(message.vector)),
        }
    }

    /// Posts a vector. One below 16 sets the target's ESR instead of its IRR.
    pub fn post_vector(&self, vector: u8, trigger: TriggerMode) -> Posted {
        let map = if trigger.is_level() { &self.level } else { &self.edge };
        let bit = 1 << (vector % 64);
        let old = map[usize::from(vector) / 64].fetch_or(bit, Ordering::AcqRel);
        if old & bit != 0 {
            return Posted::COALESCED;
        }
        self.notify()
    }

    /// Posts an NMI. The descriptor holds two: one that the CPU takes and one that it latches.
    pub fn post_nmi(&self) -> Posted {
        self.post_signals(|s| Signals { nmi: (s.nmi + 1).min(2), ..s })
    }

    /// Makes local vector table entry `lvt` fire once, as a pulse on its input would (LAP-13).
    pub fn post_local(&self, lvt: LvtIndex) -> Posted {
        self.post_signals(|s| Signals { local: s.local | 1 << lvt as u8, ..s })
    }

    /// INIT and SIPI live in one word, so their order is decided here and for every observer:
    /// an INIT wipes out the SIPI before it, and a SIPI stays beside the INIT before it.
    fn post_signals(&self, change: impl Fn(Signals) -> Signals) -> Posted {
        let mut old = self.signals.load(Ordering::Relaxed);
        loop {
            let new = change(Signals::from_bits(old)).bits();
            // Also when nothing changes: the load may be stale, only a write that succeeds shows
            // that the owner's take is still to come.
            match self.signals.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) if new == old => return Posted::COALESCED,
                Ok(_) => return self.notify(),
                Err(current) => old = current,
            }
        }
    }

    fn notify(&self) -> Posted {
        let notify = self.on.fetch_or(1, Ordering::AcqRel) & 1 == 0;
        Posted { delivery: Delivery::Delivered(1), notify }
    }

    /// Whether the owner has something to take: what a vCPU that is about to sleep asks.
    pub fn outstanding(&self) -> bool {
        self.on.load(Ordering::Acquire) & 1 != 0
    }

    /// The processor priority (PPR, 8 bits) that the owner published last; lowest-priority
    /// arbitration reads it without touching the vCPU.
    pub fn priority(&self) -> u8 {
        self.priority.load(Ordering::Relaxed) as u8
    }

    /// The owner's part of [`PostedInterrupts::priority`].
    pub(crate) fn publish_priority(&self, ppr: u8) {
        // Read first: the line belongs to the senders as long as nothing changes.
        if self.priority() != ppr {
            self.priority.store(u32::from(ppr), Ordering::Relaxed);
        }
    }

    /// Takes everything, or `None` without a write when nothing is outstanding. Owner only.
    pub(crate) fn take(&self) -> Option<PostedState> {
        if !self.outstanding() {
            return None;
        }
        let outstanding = self.on.swap(0, Ordering::AcqRel) & 1 != 0;
        Some(PostedState {
            edge: core::array::from_fn(|word| take_word(&self.edge[word])),
            level: core::array::from_fn(|word| take_word(&self.level[word])),
            signals: Signals::from_bits(take_word(&self.signals)),
            outstanding,
        })
    }

    /// What is posted and not taken, for a snapshot. Exact only while nobody posts.
    pub fn state(&self) -> PostedState {
        PostedState {
            edge: core::array::from_fn(|word| self.edge[word].load(Ordering::Acquire)),
            level: core::array::from_fn(|word| self.level[word].load(Ordering::Acquire)),
            signals: Signals::from_bits(self.signals.load(Ordering::Acquire)),
            outstanding: self.outstanding(),
        }
    }

    /// A descriptor that holds `state`. It is outstanding if it holds anything.
    pub fn from_state(state: &PostedState) -> Self {
        let any = state.outstanding
            || state.edge.iter().chain(&state.level).any(|word| *word != 0)
            || state.signals != Signals::default();
        PostedInterrupts {
            edge: state.edge.map(AtomicU64::new),
            on: AtomicU32::new(any.into()),
            priority: AtomicU32::new(0),
            signals: AtomicU64::new(state.signals.bits()),
            _reserved: [0; 2],
            level: state.level.map(AtomicU64::new),
        }
    }
}

/// Empties one word; a word without bits is only read. Its bits, if any appear later, come with
/// an ON of their own.
fn take_word(word: &AtomicU64) -> u64 {
    if word.load(Ordering::Acquire) == 0 {
        return 0;
    }
    word.swap(0, Ordering::AcqRel)
}
