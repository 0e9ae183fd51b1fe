// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LAP-8, LAP-12: IPIs, from the guest and from the VMM.

use irq_routing::{DeliveryMode, DestinationMode, TriggerMode, BROADCAST};

use super::{logical, message, Rig};
use crate::spec::reg;
use crate::{HostIcrError, Ipi, Shorthand, StartState};

fn send(high: u32, low: u32) -> Option<Ipi> {
    let mut rig = Rig::xapic();
    rig.write(reg::ICR_HIGH, high);
    assert_eq!(rig.sent(), None, "writing the upper half sends nothing");
    rig.write(reg::ICR, low);
    rig.sent()
}

#[test]
fn lap_8_delivery_modes() {
    let plain = |message| Some(Ipi { shorthand: Shorthand::None, message });
    for (low, mode) in [
        (0x0045, DeliveryMode::Fixed),
        (0x0145, DeliveryMode::LowestPriority),
        (0x0245, DeliveryMode::Smi),
        (0x0445, DeliveryMode::Nmi),
        (0x0545, DeliveryMode::Init),
        (0x0645, DeliveryMode::StartUp),
    ] {
        assert_eq!(send(3 << 24, low), plain(message(mode, 3, 0x45)), "{low:#x}");
        assert_eq!(send(3 << 24, low | 0x4000), plain(message(mode, 3, 0x45)), "{low:#x} assert");
    }
    assert_eq!(send(3 << 24, 0x0345), None, "reserved");
    assert_eq!(send(3 << 24, 0x0745), None, "ExtINT does not come from an ICR");
}

#[test]
fn lap_8_init_deassert_is_ignored() {
    assert_eq!(send(3 << 24, 0x8500), None);
    assert_eq!(send(0, 0xc_8500), None, "to all but self, as the MP protocol ends it");
    assert!(send(3 << 24, 0xc500).is_some(), "level assert");
    assert!(send(3 << 24, 0x0500).is_some(), "edge");
}

#[test]
fn lap_8_ipis_are_edge_triggered_whatever_bit_15_says() {
    let ipi = send(3 << 24, 0xc045).expect("sent");
    assert_eq!(ipi.message.trigger_mode, TriggerMode::Edge);
}

#[test]
fn lap_8_destinations() {
    assert_eq!(send(0xff << 24, 0x45).expect("sent").message.destination, BROADCAST);
    let ipi = send(0x81 << 24, 0x845).expect("sent");
    assert_eq!(ipi.message, logical(DeliveryMode::Fixed, 0x81, 0x45));
    let x2apic = |icr: u64| {
        let mut rig = Rig::x2apic();
        rig.wrmsr(0x830, icr).expect("legal");
        rig.sent().expect("sent").message
    };
    assert_eq!(x2apic(0xff_0000_0045).destination, 0xff, "an ordinary id there");
    assert_eq!(x2apic(0xffff_ffff_0000_0045).destination, BROADCAST);
    let cluster = x2apic(0x0003_8001_0000_0845);
    assert_eq!(
        (cluster.destination, cluster.destination_mode),
        (0x0003_8001, DestinationMode::Logical)
    );
}

#[test]
fn lap_8_shorthands() {
    let shorthand = |low| send(3 << 24, low).map(|ipi| ipi.shorthand);
    assert_eq!(shorthand(0x0_0045), Some(Shorthand::None));
    assert_eq!(shorthand(0x8_0045), Some(Shorthand::AllIncludingSelf));
    assert_eq!(shorthand(0xc_0045), Some(Shorthand::AllExcludingSelf));
    assert_eq!(shorthand(0xc_0500), Some(Shorthand::AllExcludingSelf));
    assert_eq!(shorthand(0xc_0608), Some(Shorthand::AllExcludingSelf));
}

#[test]
fn lap_8_self_stays_inside() {
    let mut rig = Rig::xapic();
    rig.write(reg::ICR, 0x4_0045);
    assert_eq!((rig.sent(), rig.take()), (None, Some(0x45)));
    rig.write(reg::ICR, 0x4_0400);
    assert_eq!(rig.sync().nmi, 1);
    rig.write(reg::SVR, 0xff);
    rig.take_events();
    rig.write(reg::ICR, 0x4_0046);
    assert_eq!(rig.lapic.irr(), [0; 4], "software-disabled: fixed does not get in");
}

#[test]
fn lap_8_no_cpu_inits_or_starts_itself() {
    for low in [0x4_4500, 0x4_4608, 0x8_4500, 0x8_4608] {
        let mut rig = Rig::xapic();
        rig.write(reg::ICR, low);
        let synced = rig.sync();
        assert_eq!((rig.sent(), synced.init, synced.sipi), (None, false, false), "{low:#x}");
    }
}

#[test]
fn lap_8_self_ipi_register() {
    let mut rig = Rig::x2apic();
    rig.wrmsr(0x83f, 0x45).expect("self IPI");
    assert_eq!((rig.sent(), rig.take()), (None, Some(0x45)));
    assert_eq!(rig.eoi(), None, "edge");
}

#[test]
fn lap_8_icr_reads_back_idle() {
    let mut rig = Rig::xapic();
    rig.write(reg::ICR_HIGH, 0x0300_0000);
    rig.write(reg::ICR, 0x1045);
    assert_eq!((rig.read(reg::ICR_HIGH), rig.read(reg::ICR)), (0x0300_0000, 0x45));
}

#[test]
fn lap_8_a_software_disabled_apic_still_sends() {
    let mut rig = Rig::xapic();
    rig.write(reg::SVR, 0xff);
    rig.take_events();
    rig.write(reg::ICR, 0x45);
    assert!(rig.sent().is_some());
}

#[test]
fn lap_12_host_icr_reaches_the_cpu_and_leaves_the_guests_icr_alone() {
    let mut rig = Rig::xapic();
    rig.write(reg::ICR, 0xc_0099);
    rig.take_events();
    assert_eq!(rig.lapic.host_icr(0x4_0045), Ok(()));
    assert_eq!((rig.take(), rig.read(reg::ICR)), (Some(0x45), 0xc_0099));
    assert_eq!(rig.lapic.host_icr(0x4_0155), Ok(()));
    assert_eq!(rig.take(), Some(0x55));
    assert_eq!((rig.lapic.host_icr(0x4_0400), rig.sync().nmi), (Ok(()), 1));
    assert_eq!((rig.lapic.host_icr(0x4_0200), rig.sync().smi), (Ok(()), true));
    assert_eq!((rig.lapic.host_icr(0x4_0700), rig.sync().extint), (Ok(()), true));
    assert_eq!(rig.sent(), None);
}

#[test]
fn lap_12_only_self_is_a_valid_argument() {
    let mut rig = Rig::xapic();
    let before = rig.lapic.state(rig.now);
    for icr in [0x0_0045, 0x8_0045, 0xc_0045] {
        assert_eq!(rig.lapic.host_icr(icr), Err(HostIcrError::Shorthand(icr)));
    }
    assert_eq!(rig.lapic.host_icr(0x4_0345), Err(HostIcrError::DeliveryMode(0x4_0345)));
    assert_eq!(rig.lapic.host_icr(0x4_0005), Err(HostIcrError::Vector(0x4_0005)));
    assert_eq!(rig.lapic.state(rig.now), before, "ESR included");
}

#[test]
fn lap_12_the_vmm_may_init_and_start() {
    let mut rig = Rig::with(crate::Config { bsp: false, ..super::config() });
    assert_eq!(rig.lapic.host_icr(0x4_4608), Ok(()));
    assert_eq!(rig.lapic.take_sipi(), Some(0x08));
    assert_eq!(rig.lapic.host_icr(0x4_8500), Ok(()));
    assert!(!rig.lapic.take_init(&mut rig.events), "de-assert");
    assert_eq!(rig.lapic.host_icr(0x4_4500), Ok(()));
    assert!(rig.lapic.take_init(&mut rig.events));
    assert_eq!(rig.lapic.start_state(), StartState::WaitForSipi);
}

#[test]
fn lap_12_another_thread_posts_the_decoded_value() {
    let mut rig = Rig::xapic();
    let message = crate::decode_host_icr(0x4_0045).expect("fixed to self");
    rig.post(message);
    assert!(rig.sync().vectors);
    assert_eq!(rig.take(), Some(0x45));
}
