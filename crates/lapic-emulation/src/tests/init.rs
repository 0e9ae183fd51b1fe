// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LAP-9: INIT and start-up.

use irq_routing::DeliveryMode::{Fixed, Init, Nmi, StartUp};

use super::{config, message, Event, Rig};
use crate::spec::{reg, LvtIndex, MSR_APIC_BASE, MSR_TSC_DEADLINE};
use crate::{Config, StartState};

fn ap() -> Rig {
    Rig::with(Config { id: 5, bsp: false, ..config() })
}

/// An AP that runs, as after its first start-up IPI.
fn running_ap() -> Rig {
    let mut rig = ap();
    rig.post(message(StartUp, 5, 0x10));
    let _ = rig.sync();
    assert_eq!(rig.lapic.take_sipi(), Some(0x10));
    rig
}

#[test]
fn lap_9_an_ap_waits_and_the_bsp_runs() {
    assert_eq!(ap().lapic.start_state(), StartState::WaitForSipi);
    assert_eq!(Rig::with(config()).lapic.start_state(), StartState::Running);
}

#[test]
fn lap_9_a_sipi_starts_an_ap_once() {
    let mut rig = running_ap();
    assert_eq!(rig.lapic.start_state(), StartState::Running);
    rig.post(message(StartUp, 5, 0x20)); // the second one of the MP protocol
    assert!(!rig.sync().sipi);
    assert_eq!(rig.lapic.take_sipi(), None);
}

#[test]
fn lap_9_of_two_sipis_the_first_counts() {
    let mut rig = ap();
    rig.post(message(StartUp, 5, 0x10));
    rig.post(message(StartUp, 5, 0x20));
    assert!(rig.sync().sipi);
    assert_eq!(rig.lapic.take_sipi(), Some(0x10));
}

#[test]
fn lap_9_a_running_cpu_ignores_sipis() {
    for mut rig in [Rig::xapic(), running_ap()] {
        rig.post(message(StartUp, 0, 0x10));
        assert!(!rig.sync().sipi);
        assert_eq!(rig.lapic.take_sipi(), None);
    }
}

#[test]
fn lap_9_a_sipi_before_the_init_is_discarded() {
    // Both in the descriptor; in two looks; and the SIPI latched in wait-for-SIPI.
    let mut rig = running_ap();
    rig.post(message(StartUp, 5, 0x10));
    rig.post(message(Init, 5, 0));
    assert_eq!((rig.sync().init, rig.lapic.take_init(&mut rig.events)), (true, true));
    assert_eq!(rig.lapic.take_sipi(), None);

    let mut rig = running_ap();
    rig.post(message(StartUp, 5, 0x10));
    let _ = rig.sync();
    rig.post(message(Init, 5, 0));
    let _ = rig.sync();
    assert!(rig.lapic.take_init(&mut rig.events));
    assert_eq!(rig.lapic.take_sipi(), None);

    let mut rig = ap();
    rig.post(message(StartUp, 5, 0x10));
    let _ = rig.sync();
    rig.post(message(Init, 5, 0));
    let _ = rig.sync();
    assert!(rig.lapic.take_init(&mut rig.events));
    assert_eq!(rig.lapic.take_sipi(), None);
}

#[test]
fn lap_9_a_fixed_ipi_to_a_waiting_ap_is_lost() {
    // The sender's destination map is older than the INIT.
    let mut rig = running_ap();
    rig.write(reg::SVR, 0x1ff);
    rig.post(message(Init, 5, 0));
    rig.post(message(Fixed, 5, 0x60));
    assert!(rig.sync().init);
    assert!(rig.lapic.take_init(&mut rig.events));
    rig.post(message(Fixed, 5, 0x61));
    assert!(!rig.sync().vectors);
    rig.post(message(StartUp, 5, 0x10));
    rig.post(message(Fixed, 5, 0x62));
    let _ = rig.sync();
    assert_eq!(rig.lapic.take_sipi(), Some(0x10));
    rig.write(reg::SVR, 0x1ff);
    assert_eq!((rig.lapic.pending(), rig.read(reg::IRR + 0x30)), (None, 0));
}

#[test]
fn lap_9_a_sipi_after_the_init_is_latched_at_every_moment() {
    // Before the target looked, after it looked, and after it handled the INIT.
    for moment in 0..3 {
        let mut rig = running_ap();
        rig.post(message(Init, 5, 0));
        if moment == 0 {
            rig.post(message(StartUp, 5, 0x77));
        }
        assert!(rig.sync().init);
        if moment == 1 {
            rig.post(message(StartUp, 5, 0x77));
            let _ = rig.sync();
        }
        assert_eq!(rig.lapic.take_sipi(), None, "INIT comes first");
        assert!(rig.lapic.take_init(&mut rig.events));
        if moment == 2 {
            rig.post(message(StartUp, 5, 0x77));
            let _ = rig.sync();
        }
        assert_eq!(rig.lapic.take_sipi(), Some(0x77), "moment {moment}");
        assert!(!rig.lapic.take_init(&mut rig.events));
    }
}

#[test]
fn lap_9_an_init_in_wait_for_sipi_comes_before_the_sipi_behind_it() {
    let mut rig = ap();
    rig.post(message(Init, 5, 0));
    rig.post(message(StartUp, 5, 0x77));
    let _ = rig.sync();
    assert_eq!(rig.lapic.take_sipi(), None);
    assert!(rig.lapic.take_init(&mut rig.events));
    assert_eq!(rig.lapic.take_sipi(), Some(0x77));
}

#[test]
fn lap_9_init_keeps_id_and_apic_base_and_resets_the_rest() {
    for x2apic in [false, true] {
        let mut rig = running_ap();
        let base = if x2apic { 0xfee0_0c00 } else { 0x1_2345_6800 };
        rig.write(reg::SVR, 0x1ff);
        rig.write(reg::LDR, 0x0100_0000);
        rig.write(reg::DFR, 0);
        rig.write(reg::TPR, 0x20);
        rig.write(reg::LVT_TIMER, 0x4_0040);
        rig.wrmsr(MSR_TSC_DEADLINE, u64::MAX).expect("arm");
        rig.level(0x90);
        assert_eq!(rig.take(), Some(0x90));
        rig.edge(0x91);
        rig.wrmsr(MSR_APIC_BASE, base).expect("legal");
        rig.take_events();
        rig.lapic.init(&mut rig.events);
        assert_eq!(rig.take_events(), [Event::Map]);

        let mut expected = ap();
        expected.wrmsr(MSR_APIC_BASE, base).expect("legal");
        assert_eq!(rig.lapic.state(rig.now), expected.lapic.state(expected.now));
        assert_eq!((rig.lapic.id(), rig.lapic.apic_base()), (5, base));
    }
}

#[test]
fn lap_9_init_of_the_bsp_lets_it_run_and_follows_the_flag() {
    let mut rig = Rig::xapic();
    rig.post(message(Init, 0, 0));
    rig.post(message(StartUp, 0, 0x10));
    let _ = rig.sync();
    assert!(rig.lapic.take_init(&mut rig.events));
    assert_eq!(rig.lapic.start_state(), StartState::Running);
    assert_eq!(rig.lapic.take_sipi(), None);
    rig.wrmsr(MSR_APIC_BASE, 0xfee0_0800).expect("no longer the BSP");
    rig.lapic.init(&mut rig.events);
    assert_eq!(rig.lapic.start_state(), StartState::WaitForSipi);
}

#[test]
fn lap_9_a_fixed_ipi_never_starts_an_ap() {
    let rig = ap();
    let map = crate::DestinationMap::new(&[rig.lapic.destination_entry()]);
    let delivery = crate::deliver(&map, &[&rig.posted], &message(Fixed, 5, 0x40), |_| {
        panic!("nobody to notify")
    });
    assert_eq!(delivery, irq_routing::Delivery::Ignored);
    let mut rig = ap();
    rig.edge(0x40); // even if one got through
    assert_eq!(rig.lapic.start_state(), StartState::WaitForSipi);
}

#[test]
fn lap_9_init_voids_what_the_lvt_raised() {
    let mut rig = running_ap();
    rig.write(reg::SVR, 0x1ff);
    rig.write(reg::LVT_LINT1, 0x400);
    let _ = rig.lapic.set_local_intr(LvtIndex::Lint1);
    rig.lapic.init(&mut rig.events);
    assert_eq!(rig.sync().nmi, 0);
}

#[test]
fn lap_9_nmis_after_an_init_are_not_lost() {
    let mut rig = running_ap();
    rig.post(message(Init, 5, 0));
    let _ = rig.sync();
    assert!(rig.lapic.take_init(&mut rig.events));
    rig.post(message(Nmi, 5, 0));
    assert_eq!(rig.sync().nmi, 1);
}

#[test]
fn lap_9_reset_is_power_up() {
    let mut rig = Rig::x2apic();
    rig.edge(0x40);
    rig.lapic.reset(&mut rig.events);
    let fresh = Rig::with(config());
    assert_eq!(rig.lapic.state(rig.now), fresh.lapic.state(fresh.now));
    assert_eq!(rig.take_events(), [Event::Map]);
}
