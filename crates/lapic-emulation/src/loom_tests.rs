// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LAP-14, LAP-9 under every interleaving:
//! `RUSTFLAGS="--cfg loom" cargo test -p lapic-emulation --lib --release`.

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::Arc;
use loom::thread;

use irq_routing::{Delivery, TriggerMode};

use crate::signals::Signals;
use crate::{Posted, PostedInterrupts, PostedState};

/// Takes until nothing is outstanding, as an owner that is notified does.
fn drain(posted: &PostedInterrupts) -> PostedState {
    let mut sum = PostedState::default();
    while let Some(state) = posted.take() {
        for word in 0..4 {
            sum.edge[word] |= state.edge[word];
            sum.level[word] |= state.level[word];
        }
        sum.signals = sum.signals.then(state.signals);
    }
    sum
}

fn both(a: PostedState, b: PostedState) -> PostedState {
    PostedState {
        edge: core::array::from_fn(|word| a.edge[word] | b.edge[word]),
        level: core::array::from_fn(|word| a.level[word] | b.level[word]),
        signals: a.signals.then(b.signals),
        outstanding: false,
    }
}

/// Whoever posts while the owner looks either is seen by that look, or is told to notify.
#[test]
fn lap_14_no_post_and_no_notification_is_lost() {
    loom::model(|| {
        let posted = Arc::new(PostedInterrupts::new());
        let poster = {
            let posted = posted.clone();
            thread::spawn(move || posted.post_vector(0x41, TriggerMode::Edge))
        };
        let seen = posted.take();
        let Posted { notify, delivery } = poster.join().unwrap();
        assert_eq!(delivery, Delivery::Delivered(1));
        let got = seen.is_some_and(|state| state.edge[1] == 2);
        // The first post of all always notifies.
        assert!(notify);
        assert!(got || posted.outstanding(), "taken or still announced");
        assert_eq!(both(seen.unwrap_or_default(), drain(&posted)).edge[1], 2);
    });
}

/// Two posters and an owner: each request arrives, and between two looks of the owner at least
/// one poster notifies if anything was left behind.
#[test]
fn lap_14_two_posters_one_owner() {
    loom::model(|| {
        let posted = Arc::new(PostedInterrupts::new());
        let notified = Arc::new(AtomicU32::new(0));
        let posters = [0x40u8, 0x41].map(|vector| {
            let (posted, notified) = (posted.clone(), notified.clone());
            thread::spawn(move || {
                if posted.post_vector(vector, TriggerMode::Edge).notify {
                    notified.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        let seen = posted.take().unwrap_or_default();
        let [(), ()] = posters.map(|poster| poster.join().unwrap());
        let taken = u32::from(seen.outstanding);
        let left = u32::from(posted.outstanding());
        // Each setting of ON notified once, and was taken or still stands.
        assert_eq!(notified.load(Ordering::SeqCst), taken + left);
        let rest = drain(&posted);
        assert_eq!(both(seen, rest).edge[1], 3);
        if rest.edge[1] != 0 {
            assert_eq!(left, 1, "what was left behind is announced");
        }
    });
}

/// Data written before a post is visible to the owner that takes it, also when the post merged
/// with someone else's.
fn merged_posts_publish_their_data(
    post: fn(&PostedInterrupts) -> Posted,
    holds: fn(&PostedState) -> bool,
) {
    loom::model(move || {
        let posted = Arc::new(PostedInterrupts::new());
        let data = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let posters = [0, 1].map(|n: usize| {
            let (posted, data) = (posted.clone(), data.clone());
            thread::spawn(move || {
                data[n].store(1, Ordering::Relaxed);
                post(&posted).delivery
            })
        });
        let taken = posted.take().is_some_and(|state| holds(&state));
        let data = [0, 1].map(|n: usize| data[n].load(Ordering::Relaxed));
        let outcomes = posters.map(|poster| poster.join().unwrap());
        // A merged post came before the take, and so did the one that it merged with.
        if taken && outcomes.contains(&Delivery::Coalesced) {
            assert_eq!(data, [1, 1]);
        }
        let _ = drain(&posted);
    });
}

#[test]
fn lap_14_a_merged_vector_publishes_its_data() {
    merged_posts_publish_their_data(
        |posted| posted.post_vector(0x41, TriggerMode::Edge),
        |state| state.edge[1] == 2,
    );
}

#[test]
fn lap_14_a_merged_signal_publishes_its_data() {
    merged_posts_publish_their_data(|posted| posted.post_start(None), |state| state.signals.init);
}

/// The owner's take sees the data of every request that it takes.
#[test]
fn lap_14_taking_a_request_sees_the_data_behind_it() {
    loom::model(|| {
        let posted = Arc::new(PostedInterrupts::new());
        let data = Arc::new(AtomicU32::new(0));
        let poster = {
            let (posted, data) = (posted.clone(), data.clone());
            thread::spawn(move || {
                data.store(1, Ordering::Relaxed);
                let _ = posted.post_nmi();
            })
        };
        if posted.take().is_some_and(|state| state.signals.nmi == 1) {
            assert_eq!(data.load(Ordering::Relaxed), 1);
        }
        poster.join().unwrap();
    });
}

/// Edge and level senders of one vector do not disturb each other.
#[test]
fn lap_14_edge_and_level_of_one_vector_are_both_kept() {
    loom::model(|| {
        let posted = Arc::new(PostedInterrupts::new());
        let posters = [TriggerMode::Edge, TriggerMode::Level].map(|trigger| {
            let posted = posted.clone();
            thread::spawn(move || posted.post_vector(0x41, trigger).delivery)
        });
        let seen = posted.take().unwrap_or_default();
        for poster in posters {
            assert_eq!(poster.join().unwrap(), Delivery::Delivered(1));
        }
        let all = both(seen, drain(&posted));
        assert_eq!((all.edge[1], all.level[1]), (2, 2));
    });
}

/// One CPU sends INIT and SIPI back to back while the target looks: the SIPI always survives.
#[test]
fn lap_9_a_sipi_that_follows_an_init_is_never_lost() {
    loom::model(|| {
        let posted = Arc::new(PostedInterrupts::new());
        let sender = {
            let posted = posted.clone();
            thread::spawn(move || {
                let _ = posted.post_start(None);
                let _ = posted.post_start(Some(0x77));
            })
        };
        let first = posted.take().unwrap_or_default().signals;
        sender.join().unwrap();
        let all = first.then(drain(&posted).signals);
        assert_eq!((all.init, all.sipi), (true, Some(0x77)));
    });
}

/// A SIPI that was there before the INIT is gone, whenever the target looks.
#[test]
fn lap_9_a_sipi_before_an_init_never_survives() {
    loom::model(|| {
        let posted = Arc::new(PostedInterrupts::new());
        let sender = {
            let posted = posted.clone();
            thread::spawn(move || {
                let _ = posted.post_start(Some(0x11));
                let _ = posted.post_start(None);
            })
        };
        let first = posted.take().unwrap_or_default().signals;
        sender.join().unwrap();
        let all: Signals = first.then(drain(&posted).signals);
        assert_eq!((all.init, all.sipi), (true, None));
    });
}

impl PostedInterrupts {
    /// INIT, or a start-up IPI.
    fn post_start(&self, sipi: Option<u8>) -> Posted {
        use irq_routing::{DeliveryMode, DestinationMode, InterruptMessage};
        self.post(&InterruptMessage {
            destination: 0,
            destination_mode: DestinationMode::Physical,
            delivery_mode: if sipi.is_some() { DeliveryMode::StartUp } else { DeliveryMode::Init },
            trigger_mode: TriggerMode::Edge,
            vector: sipi.unwrap_or(0),
        })
    }
}
