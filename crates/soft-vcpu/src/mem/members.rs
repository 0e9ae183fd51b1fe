// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The vCPUs that share a memory, and how one makes the others forget their unseen ways to write
//! to a page that it is going to decode.
//!
//! Only then may a decoded block be believed as long as its page's generation stays: a write by
//! anybody goes the slow way. The wait is for an instruction boundary of each vCPU that runs and
//! had such a translation; one that is outside the guest catches up when it comes back.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError};

use crate::sync::{yield_now, AtomicBool, AtomicU32, Mutex};

/// A vCPU, as the others see it.
#[derive(Debug, Default)]
pub(crate) struct Member {
    /// Set by a kick: the next boundary ends the run.
    pub kick: AtomicU8,
    /// Translations that write unseen must go at the next boundary.
    forget: AtomicBool,
    /// How often that was asked for, modulo 2^32.
    asked: AtomicU32,
    /// The last of these that was heard.
    forgotten: AtomicU32,
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
        let asked: Vec<_> = others.iter().map(|other| other.ask_to_forget()).collect();
        for (other, asked) in others.iter().zip(asked) {
            while other.running.load(Ordering::SeqCst) && !other.has_forgotten(asked) {
                at_boundary();
                yield_now();
            }
        }
    }
}

/// A vCPU in `run`, from `enter` on; dropped when it is outside again, between instructions.
pub(crate) struct Running(Arc<Member>);

impl Running {
    /// The vCPU has to look whether to forget before anything else.
    pub fn enter(member: Arc<Member>) -> Self {
        member.running.store(true, Ordering::SeqCst);
        Running(member)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::SeqCst);
    }
}

impl Member {
    /// Whether there was a kick, which is over then.
    pub fn take_kick(&self) -> bool {
        self.kick.load(Ordering::Relaxed) != 0 && self.kick.swap(0, Ordering::SeqCst) != 0
    }

    /// Whether anything is to be done at this boundary.
    #[inline(always)]
    pub fn wants_attention(&self) -> bool {
        self.kick.load(Ordering::Relaxed) != 0 || self.forget.load(Ordering::Relaxed)
    }

    /// Asks; [`Member::has_forgotten`] tells by the number given.
    fn ask_to_forget(&self) -> u32 {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
        self.forget.store(true, Ordering::SeqCst);
        asked
    }

    /// Whether all was forgotten since `asked` was given.
    fn has_forgotten(&self, asked: u32) -> bool {
        self.forgotten.load(Ordering::SeqCst).wrapping_sub(asked) as i32 >= 0
    }

    /// Forgets by `forget` if somebody asked. Who asks meanwhile may have marked a page that was
    /// looked at already: he is heard the next time.
    pub fn attend(&self, forget: impl FnOnce()) {
        if self.forget.load(Ordering::SeqCst) {
            self.forget.store(false, Ordering::SeqCst);
            let asked = self.asked.load(Ordering::SeqCst);
            forget();
            self.forgotten.store(asked, Ordering::SeqCst);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn who_asks_while_it_forgets_is_heard_the_next_time() {
        let member = Member::default();
        let first = member.ask_to_forget();
        let mut second = None;
        member.attend(|| second = Some(member.ask_to_forget()));
        assert!(member.has_forgotten(first));
        assert!(!member.has_forgotten(second.unwrap()));
        assert!(member.wants_attention());
        member.attend(|| {});
        assert!(member.has_forgotten(second.unwrap()));
        assert!(!member.wants_attention());
    }
}
