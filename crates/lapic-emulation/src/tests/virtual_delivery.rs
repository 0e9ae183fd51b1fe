// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LAP-15: the view for virtual-interrupt delivery.

use super::{Event, Rig};
use crate::spec::reg;

#[test]
fn lap_15_status_is_the_highest_of_each() {
    let mut rig = Rig::xapic();
    assert_eq!(rig.lapic.guest_interrupt_status(), 0);
    rig.edge(0x51);
    assert_eq!(rig.take(), Some(0x51));
    rig.edge(0x42);
    rig.edge(0x61);
    assert_eq!(rig.lapic.guest_interrupt_status(), 0x5161);
}

#[test]
fn lap_15_tpr_threshold_opens_when_the_tpr_falls_far_enough() {
    let mut rig = Rig::xapic();
    rig.edge(0x61);
    for (tpr, threshold) in [(0x50, 0), (0x5f, 0), (0x60, 6), (0xf0, 6)] {
        rig.write(reg::TPR, tpr);
        assert_eq!(rig.lapic.tpr_threshold(), threshold, "{tpr:#x}");
    }
}

#[test]
fn lap_15_eoi_exits_for_routed_and_for_stale_level_vectors() {
    let mut rig = Rig::xapic();
    rig.level(0x41);
    rig.level(0xc2);
    rig.edge(0x43);
    assert_eq!(rig.take(), Some(0xc2));
    let bitmap = rig.lapic.eoi_exit_bitmap([0, 1 << 5, 0, 0]);
    assert_eq!(bitmap, [0, 1 << 5 | 1 << 1, 0, 1 << 2]);
}

#[test]
fn lap_15_an_induced_eoi_broadcasts() {
    let mut rig = Rig::xapic();
    rig.level(0x41);
    assert_eq!(rig.take(), Some(0x41));
    assert_eq!(rig.lapic.eoi_induced(0x41, &mut rig.events), Some(0x41));
    assert_eq!(rig.take_events(), [Event::Eoi(0x41)]);
    assert_eq!(rig.lapic.isr(), [0; 4]);
}

#[test]
fn lap_15_the_hardwares_page_comes_back() {
    let mut rig = Rig::xapic();
    rig.edge(0x41);
    rig.lapic.load_virtual_apic([!0, 0, 0, 0], [0, 1 << 1, 0, 0]);
    assert_eq!((rig.lapic.irr(), rig.lapic.isr()), ([!0xffff, 0, 0, 0], [0, 2, 0, 0]));
}
