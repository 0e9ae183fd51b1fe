// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RTE-3: legacy lines as source groups.

use std::sync::{Arc, Mutex};

use super::{high, low, msi, Board, Saw};
use crate::Delivery::{self, Coalesced, Delivered, Ignored};
use crate::{
    ConnectError, GroupError, GroupKind, Gsi, InterruptSourceGroup, LegacyGroup, LineBackend, Pin,
    Resample, SourceConfig, SourceId, TriggerMode,
};

/// A board behind its lock, as a machine has it.
#[derive(Debug)]
pub(crate) struct Machine(pub(crate) Mutex<Board>);

impl Machine {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Machine(Mutex::new(Board::pc())))
    }

    pub(crate) fn saw(&self) -> std::vec::Vec<Saw> {
        self.0.lock().unwrap().saw()
    }
}

impl LineBackend for Machine {
    type Notifier = (SourceId, Gsi);

    fn connect(&self, gsi: Gsi, resample: Resample) -> Result<SourceId, ConnectError> {
        self.0.lock().unwrap().router.connect(gsi, resample)
    }

    fn disconnect(&self, source: SourceId, gsi: Gsi) {
        let Board { router, chips } = &mut *self.0.lock().unwrap();
        router.disconnect(source, gsi, chips);
    }

    fn is_connected(&self, source: SourceId, gsi: Gsi) -> bool {
        self.0.lock().unwrap().router.is_connected(source, gsi)
    }

    fn set_irq(&self, source: SourceId, gsi: Gsi, level: bool) -> Delivery {
        self.0.lock().unwrap().set(source, gsi.0, level)
    }

    fn pulse(&self, source: SourceId, gsi: Gsi) -> Delivery {
        self.0.lock().unwrap().pulse(source, gsi.0)
    }

    fn notifier(&self, source: SourceId, gsi: Gsi) -> Option<Self::Notifier> {
        Some((source, gsi))
    }
}

type Group = LegacyGroup<Arc<Machine>>;

const UP: [Saw; 2] = [Saw::High(Pin::Pic(11)), Saw::High(Pin::IoApic(11))];
const DOWN: [Saw; 2] = [Saw::Low(Pin::Pic(11)), Saw::Low(Pin::IoApic(11))];

fn group(machine: &Arc<Machine>, trigger: TriggerMode) -> Group {
    let group = LegacyGroup::new(machine.clone(), Gsi(11), trigger, Resample::Never).unwrap();
    group.enable().unwrap();
    group
}

#[test]
fn rte_3_legacy_level_asserts_and_deasserts() {
    let machine = Machine::new();
    let group = group(&machine, TriggerMode::Level);
    assert_eq!(group.trigger(0), Ok(Delivered(2)));
    assert_eq!(machine.saw(), UP);
    assert_eq!(group.trigger(0), Ok(Coalesced), "still asserted");
    group.deassert(0).unwrap();
    assert_eq!(machine.saw(), DOWN);
    assert_eq!(group.set_level(true), Delivered(2));
    assert_eq!(group.set_level(false), Ignored);
    assert_eq!(machine.saw(), [UP, DOWN].concat());
}

#[test]
fn rte_3_legacy_edge_pulses() {
    let machine = Machine::new();
    let group = group(&machine, TriggerMode::Edge);
    assert_eq!(group.trigger(0), Ok(Delivered(2)));
    assert_eq!(machine.saw(), [UP, DOWN].concat());
    group.deassert(0).unwrap();
    assert_eq!(machine.saw(), [], "nothing to take back");
}

#[test]
fn rte_3_legacy_off_ignores_and_withdraws_its_level() {
    let machine = Machine::new();
    let group = LegacyGroup::new(machine.clone(), Gsi(11), TriggerMode::Level, Resample::Never);
    let group = group.unwrap();
    assert_eq!(group.trigger(0), Ok(Ignored), "off after creation");
    group.enable().unwrap();
    assert_eq!(machine.saw(), []);
    let _ = group.trigger(0);
    machine.saw();
    group.disable().unwrap();
    assert_eq!(machine.saw(), DOWN);
    assert_eq!(group.trigger(0), Ok(Ignored));
}

#[test]
fn rte_3_legacy_level_raised_while_masked_is_delivered_on_unmask() {
    let machine = Machine::new();
    let group = group(&machine, TriggerMode::Level);
    group.mask(0).unwrap();
    assert_eq!(group.trigger(0), Ok(Coalesced));
    assert_eq!((group.is_masked(0), group.is_pending(0)), (Ok(true), Ok(true)));
    assert_eq!(machine.saw(), []);
    group.unmask(0).unwrap();
    assert_eq!(machine.saw(), UP);
    assert_eq!((group.is_masked(0), group.is_pending(0)), (Ok(false), Ok(false)));
}

#[test]
fn rte_3_legacy_level_lowered_while_masked_is_gone() {
    let machine = Machine::new();
    let group = group(&machine, TriggerMode::Level);
    let _ = group.trigger(0);
    machine.saw();
    group.mask(0).unwrap();
    assert_eq!(machine.saw(), DOWN, "a masked source drives nothing");
    group.deassert(0).unwrap();
    group.unmask(0).unwrap();
    assert_eq!(machine.saw(), []);
}

#[test]
fn rte_3_legacy_edges_raised_while_masked_are_delivered_once() {
    let machine = Machine::new();
    let group = group(&machine, TriggerMode::Edge);
    group.mask(0).unwrap();
    assert_eq!(group.trigger(0), Ok(Coalesced));
    assert_eq!(group.trigger(0), Ok(Coalesced));
    group.deassert(0).unwrap();
    assert_eq!(group.is_pending(0), Ok(true), "an edge is not taken back by a level");
    group.unmask(0).unwrap();
    assert_eq!(machine.saw(), [UP, DOWN].concat());
    group.mask(0).unwrap();
    group.unmask(0).unwrap();
    assert_eq!(machine.saw(), []);
}

#[test]
fn rte_3_legacy_a_cleared_pending_edge_is_not_delivered() {
    let machine = Machine::new();
    let group = group(&machine, TriggerMode::Edge);
    group.mask(0).unwrap();
    let _ = group.trigger(0);
    group.clear_pending(0).unwrap();
    group.unmask(0).unwrap();
    assert_eq!(machine.saw(), []);
}

#[test]
fn rte_3_legacy_clearing_pending_leaves_an_asserted_level() {
    let machine = Machine::new();
    let group = group(&machine, TriggerMode::Level);
    let _ = group.trigger(0);
    group.clear_pending(0).unwrap();
    machine.saw();
    group.mask(0).unwrap();
    group.unmask(0).unwrap();
    assert_eq!(machine.saw(), [DOWN, UP].concat());
}

#[test]
fn rte_3_legacy_update_sets_trigger_and_mask_at_once() {
    let machine = Machine::new();
    let group = group(&machine, TriggerMode::Level);
    let _ = group.trigger(0);
    machine.saw();
    group.update(0, SourceConfig::Legacy(TriggerMode::Edge), false).unwrap();
    assert_eq!(machine.saw(), DOWN, "an edge source holds no level, and the level was no edge");
    assert_eq!(group.trigger(0), Ok(Delivered(2)));
    machine.saw();
    group.update(0, SourceConfig::Legacy(TriggerMode::Level), true).unwrap();
    assert_eq!(group.trigger(0), Ok(Coalesced));
    assert_eq!(machine.saw(), []);
    let message = SourceConfig::Msi(msi(0x41));
    assert_eq!(group.update(0, message, false), Err(GroupError::WrongKind));
}

#[test]
fn rte_3_legacy_dropping_a_group_releases_line_and_source() {
    let machine = Machine::new();
    let one = group(&machine, TriggerMode::Level);
    let _ = one.trigger(0);
    let source = one.source();
    machine.saw();
    drop(one);
    assert_eq!(machine.saw(), DOWN);
    assert_eq!(group(&machine, TriggerMode::Edge).source(), source, "free for the next");
}

#[test]
fn rte_3_legacy_groups_share_a_line() {
    let machine = Machine::new();
    let (a, b) = (group(&machine, TriggerMode::Level), group(&machine, TriggerMode::Level));
    assert_eq!(a.trigger(0), Ok(Delivered(2)));
    assert_eq!(b.trigger(0), Ok(Coalesced));
    machine.saw();
    drop(a);
    assert_eq!(machine.saw(), []);
    drop(b);
    assert_eq!(machine.saw(), DOWN);
}

#[test]
fn rte_3_legacy_has_one_source_and_its_notifier() {
    let machine = Machine::new();
    let group = group(&machine, TriggerMode::Level);
    assert_eq!((group.kind(), group.len(), group.is_empty()), (GroupKind::Legacy, 1, false));
    assert_eq!(group.notifier(0), Ok((group.source(), Gsi(11))));
    let invalid = GroupError::InvalidIndex(1);
    assert_eq!(group.trigger(1), Err(invalid));
    assert_eq!(group.deassert(1), Err(invalid));
    assert_eq!(group.mask(1), Err(invalid));
    assert_eq!(group.unmask(1), Err(invalid));
    assert_eq!(group.is_masked(1), Err(invalid));
    assert_eq!(group.is_pending(1), Err(invalid));
    assert_eq!(group.clear_pending(1), Err(invalid));
    assert_eq!(group.notifier(1), Err(invalid));
    let config = SourceConfig::Legacy(TriggerMode::Edge);
    assert_eq!(group.update(1, config, false), Err(invalid));
    let beyond = LegacyGroup::new(machine, Gsi(4096), TriggerMode::Edge, Resample::Never);
    let error = ConnectError::InvalidGsi(Gsi(4096));
    assert_eq!(beyond.map(drop), Err(GroupError::Connect(error)));
}

#[test]
fn rte_5_a_legacy_group_asserts_again_after_the_eoi() {
    let machine = Machine::new();
    let resample = Resample::Deassert;
    let group = LegacyGroup::new(machine.clone(), Gsi(11), TriggerMode::Level, resample).unwrap();
    group.enable().unwrap();
    let _ = group.trigger(0);
    let told = {
        let Board { router, chips } = &mut *machine.0.lock().unwrap();
        assert!(router.eoi(Pin::IoApic(11), chips));
        router.next_resample()
    };
    assert_eq!(told, Some((group.gsi(), group.source())));
    assert_eq!(machine.saw(), [UP, DOWN].concat());
    assert_eq!(group.set_level(true), Delivered(2), "the device still wants service");
    assert_eq!(machine.saw(), [high(Pin::Pic(11)), high(Pin::IoApic(11))]);
    assert_eq!(group.set_level(false), Ignored);
    assert_eq!(machine.saw(), [low(Pin::Pic(11)), low(Pin::IoApic(11))]);
}

#[test]
fn rte_3_legacy_threads_that_race_leave_the_last_level() {
    // Whoever is last, wire and group must agree afterwards.
    let machine = Machine::new();
    let group = group(&machine, TriggerMode::Level);
    for _ in 0..200 {
        std::thread::scope(|scope| {
            scope.spawn(|| group.trigger(0));
            scope.spawn(|| group.deassert(0));
            scope.spawn(|| group.mask(0).and(group.unmask(0)));
        });
        let level = machine.0.lock().unwrap().router.level(Gsi(11));
        assert_eq!(level, group.state().raised);
    }
}
