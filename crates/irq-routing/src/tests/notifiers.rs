// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RTE-3, RTE-4: notifiers, with the GSIs and routes behind them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::vec::Vec;

use super::{msi, Log};
use crate::msix::{CONTROL_ENABLE, CONTROL_FUNCTION_MASK};
use crate::Delivery::{self, Delivered};
use crate::{
    GroupError, Gsi, GsiPool, InterruptSourceGroup, Msi, MsiBackend, MsiGroup, MsixGroup,
    RouteChange, RouteTable, SourceConfig, Target,
};

/// A machine whose hypervisor takes interrupts from notifiers: GSIs from 24 on.
#[derive(Debug)]
struct Hypervisor {
    pool: Mutex<GsiPool>,
    table: Mutex<RouteTable>,
    /// Sizes of the batches.
    batches: Log<usize>,
    refuses: AtomicBool,
    signalled: Mutex<Vec<Gsi>>,
}

impl Hypervisor {
    fn new() -> Arc<Self> {
        Arc::new(Hypervisor {
            pool: Mutex::new(GsiPool::new(24, 30)),
            table: Mutex::default(),
            batches: Log::default(),
            refuses: AtomicBool::new(false),
            signalled: Mutex::default(),
        })
    }

    fn route(&self, gsi: u32) -> Option<Target> {
        self.table.lock().unwrap().targets(Gsi(gsi)).next()
    }

    fn free(&self) -> u32 {
        self.pool.lock().unwrap().available()
    }
}

impl MsiBackend for Hypervisor {
    type Notifier = Gsi;

    fn send(&self, _: Msi) -> Delivery {
        Delivered(1)
    }

    fn take_gsi(&self) -> Result<Gsi, GroupError> {
        self.pool.lock().unwrap().take().ok_or(GroupError::NoGsi)
    }

    fn put_gsi(&self, gsi: Gsi) {
        assert_eq!(self.route(gsi.0), None, "its route was withdrawn before");
        assert!(self.pool.lock().unwrap().put(gsi));
    }

    fn set_routes(&self, changes: &[RouteChange]) -> Result<(), GroupError> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(GroupError::Hypervisor(22));
        }
        let mut table = self.table.lock().unwrap();
        let mut edit = table.edit();
        for RouteChange { gsi, msi } in changes {
            match msi {
                Some(msi) => edit.set(*gsi, &[Target::Msi(*msi)])?,
                None => edit.remove(*gsi),
            };
        }
        *table = edit.build()?;
        self.batches.push(changes.len());
        Ok(())
    }

    fn notifier(&self, gsi: Gsi) -> Option<Gsi> {
        Some(gsi)
    }

    fn is_pending(&self, gsi: Gsi) -> bool {
        self.signalled.lock().unwrap().contains(&gsi)
    }
}

fn msix(machine: &Arc<Hypervisor>) -> MsixGroup<Arc<Hypervisor>> {
    let group = MsixGroup::new(machine.clone(), 4).unwrap();
    for index in 0..4 {
        group.update(index, SourceConfig::Msi(msi(0x40 + index as u8)), false).unwrap();
    }
    group.enable().unwrap();
    group
}

fn route_to(vector: u8) -> Option<Target> {
    Some(Target::Msi(msi(vector)))
}

#[test]
fn rte_4_a_gsi_is_taken_when_a_notifier_is_asked_for_and_kept() {
    let machine = Hypervisor::new();
    let group = msix(&machine);
    assert_eq!(machine.free(), 6);
    assert_eq!(machine.batches.take(), [0usize; 0], "no notifier, no route");
    assert_eq!(group.notifier(2), Ok(Gsi(24)));
    assert_eq!(group.notifier(2), Ok(Gsi(24)));
    assert_eq!(machine.free(), 5);
    assert_eq!(machine.route(24), route_to(0x42));
}

#[test]
fn rte_4_dropping_a_group_withdraws_its_routes_and_returns_its_gsis() {
    let machine = Hypervisor::new();
    let (one, two) = (msix(&machine), msix(&machine));
    for index in 0..3 {
        one.notifier(index).unwrap();
    }
    two.notifier(0).unwrap();
    machine.batches.take();
    drop(one);
    assert_eq!(machine.batches.take(), [3], "in one rebuild");
    assert_eq!((machine.free(), machine.route(27)), (5, route_to(0x40)), "the other's stays");
    drop(two);
    assert_eq!((machine.free(), machine.table.lock().unwrap().len()), (6, 0));
}

#[test]
fn rte_4_a_function_mask_changes_all_routes_in_one_batch() {
    let machine = Hypervisor::new();
    let group = msix(&machine);
    for index in 0..4 {
        group.notifier(index).unwrap();
    }
    machine.batches.take();
    group.set_control(CONTROL_ENABLE | CONTROL_FUNCTION_MASK).unwrap();
    assert_eq!((machine.batches.take(), machine.route(25)), (std::vec![4], None));
    group.set_control(CONTROL_ENABLE).unwrap();
    assert_eq!((machine.batches.take(), machine.route(25)), (std::vec![4], route_to(0x41)));
    group.disable().unwrap();
    assert_eq!(machine.table.lock().unwrap().len(), 0);
}

#[test]
fn rte_3_a_notifiers_route_follows_message_and_mask() {
    let machine = Hypervisor::new();
    let group = msix(&machine);
    group.notifier(0).unwrap();
    group.mask(0).unwrap();
    assert_eq!(machine.route(24), None);
    group.write_table(8, &0x99u32.to_le_bytes()).unwrap();
    assert_eq!(machine.route(24), None, "masked");
    group.write_table(12, &0u32.to_le_bytes()).unwrap();
    assert_eq!(machine.route(24), route_to(0x99));
    group.update(0, SourceConfig::Msi(msi(0x50)), false).unwrap();
    assert_eq!(machine.route(24), route_to(0x50));
    group.write_table(0, &[0; 4]).unwrap();
    assert_eq!(machine.route(24), None, "an address outside the window routes nowhere");
    group.reset().unwrap();
    assert_eq!((machine.route(24), machine.free()), (None, 5), "notifiers survive a reset");
}

#[test]
fn rte_3_a_notifier_signalled_while_masked_shows_in_the_pending_bits() {
    let machine = Hypervisor::new();
    let group = msix(&machine);
    let gsi = group.notifier(3).unwrap();
    group.mask(3).unwrap();
    machine.signalled.lock().unwrap().push(gsi);
    let mut pba = [0];
    group.read_pba(0, &mut pba);
    assert_eq!((pba, group.is_pending(3), group.is_pending(0)), ([8], Ok(true), Ok(false)));
}

#[test]
fn rte_4_a_refused_change_is_an_error_and_leaves_the_other_routes() {
    let machine = Hypervisor::new();
    let group = msix(&machine);
    group.notifier(0).unwrap();
    machine.refuses.store(true, Ordering::SeqCst);
    let refused = GroupError::Hypervisor(22);
    assert_eq!(group.mask(0), Err(refused));
    assert_eq!(group.notifier(1), Err(refused));
    assert_eq!(machine.route(24), route_to(0x40));
    machine.refuses.store(false, Ordering::SeqCst);
    assert_eq!(group.mask(0), Ok(()));
    assert_eq!(machine.route(24), None);
    drop(group);
    assert_eq!(machine.free(), 6, "the GSI of the failed notifier as well");
}

#[test]
fn rte_3_a_group_that_cannot_be_enabled_is_off() {
    let machine = Hypervisor::new();
    let group = msix(&machine);
    group.notifier(0).unwrap();
    group.disable().unwrap();
    machine.refuses.store(true, Ordering::SeqCst);
    assert!(group.enable().is_err());
    assert_eq!(group.control() & CONTROL_ENABLE, 0);
    let group = MsiGroup::new(machine.clone(), 1).unwrap();
    machine.refuses.store(false, Ordering::SeqCst);
    group.notifier(0).unwrap();
    machine.refuses.store(true, Ordering::SeqCst);
    assert!(group.enable().is_err());
    assert!(!group.is_enabled());
    machine.refuses.store(false, Ordering::SeqCst);
}

#[test]
fn rte_4_gsis_can_run_out() {
    let machine = Hypervisor::new();
    let (one, two) = (msix(&machine), msix(&machine));
    for index in 0..4 {
        one.notifier(index).unwrap();
    }
    two.notifier(0).unwrap();
    two.notifier(1).unwrap();
    assert_eq!(two.notifier(2), Err(GroupError::NoGsi));
    assert_eq!(two.trigger(2), Ok(Delivered(1)), "without a notifier it works all the same");
    drop(one);
    assert_eq!(two.notifier(2), Ok(Gsi(24)));
}

#[test]
fn rte_4_msi_vectors_have_notifiers_too() {
    let machine = Hypervisor::new();
    let group = MsiGroup::new(machine.clone(), 2).unwrap();
    group.set_message(msi(0x40)).unwrap();
    assert_eq!((group.notifier(0), group.notifier(1)), (Ok(Gsi(24)), Ok(Gsi(25))));
    assert_eq!(machine.route(24), None, "off");
    machine.batches.take();
    group.set_control(1 | 1 << 4).unwrap();
    assert_eq!(machine.batches.take(), [2]);
    assert_eq!((machine.route(24), machine.route(25)), (route_to(0x40), route_to(0x41)));
    group.set_mask_bits(0b10).unwrap();
    assert_eq!((machine.route(24), machine.route(25)), (route_to(0x40), None));
    machine.signalled.lock().unwrap().push(Gsi(25));
    assert_eq!(group.pending_bits(), 0b10);
    group.set_control(1).unwrap();
    assert_eq!(machine.route(25), route_to(0x40), "folded onto vector 0, which is unmasked");
    drop(group);
    assert_eq!((machine.free(), machine.table.lock().unwrap().len()), (6, 0));
}

#[test]
fn rte_4_threads_that_ask_at_once_get_one_gsi() {
    for _ in 0..200 {
        let machine = Hypervisor::new();
        let group = msix(&machine);
        let (a, b) = std::thread::scope(|scope| {
            let a = scope.spawn(|| group.notifier(0));
            let b = scope.spawn(|| group.notifier(0));
            (a.join().unwrap(), b.join().unwrap())
        });
        assert_eq!(a, b);
        assert_eq!(machine.free(), 5);
    }
}

#[test]
fn rte_4_the_route_is_that_of_the_last_write_whoever_was_first() {
    let machine = Hypervisor::new();
    let group = msix(&machine);
    group.notifier(0).unwrap();
    for _ in 0..200 {
        std::thread::scope(|scope| {
            scope.spawn(|| group.mask(0));
            scope.spawn(|| group.unmask(0));
            scope.spawn(|| group.update(0, SourceConfig::Msi(msi(0x77)), false));
        });
        let masked = group.is_masked(0).unwrap();
        assert_eq!(machine.route(24).is_none(), masked);
    }
}

#[test]
fn rte_3_a_backend_needs_no_more_than_to_send() {
    /// GSIs, but no notifiers.
    struct Minimal;

    impl MsiBackend for Minimal {
        type Notifier = core::convert::Infallible;

        fn send(&self, _: Msi) -> Delivery {
            Delivered(1)
        }

        fn take_gsi(&self) -> Result<Gsi, GroupError> {
            Ok(Gsi(24))
        }
    }

    let group = MsixGroup::new(Minimal, 1).unwrap();
    assert_eq!(group.notifier(0), Err(GroupError::NoNotifiers));
    assert_eq!(group.is_pending(0), Ok(false), "a GSI alone makes nothing pending");
    assert_eq!(group.mask(0), Ok(()));
}
