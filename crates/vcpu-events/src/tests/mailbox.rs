// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! EVT-1, one step at a time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::{Mailbox, Mode, Notify, Request, Requests};

fn only(request: Request) -> Requests {
    [request].into_iter().collect()
}

#[test]
fn evt_1_outside_the_guest_nobody_is_notified() {
    let mailbox = Mailbox::new();
    assert_eq!(mailbox.make_request(Request::Event), Notify::None);
    assert_eq!(mailbox.pending(), only(Request::Event));
    assert_eq!(mailbox.enter_guest(), Err(only(Request::Event)));
    assert_eq!(mailbox.mode(), Mode::OutsideGuest);
    assert_eq!(mailbox.take(), only(Request::Event));
    assert_eq!(mailbox.enter_guest(), Ok(()));
    assert_eq!(mailbox.mode(), Mode::InGuest);
}

#[test]
fn evt_1_in_the_guest_the_first_request_kicks_and_the_others_ride_along() {
    let mailbox = Mailbox::new();
    assert_eq!(mailbox.enter_guest(), Ok(()));
    assert_eq!(mailbox.make_request(Request::ScanIoapic), Notify::Kick);
    assert_eq!(mailbox.make_request(Request::Nmi), Notify::None);
    assert_eq!(mailbox.make_request(Request::Nmi), Notify::None);
    mailbox.exit_guest();
    assert_eq!(mailbox.make_request(Request::Smi), Notify::None);
    assert_eq!(mailbox.take().count(), 3);
    assert_eq!(mailbox.enter_guest(), Ok(()));
    assert_eq!(mailbox.make_request(Request::Nmi), Notify::Kick, "the next entry needs its own");
}

#[test]
fn evt_1_a_blocked_vcpu_is_woken_once_and_only_by_requests_that_wake() {
    let mailbox = Mailbox::new();
    assert_eq!(mailbox.block(), Ok(()));
    assert_eq!(mailbox.mode(), Mode::Blocked);
    assert_eq!(mailbox.make_request(Request::ScanIoapic), Notify::None);
    assert_eq!(mailbox.make_request(Request::Event), Notify::Wake);
    assert_eq!(mailbox.make_request(Request::Nmi), Notify::None);
    mailbox.unblock();
    assert_eq!(mailbox.mode(), Mode::OutsideGuest);
    assert!(mailbox.take().contains(Request::ScanIoapic), "seen late, not lost");
}

#[test]
fn evt_1_a_pending_request_that_wakes_prevents_sleep_and_another_does_not() {
    let mailbox = Mailbox::new();
    let _ = mailbox.make_request(Request::ApicvUpdate);
    assert_eq!(mailbox.block(), Ok(()));
    mailbox.unblock();
    let _ = mailbox.make_request(Request::Event);
    assert_eq!(mailbox.block(), Err(only(Request::Event)));
    assert!(mailbox.take_request(Request::Event));
    assert!(!mailbox.take_request(Request::Event));
    assert_eq!(mailbox.block(), Ok(()));
    mailbox.unblock();
    assert_eq!(mailbox.enter_guest(), Err(only(Request::ApicvUpdate)), "entering waits for all");
}

#[test]
fn evt_1_self_requests_never_kick_and_are_handled_before_the_next_entry() {
    let mailbox = Mailbox::new();
    assert_eq!(mailbox.enter_guest(), Ok(()));
    mailbox.request_self(Request::Event);
    assert_eq!(mailbox.make_request(Request::Nmi), Notify::Kick, "the kick was not used up");
    mailbox.exit_guest();
    assert_eq!(mailbox.enter_guest().map_err(Iterator::count), Err(2));
}

#[test]
fn evt_1_taking_keeps_the_mode_and_every_request_is_one_bit() {
    let mailbox = Mailbox::new();
    assert_eq!(mailbox.enter_guest(), Ok(()));
    for &request in Request::ALL {
        let _ = mailbox.make_request(request);
    }
    assert_eq!(mailbox.take(), Requests::ALL);
    assert_eq!(mailbox.mode(), Mode::InGuest);
    assert!(mailbox.pending().is_empty());
}

#[test]
fn evt_1_real_threads_neither_lose_nor_duplicate_a_wake_up() {
    const SENDERS: u32 = 3;
    const EACH: u32 = 2_000;
    let (mailbox, posted) = (Mailbox::new(), AtomicU32::new(0));
    thread::scope(|scope| {
        let (mailbox, posted) = (&mailbox, &posted);
        let vcpu = scope.spawn(move || {
            let mut handled = 0;
            while handled < SENDERS * EACH {
                if mailbox.take().contains(Request::Event) {
                    handled += posted.swap(0, Ordering::Relaxed);
                } else if mailbox.block().is_ok() {
                    thread::park(); // keeps a wake that comes before it
                    mailbox.unblock();
                }
            }
            handled
        });
        for _ in 0..SENDERS {
            let vcpu = vcpu.thread().clone();
            scope.spawn(move || {
                for _ in 0..EACH {
                    posted.fetch_add(1, Ordering::Relaxed);
                    if mailbox.make_request(Request::Event) == Notify::Wake {
                        vcpu.unpark();
                    }
                }
            });
        }
        assert_eq!(vcpu.join().ok(), Some(SENDERS * EACH));
    });
}
