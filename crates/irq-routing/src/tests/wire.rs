// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RTE-6: the wire from INTR to a CPU.

use crate::wire::{OpenWires, Wire, WireChange, WireMode};

const INTR: WireMode = WireMode::Intr { cpu: 0 };
const LINT0: WireMode = WireMode::Lint0 { cpu: 0 };
const PIN0: WireMode = WireMode::IoApic { pin: 0 };

const NONE: OpenWires = OpenWires { intr: None, lint0: None, ioapic: None };
const OPEN_INTR: OpenWires = OpenWires { intr: Some(0), ..NONE };
const OPEN_LINT0: OpenWires = OpenWires { lint0: Some(0), ..NONE };
const OPEN_PIN0: OpenWires = OpenWires { ioapic: Some(0), ..NONE };
const LINT0_AND_PIN0: OpenWires = OpenWires { lint0: Some(0), ioapic: Some(0), ..NONE };

fn moved(from: WireMode, to: WireMode) -> WireChange {
    WireChange { lowered: Some(from), raised: Some(to) }
}

#[test]
fn rte_6_the_open_way_owns_the_wire() {
    for (open, mode) in [
        (NONE, WireMode::Closed),
        (OPEN_INTR, INTR),
        (OPEN_LINT0, LINT0),
        (OPEN_PIN0, PIN0),
        (OpenWires { lint0: Some(3), ..NONE }, WireMode::Lint0 { cpu: 3 }),
    ] {
        assert_eq!(Wire::new(open).mode(), mode);
    }
}

#[test]
fn rte_6_intr_follows_the_pic() {
    let mut wire = Wire::new(OPEN_LINT0);
    assert_eq!(wire.asserted(), None);
    assert_eq!(wire.set_intr(true), WireChange { raised: Some(LINT0), lowered: None });
    assert_eq!(wire.set_intr(true), WireChange::default());
    assert_eq!(wire.asserted(), Some(LINT0));
    assert_eq!(wire.set_intr(false), WireChange { raised: None, lowered: Some(LINT0) });
}

#[test]
fn rte_6_a_guest_moves_from_lint0_to_the_ioapic_without_two_owners() {
    let mut wire = Wire::new(OPEN_LINT0);
    let _ = wire.set_intr(true);
    // The pin is unmasked while LINT0 is still open: LINT0 keeps the wire.
    assert_eq!(wire.update(LINT0_AND_PIN0), WireChange::default());
    assert_eq!(wire.mode(), LINT0);
    // LINT0 is masked: the request that waits moves to the pin.
    assert_eq!(wire.update(OPEN_PIN0), moved(LINT0, PIN0));
    assert_eq!(wire.mode(), PIN0);
}

#[test]
fn rte_6_a_guest_moves_from_the_ioapic_to_lint0_without_two_owners() {
    let mut wire = Wire::new(OPEN_PIN0);
    let _ = wire.set_intr(true);
    assert_eq!(wire.update(LINT0_AND_PIN0), WireChange::default());
    assert_eq!(wire.mode(), PIN0);
    assert_eq!(wire.update(OPEN_LINT0), moved(PIN0, LINT0));
}

#[test]
fn rte_6_masking_the_only_way_closes_the_wire_and_keeps_the_request() {
    for (open, mode) in [(OPEN_LINT0, LINT0), (OPEN_PIN0, PIN0), (OPEN_INTR, INTR)] {
        let mut wire = Wire::new(open);
        let _ = wire.set_intr(true);
        assert_eq!(wire.update(NONE), WireChange { lowered: Some(mode), raised: None });
        assert_eq!((wire.mode(), wire.intr(), wire.asserted()), (WireMode::Closed, true, None));
        assert_eq!(wire.update(open), WireChange { lowered: None, raised: Some(mode) });
    }
}

#[test]
fn rte_6_disabling_the_apic_connects_intr_straight_through() {
    let mut wire = Wire::new(OPEN_LINT0);
    let _ = wire.set_intr(true);
    // The disabled APIC's LINT0 is no way any more.
    assert_eq!(wire.update(OPEN_INTR), moved(LINT0, INTR));
    // Enabled again, LINT0 masked as after reset, then unmasked.
    assert_eq!(wire.update(NONE), WireChange { lowered: Some(INTR), raised: None });
    assert_eq!(wire.update(OPEN_LINT0), WireChange { lowered: None, raised: Some(LINT0) });
}

#[test]
fn rte_6_of_several_ways_that_open_at_once_the_shortest_wins() {
    let all = OpenWires { intr: Some(0), lint0: Some(0), ioapic: Some(0) };
    assert_eq!(Wire::new(all).mode(), INTR);
    assert_eq!(Wire::new(LINT0_AND_PIN0).mode(), LINT0);
}

#[test]
fn rte_6_another_cpus_lint0_is_another_owner() {
    let mut wire = Wire::new(OPEN_LINT0);
    let _ = wire.set_intr(true);
    let next = OpenWires { lint0: Some(1), ..NONE };
    assert_eq!(wire.update(next), moved(LINT0, WireMode::Lint0 { cpu: 1 }));
}

#[test]
fn rte_6_at_most_one_end_sees_intr_whatever_happens() {
    let ways = [NONE, OPEN_INTR, OPEN_LINT0, OPEN_PIN0, LINT0_AND_PIN0];
    let mut wire = Wire::default();
    let mut seen: Option<WireMode> = None;
    // Every pair of successive settings, with INTR low and high at either.
    for (a, b, level) in ways
        .iter()
        .flat_map(|a| ways.iter().map(move |b| (a, b)))
        .flat_map(|(a, b)| [false, true].map(|level| (*a, *b, level)))
    {
        for change in [wire.update(a), wire.set_intr(level), wire.update(b)] {
            if let Some(end) = change.lowered {
                assert_eq!(seen.take(), Some(end), "only who saw it high sees it fall");
            }
            if let Some(end) = change.raised {
                assert_eq!(seen.replace(end), None, "nobody else sees it high");
            }
        }
        assert_eq!(seen, wire.asserted());
        assert!(wire.mode() == WireMode::Closed || wire.mode().is_open(b));
    }
}
