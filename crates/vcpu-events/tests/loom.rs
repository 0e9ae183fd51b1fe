// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! EVT-1 under every interleaving and every permitted reordering of memory accesses:
//! `RUSTFLAGS="--cfg loom" cargo test -p vcpu-events --release --test loom`.
#![cfg(loom)]

use std::mem;

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use vcpu_events::{Mailbox, Notify, Request, Requests};

/// A kick or a wake that keeps: what `immediate_exit` and an eventfd are.
#[derive(Default)]
struct Token {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Token {
    fn set(&self) {
        *self.set.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn clear(&self) {
        *self.set.lock().unwrap() = false;
    }

    /// The guest runs, or the thread sleeps, until the token is set.
    fn wait(&self) {
        let mut set = self.set.lock().unwrap();
        while !mem::take(&mut *set) {
            set = self.changed.wait(set).unwrap();
        }
    }
}

#[derive(Default)]
struct Shared {
    mailbox: Mailbox,
    kick: Token,
    wake: Token,
    /// Written with relaxed accesses before the request: what a posted interrupt is.
    posted: AtomicU32,
}

impl Shared {
    fn send(&self, request: Request, bit: u32) -> Notify {
        self.posted.fetch_or(bit, Ordering::Relaxed);
        let notify = self.mailbox.make_request(request);
        match notify {
            Notify::Kick => self.kick.set(),
            Notify::Wake => self.wake.set(),
            Notify::None => {}
        }
        notify
    }

    /// Runs or sleeps until the requests in `wanted` have come; a lost kick or wake is a
    /// deadlock, which the model checker reports.
    fn vcpu(&self, wanted: Requests, sleep: bool) {
        let mut seen = 0;
        loop {
            seen |= self.mailbox.take().bits();
            if seen & wanted.bits() == wanted.bits() {
                return;
            }
            if sleep {
                if self.mailbox.block().is_ok() {
                    self.wake.wait();
                    self.mailbox.unblock();
                }
            } else if self.mailbox.enter_guest().is_ok() {
                self.kick.wait();
                self.mailbox.exit_guest();
                self.kick.clear();
            }
        }
    }
}

fn two_senders(sleep: bool) {
    loom::model(move || {
        let shared = Arc::new(Shared::default());
        let senders = [(Request::Event, 1), (Request::Nmi, 2)].map(|(request, bit)| {
            let shared = shared.clone();
            thread::spawn(move || {
                let _ = shared.send(request, bit);
            })
        });
        shared.vcpu([Request::Event, Request::Nmi].into_iter().collect(), sleep);
        assert_eq!(shared.posted.load(Ordering::Relaxed), 3, "seen with the request");
        for sender in senders {
            sender.join().unwrap();
        }
    });
}

#[test]
fn evt_1_no_kick_is_lost_under_any_memory_order() {
    two_senders(false);
}

#[test]
fn evt_1_no_wake_up_is_lost_under_any_memory_order() {
    two_senders(true);
}

#[test]
fn evt_1_one_entry_is_kicked_at_most_once() {
    loom::model(|| {
        let shared = Arc::new(Shared::default());
        assert!(shared.mailbox.enter_guest().is_ok());
        let senders = [(Request::Event, 1), (Request::Nmi, 2)].map(|(request, bit)| {
            let shared = shared.clone();
            thread::spawn(move || shared.send(request, bit))
        });
        let told = senders.map(|sender| sender.join().unwrap());
        assert_eq!(told.iter().filter(|notify| **notify == Notify::Kick).count(), 1);
    });
}

#[test]
fn evt_1_a_request_that_does_not_wake_hides_no_wake_up_under_any_memory_order() {
    loom::model(|| {
        let shared = Arc::new(Shared::default());
        let senders = [(Request::ScanIoapic, 1), (Request::Event, 2)].map(|(request, bit)| {
            let shared = shared.clone();
            thread::spawn(move || {
                let _ = shared.send(request, bit);
            })
        });
        shared.vcpu([Request::Event].into_iter().collect(), true);
        for sender in senders {
            sender.join().unwrap();
        }
    });
}

#[test]
fn evt_1_self_requests_need_no_kick_under_any_memory_order() {
    loom::model(|| {
        let shared = Arc::new(Shared::default());
        let sender = {
            let shared = shared.clone();
            thread::spawn(move || {
                let _ = shared.send(Request::Nmi, 1);
            })
        };
        shared.mailbox.request_self(Request::Event);
        assert!(shared.mailbox.enter_guest().is_err(), "its own request is seen at once");
        shared.vcpu([Request::Event, Request::Nmi].into_iter().collect(), false);
        sender.join().unwrap();
    });
}
