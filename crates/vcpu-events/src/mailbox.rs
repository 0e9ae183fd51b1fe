// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The request mailbox: how other threads get a vCPU's attention.
//!
//! Requests and the vCPU's mode share one atomic word, so every operation is one step in that
//! word's modification order and no second variable has to be ordered against it. The
//! sender's `fetch_or` publishes its request and reads the mode at the same instant:
//!
//! | the sender's step comes | then |
//! |---|---|
//! | before the vCPU's `enter_guest` or `block` | that step finds the request and refuses |
//! | after it | the sender saw the mode, and kicks or wakes |
//!
//! (Linux gets the same from two variables and a full barrier on each side:
//! Documentation/virt/kvm/vcpu-requests.rst, "Ensuring Requests Are Seen".)
//!
//! What the caller owes: a kick or wake must not get lost on *its* way. A kick ends the entry
//! that is under way or, if that one has ended, at most the following one; a wake ends the
//! sleep that follows `block` even if it comes before the thread sleeps. On KVM a signal alone
//! does not do that: its handler must set `kvm_run.immediate_exit`, which the vCPU clears after
//! [`Mailbox::exit_guest`] and before the next [`Mailbox::enter_guest`]. For sleeping,
//! `thread::park`, an eventfd or a futex all keep the wake.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};

#[cfg(not(loom))]
use core::sync::atomic::{AtomicU64, Ordering};

use crate::request::{Request, Requests};

/// Bits 61:60 of the word: the vCPU's mode. Below are the requests.
const MODE_SHIFT: u32 = 60;
const MODE: u64 = 3 << MODE_SHIFT;
/// A sender has taken it upon itself to kick: later ones need not.
const KICKED: u64 = 1 << 62;
/// A sender has taken it upon itself to wake: later ones need not.
const WOKEN: u64 = 1 << 63;

/// Where the vCPU is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Mode {
    /// In the VMM (or not started): it looks at its requests before it enters or sleeps.
    #[default]
    OutsideGuest = 0,
    /// Between [`Mailbox::enter_guest`] and [`Mailbox::exit_guest`].
    InGuest = 1,
    /// Between [`Mailbox::block`] and [`Mailbox::unblock`].
    Blocked = 2,
}

/// What the sender of a request has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Notify {
    /// Nothing: the vCPU will look by itself, or another sender is about to kick or wake it.
    None,
    /// The vCPU runs guest code: make it exit.
    Kick,
    /// The vCPU sleeps: wake its thread.
    Wake,
}

/// Requests to one vCPU, lock-free, shared by all threads.
///
/// Any thread may call [`make_request`](Self::make_request); the other methods that change
/// something are the vCPU thread's. Everything a sender wrote before its request is visible to
/// the vCPU after it took the request.
#[derive(Debug)]
#[cfg_attr(not(loom), derive(Default))]
#[repr(align(64))]
pub struct Mailbox {
    word: AtomicU64,
}

impl Mailbox {
    /// An empty mailbox of a vCPU outside the guest.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Mailbox { word: AtomicU64::new(0) }
    }

    /// An empty mailbox of a vCPU outside the guest.
    #[cfg(loom)]
    pub fn new() -> Self {
        Mailbox { word: AtomicU64::new(0) }
    }

    /// Publishes `request` and says what to do so that the vCPU sees it. For any thread but the
    /// vCPU's own; wait-free.
    pub fn make_request(&self, request: Request) -> Notify {
        let notified = if request.wakes() { KICKED | WOKEN } else { KICKED };
        let before = self.word.fetch_or(request.mask() | notified, Ordering::AcqRel);
        match mode(before) {
            Mode::InGuest if before & KICKED == 0 => Notify::Kick,
            Mode::Blocked if request.wakes() && before & WOKEN == 0 => Notify::Wake,
            _ => Notify::None,
        }
    }

    /// Publishes a request of the vCPU to itself: it is handled before the next entry and never
    /// needs a kick.
    pub fn request_self(&self, request: Request) {
        self.word.fetch_or(request.mask(), Ordering::AcqRel);
    }

    /// Takes all requests; iterate over them for the order of handling.
    pub fn take(&self) -> Requests {
        let before = self.word.fetch_and(!Requests::ALL.bits(), Ordering::AcqRel);
        Requests::from_bits_truncate(before)
    }

    /// Takes one request if it is there.
    pub fn take_request(&self, request: Request) -> bool {
        self.word.fetch_and(!request.mask(), Ordering::AcqRel) & request.mask() != 0
    }

    /// The requests that nobody has taken yet.
    pub fn pending(&self) -> Requests {
        Requests::from_bits_truncate(self.word.load(Ordering::Acquire))
    }

    /// Where the vCPU is; already history when it returns.
    pub fn mode(&self) -> Mode {
        mode(self.word.load(Ordering::Acquire))
    }

    /// Declares the vCPU in the guest, unless requests are pending.
    ///
    /// # Errors
    /// The pending requests: take and handle them, then try again.
    pub fn enter_guest(&self) -> Result<(), Requests> {
        self.change_mode(Mode::InGuest, Requests::ALL)
    }

    /// Declares the vCPU out of the guest: no kick is needed from here on.
    pub fn exit_guest(&self) {
        self.leave();
    }

    /// Declares the vCPU asleep, unless requests that end a halt are pending. The caller sleeps
    /// after `Ok`, until a wake, a deadline of its own or spuriously.
    ///
    /// # Errors
    /// The pending requests that end a halt: take and handle them.
    pub fn block(&self) -> Result<(), Requests> {
        self.change_mode(Mode::Blocked, Requests::WAKING)
    }

    /// Declares the vCPU awake: no wake is needed from here on.
    pub fn unblock(&self) {
        self.leave();
    }

    fn leave(&self) {
        self.word.fetch_and(!MODE, Ordering::AcqRel);
    }

    /// One compare-and-swap: refuses while any of `unless` is pending. The new mode starts
    /// without anybody's promise to notify it.
    fn change_mode(&self, to: Mode, unless: Requests) -> Result<(), Requests> {
        let enter = |word: u64| match word & unless.bits() {
            0 => Some(word & Requests::ALL.bits() | (to as u64) << MODE_SHIFT),
            _ => None,
        };
        match self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter) {
            Ok(_) => Ok(()),
            Err(word) => Err(Requests::from_bits_truncate(word & unless.bits())),
        }
    }
}

#[cfg(loom)]
impl Default for Mailbox {
    fn default() -> Self {
        Self::new()
    }
}

const fn mode(word: u64) -> Mode {
    match (word & MODE) >> MODE_SHIFT {
        1 => Mode::InGuest,
        2 => Mode::Blocked,
        _ => Mode::OutsideGuest,
    }
}

// Requests, mode and the two notification bits fit without overlap.
const _: () = assert!(Requests::ALL.bits() & (MODE | KICKED | WOKEN) == 0);
