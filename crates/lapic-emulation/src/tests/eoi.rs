// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LAP-5, LAP-11: claim, commit, end of interrupt.

use super::{config, Event, Rig};
use crate::spec::reg;
use crate::Config;

#[test]
fn lap_5_looking_changes_nothing() {
    let mut rig = Rig::xapic();
    rig.edge(0x71);
    let before = rig.lapic.state(rig.now);
    for _ in 0..3 {
        assert_eq!(rig.lapic.pending(), Some(0x71));
    }
    assert_eq!(rig.lapic.state(rig.now), before);
}

#[test]
fn lap_5_a_failed_entry_loses_nothing() {
    let mut rig = Rig::xapic();
    rig.edge(0x71);
    assert_eq!(rig.lapic.pending(), Some(0x71)); // claimed; the entry failed: no accept
    rig.edge(0x91);
    assert_eq!(rig.take(), Some(0x91));
    rig.eoi();
    assert_eq!(rig.take(), Some(0x71));
}

#[test]
fn lap_5_accept_of_a_vector_that_is_not_requested_does_nothing() {
    let mut rig = Rig::xapic();
    let before = rig.lapic.state(rig.now);
    assert!(!rig.lapic.accept(0x71));
    assert!(!rig.lapic.accept(3));
    assert_eq!(rig.lapic.state(rig.now), before);
}

#[test]
fn lap_5_eoi_ends_the_highest_and_broadcasts_level_only() {
    let mut rig = Rig::xapic();
    rig.level(0x31);
    assert_eq!(rig.take(), Some(0x31));
    rig.edge(0x41);
    assert_eq!(rig.take(), Some(0x41));
    rig.write(reg::EOI, 0);
    assert_eq!(rig.take_events(), [], "an edge EOI touches nobody");
    assert_eq!(rig.lapic.svi(), 0x31);
    rig.write(reg::EOI, 0);
    assert_eq!(rig.take_events(), [Event::Eoi(0x31)]);
    assert_eq!(rig.lapic.isr(), [0; 4]);
}

#[test]
fn lap_5_eoi_with_nothing_in_service_is_harmless() {
    let mut rig = Rig::xapic();
    rig.level(0x31);
    let before = rig.lapic.state(rig.now);
    assert_eq!(rig.eoi(), None);
    assert_eq!(rig.lapic.state(rig.now), before);
    assert_eq!(rig.take_events(), []);
}

#[test]
fn lap_5_suppression_keeps_the_broadcast_back() {
    let mut rig = Rig::xapic();
    rig.write(reg::SVR, 0x11ff);
    rig.level(0x31);
    assert_eq!(rig.take(), Some(0x31));
    rig.write(reg::EOI, 0);
    assert_eq!(rig.take_events(), []);
    assert_eq!(rig.lapic.isr(), [0; 4]);
}

#[test]
fn lap_5_any_value_written_to_the_xapics_eoi_counts() {
    let mut rig = Rig::xapic();
    rig.edge(0x31);
    assert_eq!(rig.take(), Some(0x31));
    rig.write(reg::EOI, 0xdead_beef);
    assert_eq!(rig.lapic.isr(), [0; 4]);
}

#[test]
fn lap_11_directed_eoi_exists_where_it_is_advertised() {
    for directed_eoi in [false, true] {
        let mut rig = Rig::with(Config { directed_eoi, ..config() });
        rig.write(reg::SVR, 0x11ff);
        assert_eq!(rig.read(reg::VERSION) & 1 << 24 != 0, directed_eoi);
        assert_eq!(rig.read(reg::SVR), if directed_eoi { 0x11ff } else { 0x1ff });
        rig.take_events();
        rig.level(0x31);
        assert_eq!(rig.take(), Some(0x31));
        assert_eq!(rig.eoi(), (!directed_eoi).then_some(0x31));
    }
}
