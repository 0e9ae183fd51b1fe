// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LAP-14: posting. Every interleaving of it is in `loom_tests`.

use core::mem::{align_of, size_of};
use irq_routing::{Delivery, DeliveryMode, TriggerMode};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{config, message, Rig};
use crate::{LvtIndex, Posted, PostedInterrupts, PostedState, Synced};

const NEW: Posted = Posted { delivery: Delivery::Delivered(1), notify: true };
const MORE: Posted = Posted { delivery: Delivery::Delivered(1), notify: false };
const SAME: Posted = Posted { delivery: Delivery::Coalesced, notify: false };

#[test]
fn lap_14_the_first_post_notifies_until_the_owner_looks() {
    let mut rig = Rig::xapic();
    assert_eq!(rig.posted.post_vector(0x40, TriggerMode::Edge), NEW);
    assert_eq!(rig.posted.post_vector(0x41, TriggerMode::Edge), MORE);
    assert_eq!(rig.posted.post_vector(0x40, TriggerMode::Edge), SAME);
    assert_eq!(rig.posted.post_vector(0x40, TriggerMode::Level), MORE);
    assert!(rig.posted.outstanding());
    assert!(rig.sync().vectors);
    assert!(!rig.posted.outstanding());
    assert_eq!(rig.posted.post_vector(0x40, TriggerMode::Edge), NEW);
}

#[test]
fn lap_14_everything_that_is_not_a_vector() {
    let mut rig = Rig::xapic();
    for (mode, synced) in [
        (DeliveryMode::Smi, Synced { smi: true, ..Synced::default() }),
        (DeliveryMode::Nmi, Synced { nmi: 1, ..Synced::default() }),
        (DeliveryMode::ExtInt, Synced { extint: true, ..Synced::default() }),
    ] {
        assert_eq!(rig.posted.post(&message(mode, 0, 0)), NEW, "{mode:?}");
        assert_eq!(rig.sync(), synced, "{mode:?}");
        rig.lapic.accept_extint();
        assert_eq!(rig.sync(), Synced::default(), "{mode:?}: reported once");
    }
    assert_eq!(rig.posted.post(&message(DeliveryMode::Init, 0, 0)), NEW);
    assert_eq!(rig.posted.post(&message(DeliveryMode::Init, 0, 0)), SAME);
    assert!(rig.sync().init && rig.sync().init, "until it is handled");
}

#[test]
fn lap_14_two_nmis_are_kept_and_a_third_merges() {
    let mut rig = Rig::xapic();
    let posts = [(); 4].map(|()| rig.posted.post_nmi());
    assert_eq!(posts, [NEW, MORE, SAME, SAME]);
    assert_eq!(rig.sync().nmi, 2);
}

#[test]
fn lap_14_local_interrupts_fire_when_the_owner_looks() {
    let mut rig = Rig::xapic();
    rig.write(crate::spec::reg::LVT_THERMAL, 0x45);
    assert_eq!(rig.posted.post_local(LvtIndex::Thermal), NEW);
    let _ = rig.sync();
    assert_eq!(rig.take(), Some(0x45));
}

#[test]
fn lap_14_the_descriptor_has_the_hardwares_shape() {
    // 64 bytes with 256 request bits first, and a second line for level requests.
    assert_eq!((size_of::<PostedInterrupts>(), align_of::<PostedInterrupts>()), (128, 64));
}

#[test]
fn lap_14_the_owner_publishes_its_priority() {
    let mut rig = Rig::xapic();
    rig.edge(0x75);
    assert_eq!(rig.take(), Some(0x75));
    assert_eq!(rig.posted.priority(), 0);
    let _ = rig.sync();
    assert_eq!(rig.posted.priority(), 0x70);
}

#[test]
fn lap_14_threads_lose_nothing() {
    const ROUNDS: u32 = 2_000;
    let posted = PostedInterrupts::new();
    let (delivered, taken, notified) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let senders = AtomicU32::new(3);
    std::thread::scope(|scope| {
        for sender in 0..3u8 {
            let (posted, delivered, notified, senders) = (&posted, &delivered, &notified, &senders);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let vector = 0x40 + sender * 0x40 + (round % 0x40) as u8;
                    let outcome = posted.post_vector(vector, TriggerMode::from_bit(round % 3 == 0));
                    if outcome.delivery == Delivery::Delivered(1) {
                        delivered.fetch_add(1, Ordering::SeqCst);
                    }
                    if outcome.notify {
                        notified.fetch_add(1, Ordering::SeqCst);
                    }
                }
                senders.fetch_sub(1, Ordering::SeqCst);
            });
        }
        scope.spawn(|| loop {
            let last = senders.load(Ordering::SeqCst) == 0;
            if let Some(state) = posted.take() {
                let words = state.edge.iter().chain(&state.level);
                taken.fetch_add(words.map(|w| w.count_ones()).sum(), Ordering::SeqCst);
            }
            if last {
                break;
            }
        });
    });
    assert_eq!(taken.into_inner(), delivered.into_inner());
    assert!(notified.into_inner() > 0);
    assert_eq!(posted.state(), PostedState::default());
}

#[test]
fn lap_14_state_round_trips_and_stays_outstanding() {
    let rig = Rig::with(config());
    let _ = rig.posted.post_vector(0x40, TriggerMode::Edge);
    let _ = rig.posted.post_vector(0xff, TriggerMode::Level);
    rig.post_all();
    let state = rig.posted.state();
    let restored = PostedInterrupts::from_state(&state);
    assert_eq!(restored.state(), state);
    assert!(restored.outstanding());
    assert_eq!(PostedInterrupts::from_state(&PostedState::default()).state(), Default::default());
    // Requests without their notification bit, as a crafted state may have them.
    let crafted = PostedState { outstanding: false, ..state };
    assert!(PostedInterrupts::from_state(&crafted).outstanding());
}

impl Rig {
    fn post_all(&self) {
        for mode in [
            DeliveryMode::Smi,
            DeliveryMode::Nmi,
            DeliveryMode::ExtInt,
            DeliveryMode::Init,
            DeliveryMode::StartUp,
        ] {
            let _ = self.posted.post(&message(mode, 0, 0x9a));
        }
        for lvt in LvtIndex::ALL {
            let _ = self.posted.post_local(lvt);
        }
    }
}
