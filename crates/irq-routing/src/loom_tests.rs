// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RTE-3 under every interleaving: `RUSTFLAGS="--cfg loom" cargo test -p irq-routing --release
//! loom_`.

use loom::sync::atomic::{AtomicU32, Ordering::SeqCst};
use loom::sync::Arc;
use loom::thread;

use crate::{Delivery, InterruptSourceGroup, Msi, MsiBackend, MsiGroup, MsixGroup, SourceConfig};

/// Counts what is sent; panics on a message that mixes two.
struct Count(Arc<AtomicU32>);

impl MsiBackend for Count {
    type Notifier = core::convert::Infallible;

    fn send(&self, msi: Msi) -> Delivery {
        assert_eq!(msi.address >> 12 & 0xff, u64::from(msi.data), "torn message");
        self.0.fetch_add(1, SeqCst);
        Delivery::Delivered(1)
    }
}

/// To APIC id n, vector n.
fn message(n: u8) -> Msi {
    Msi { address: 0xfee0_0000 | u64::from(n) << 12, data: n.into() }
}

fn msix() -> (Arc<MsixGroup<Count>>, Arc<AtomicU32>) {
    let sent = Arc::new(AtomicU32::new(0));
    let group = MsixGroup::new(Count(sent.clone()), 1).unwrap();
    group.update(0, SourceConfig::Msi(message(0x40)), false).unwrap();
    group.enable().unwrap();
    (Arc::new(group), sent)
}

#[test]
fn rte_3_loom_msix_a_trigger_beside_an_unmask_is_sent_exactly_once() {
    loom::model(|| {
        let (group, sent) = msix();
        group.mask(0).unwrap();
        let device = {
            let group = group.clone();
            thread::spawn(move || group.trigger(0).map(|_| ()).unwrap())
        };
        group.unmask(0).unwrap();
        device.join().unwrap();
        assert_eq!(sent.load(SeqCst), 1);
        assert_eq!(group.is_pending(0), Ok(false));
    });
}

#[test]
fn rte_3_loom_msix_a_trigger_beside_a_function_unmask_is_sent_exactly_once() {
    loom::model(|| {
        let (group, sent) = msix();
        group.set_control(0xc000).unwrap();
        let device = {
            let group = group.clone();
            thread::spawn(move || group.trigger(0).map(|_| ()).unwrap())
        };
        group.set_control(0x8000).unwrap();
        device.join().unwrap();
        assert_eq!(sent.load(SeqCst), 1);
        assert_eq!(group.is_pending(0), Ok(false));
    });
}

#[test]
fn rte_3_loom_msix_a_trigger_beside_mask_and_unmask_is_neither_lost_nor_doubled() {
    loom::model(|| {
        let (group, sent) = msix();
        let device = {
            let group = group.clone();
            thread::spawn(move || group.trigger(0).map(|_| ()).unwrap())
        };
        group.mask(0).unwrap();
        group.unmask(0).unwrap();
        device.join().unwrap();
        assert_eq!(sent.load(SeqCst), 1);
    });
}

#[test]
fn rte_3_loom_msix_no_message_is_torn() {
    loom::model(|| {
        let (group, sent) = msix();
        let device = {
            let group = group.clone();
            thread::spawn(move || group.trigger(0).map(|_| ()).unwrap())
        };
        group.update(0, SourceConfig::Msi(message(0x51)), false).unwrap();
        device.join().unwrap();
        assert_eq!(sent.load(SeqCst), 1);
    });
}

#[test]
fn rte_3_loom_msix_two_control_writers_leave_one_value_everywhere() {
    loom::model(|| {
        let (group, _) = msix();
        let other = {
            let group = group.clone();
            thread::spawn(move || group.set_control(0xc000).unwrap())
        };
        group.set_control(0x8000).unwrap();
        other.join().unwrap();
        let masked = group.control() & 0x4000 != 0;
        assert_eq!(group.is_masked(0), Ok(masked));
    });
}

#[test]
fn rte_3_loom_msi_enable_and_unmask_at_once_deliver_what_is_pending_exactly_once() {
    loom::model(|| {
        let sent = Arc::new(AtomicU32::new(0));
        let group = Arc::new(MsiGroup::new(Count(sent.clone()), 1).unwrap());
        group.set_message(message(0x40)).unwrap();
        group.set_control(1).unwrap();
        group.mask(0).unwrap();
        let _ = group.trigger(0);
        group.disable().unwrap();
        let other = {
            let group = group.clone();
            thread::spawn(move || group.enable().unwrap())
        };
        group.unmask(0).unwrap();
        other.join().unwrap();
        assert_eq!(sent.load(SeqCst), 1);
    });
}

#[test]
fn rte_3_loom_msi_a_trigger_beside_an_unmask_is_sent_exactly_once() {
    loom::model(|| {
        let sent = Arc::new(AtomicU32::new(0));
        let group = Arc::new(MsiGroup::new(Count(sent.clone()), 1).unwrap());
        group.set_message(message(0x40)).unwrap();
        group.set_control(1).unwrap();
        group.mask(0).unwrap();
        let device = {
            let group = group.clone();
            thread::spawn(move || group.trigger(0).map(|_| ()).unwrap())
        };
        group.unmask(0).unwrap();
        device.join().unwrap();
        assert_eq!(sent.load(SeqCst), 1);
    });
}
