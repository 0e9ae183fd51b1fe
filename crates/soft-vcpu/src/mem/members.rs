// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The vCPUs that share a memory, and how one makes the others forget their unseen ways to write
//! to a page that it is going to decode.
//!
//! Only then may a decoded block be believed as long as its page's generation stays: a write by
//! anybody goes the slow way. The wait is for an instruction boundary of each vCPU that runs and
//! had such a translation; one that is outside the guest catches up when it comes back.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A vCPU, as the others see it.
#[derive(Debug, Default)]
pub(crate) struct Member {
    /// Set by a kick: the next boundary ends the run.
    pub kick: AtomicU8,
    /// Translations that write unseen must go at the next boundary.
    forget: AtomicBool,
    /// In `run`.
    running: AtomicBool,
}

/// All vCPUs of a memory; the index is the vCPU's bit in a page's writers, modulo 32.
#[derive(Debug, Default)]
pub(super) struct Members {
    all: Mutex<Vec<Arc<Member>>>,
}

impl Members {
    /// Adds a vCPU.
    pub fn join(&self) -> (u32, Arc<Member>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let member = Arc::new(Member::default());
        all.push(member.clone());
        (all.len() as u32 - 1, member)
    }

    /// Makes the vCPUs in `writers`, but not `own`, forget; waits for those that run. Meanwhile
    /// calls `at_boundary`, since one of them may be waiting for this vCPU.
    pub fn forget_writes(&self, writers: u32, own: u32, mut at_boundary: impl FnMut()) {
        let others: Vec<_> = {
            let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            let chosen = |index: u32| index != own && writers & 1 << (index % 32) != 0;
            (0..).zip(all.iter()).filter(|(n, _)| chosen(*n)).map(|(_, m)| m.clone()).collect()
        };
        for other in &others {
            other.forget.store(true, Ordering::SeqCst);
        }
        for other in others {
            while other.running.load(Ordering::SeqCst) && other.forget.load(Ordering::SeqCst) {
                at_boundary();
                std::thread::yield_now();
            }
        }
    }
}

impl Member {
    /// The vCPU runs from here on; whether it has to forget first.
    pub fn enter(&self) -> bool {
        self.running.store(true, Ordering::SeqCst);
        self.forget.load(Ordering::SeqCst)
    }

    /// The vCPU is outside, between instructions.
    pub fn leave(&self) {
        self.running.store(false, Ordering::SeqCst);
    }

    /// Whether there was a kick, which is over then.
    pub fn take_kick(&self) -> bool {
        self.kick.load(Ordering::Relaxed) != 0 && self.kick.swap(0, Ordering::SeqCst) != 0
    }

    /// Whether anything is to be done at this boundary.
    #[inline(always)]
    pub fn wants_attention(&self) -> bool {
        self.kick.load(Ordering::Relaxed) != 0 || self.forget.load(Ordering::Relaxed)
    }

    /// Whether to forget.
    pub fn must_forget(&self) -> bool {
        self.forget.load(Ordering::SeqCst)
    }

    /// It was forgotten.
    pub fn forgot(&self) {
        self.forget.store(false, Ordering::SeqCst);
    }
}
