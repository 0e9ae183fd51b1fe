// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a vCPU loop does on every turn, and what a sender does to get its attention.

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, Criterion};
use vcpu_events::svm::EventInjection;
use vcpu_events::vmx::EventFields;
use vcpu_events::{Event, Events, Exception, Interruptibility, Mailbox, Request, Tracking};

/// One operation, in a function of its own so that callgrind can count just its instructions
/// (docs/benchmarks.md).
#[inline(never)]
fn measured<R>(operation: impl FnOnce() -> R) -> R {
    operation()
}

fn bench_mailbox(c: &mut Criterion) {
    let mailbox = &Mailbox::new();
    c.bench_function("mailbox/turn_without_request", |b| {
        b.iter(|| {
            measured(|| {
                let entered = black_box(mailbox).enter_guest().is_ok();
                mailbox.exit_guest();
                entered
            })
        })
    });
    c.bench_function("mailbox/turn_with_request", |b| {
        b.iter(|| {
            measured(|| {
                let notify = black_box(mailbox).make_request(Request::Event);
                let taken = mailbox.take().map(|request| request as u32).sum::<u32>();
                let entered = mailbox.enter_guest().is_ok();
                mailbox.exit_guest();
                (notify, taken, entered)
            })
        })
    });
    c.bench_function("mailbox/request", |b| {
        b.iter(|| measured(|| black_box(mailbox).make_request(Request::Event)))
    });
    c.bench_function("mailbox/request_already_there", |b| {
        let _ = mailbox.make_request(Request::Event);
        b.iter(|| measured(|| black_box(mailbox).make_request(Request::Event)))
    });
}

fn bench_decide(c: &mut Criterion) {
    let mut events = Events::new(Tracking::Here);
    let open = Interruptibility::OPEN;
    c.bench_function("decide/nothing", |b| {
        b.iter(|| measured(|| black_box(&events).decide(black_box(&open), false, None)))
    });
    c.bench_function("decide/interrupt", |b| {
        b.iter(|| {
            measured(|| {
                let decision = black_box(&events).decide(&open, false, black_box(Some(0x41)));
                if let Some(injection) = decision.inject {
                    events.commit(injection);
                }
                decision
            })
        })
    });
    c.bench_function("decide/window", |b| {
        let closed = Interruptibility::CLOSED;
        b.iter(|| measured(|| black_box(&events).decide(black_box(&closed), false, Some(0x41))))
    });
    c.bench_function("decide/cut_short_and_again", |b| {
        b.iter(|| {
            measured(|| {
                events.interrupted(black_box(Event::Interrupt(0x41)));
                let decision = events.decide(&open, false, Some(0x61));
                if let Some(injection) = decision.inject {
                    events.commit(injection);
                }
                decision
            })
        })
    });
}

fn bench_encodings(c: &mut Criterion) {
    let event = Event::Exception(Exception::pf(2, 0x1000));
    c.bench_function("encode/vmx_round_trip", |b| {
        b.iter(|| measured(|| EventFields::from(black_box(event)).event()))
    });
    c.bench_function("encode/svm_round_trip", |b| {
        b.iter(|| measured(|| EventInjection::from(black_box(event)).event()))
    });
}

criterion_group!(benches, bench_mailbox, bench_decide, bench_encodings);
criterion_main!(benches);
