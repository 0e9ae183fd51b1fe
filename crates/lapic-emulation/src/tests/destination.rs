// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LAP-16 (and LAP-8's destinations): who a message reaches.

use irq_routing::{Delivery, DeliveryMode, DestinationMode, InterruptMessage, BROADCAST};
use proptest::prelude::*;
use std::vec::Vec;

use super::{logical, message};
use crate::spec::x2apic_ldr;
use crate::{
    deliver, deliver_ipi, ApicMode, DestinationEntry, DestinationMap, Ipi, PostedInterrupts,
    Shorthand,
};

const FIXED: DeliveryMode = DeliveryMode::Fixed;
const NOBODY: [usize; 0] = [];

fn entry(mode: ApicMode, id: u32, logical: u8, cluster: bool) -> DestinationEntry {
    DestinationEntry {
        id,
        mode,
        ldr: u32::from(logical) << 24,
        dfr: if cluster { 0x0fff_ffff } else { 0xffff_ffff },
        software_enabled: true,
    }
}

fn flat(id: u32, logical: u8) -> DestinationEntry {
    entry(ApicMode::Xapic, id, logical, false)
}

fn x2apic(id: u32) -> DestinationEntry {
    entry(ApicMode::X2apic, id, 0, false)
}

fn targets(entries: &[DestinationEntry], message: &InterruptMessage) -> Vec<usize> {
    let mut found: Vec<usize> = DestinationMap::new(entries).targets(message).collect();
    found.sort_unstable();
    found
}

#[test]
fn lap_16_physical() {
    let entries = [flat(0, 0), flat(7, 0), x2apic(0x1234), x2apic(255)];
    let to = |id| targets(&entries, &message(FIXED, id, 0x40));
    assert_eq!(to(0), [0]);
    assert_eq!(to(7), [1]);
    assert_eq!(to(0x1234), [2]);
    assert_eq!(to(255), [0, 1, 3], "an ordinary id for x2APICs, everyone for 8-bit ones");
    assert_eq!(to(8), NOBODY);
    assert_eq!(to(BROADCAST), [0, 1, 2, 3]);
}

#[test]
fn lap_16_an_xapic_takes_0xff_for_everyone_whatever_the_senders_format() {
    let cluster = entry(ApicMode::Xapic, 7, 0x21, true);
    let entries = [flat(0, 0), cluster, x2apic(3), x2apic(9), x2apic(255)];
    assert_eq!(targets(&entries, &message(FIXED, 0xff, 0x40)), [0, 1, 4]);
    assert_eq!(targets(&entries, &logical(FIXED, 0xff, 0x40)), [0, 1, 2]);
    let entries = [x2apic(0), x2apic(254), x2apic(255)];
    assert_eq!(targets(&entries, &message(FIXED, 0xff, 0x40)), [2], "an ordinary id");
    assert_eq!(targets(&entries, &logical(FIXED, 0xff, 0x40)), [0], "bits of cluster 0");
}

#[test]
fn lap_16_ids_above_255_do_not_alias() {
    let entries = [x2apic(0x1), x2apic(0x101), entry(ApicMode::Xapic, 0x201, 0, false)];
    let to = |id| targets(&entries, &message(FIXED, id, 0x40));
    assert_eq!((to(0x1), to(0x101), to(0x201)), ([0].into(), [1].into(), [2].into()));
    assert_eq!(to(0x301), NOBODY);
}

#[test]
fn lap_16_flat() {
    let entries = [flat(0, 0x01), flat(1, 0x02), flat(2, 0x84), flat(3, 0)];
    let to = |mda| targets(&entries, &logical(FIXED, mda, 0x40));
    assert_eq!(to(0x01), [0]);
    assert_eq!(to(0x03), [0, 1]);
    assert_eq!(to(0x84), [2], "once, though two bits match");
    assert_eq!(to(0x78), NOBODY);
    assert_eq!(to(0), NOBODY);
    assert_eq!(to(BROADCAST), [0, 1, 2, 3]);
}

#[test]
fn lap_16_cluster() {
    let cluster = |id, logical| entry(ApicMode::Xapic, id, logical, true);
    let entries = [cluster(0, 0x11), cluster(1, 0x12), cluster(2, 0x21), cluster(3, 0x13)];
    let to = |mda| targets(&entries, &logical(FIXED, mda, 0x40));
    assert_eq!(to(0x11), [0, 3]);
    assert_eq!(to(0x13), [0, 1, 3]);
    assert_eq!(to(0x21), [2]);
    assert_eq!(to(0x2e), NOBODY);
    assert_eq!(to(BROADCAST), [0, 1, 2, 3]);
}

#[test]
fn lap_16_x2apic_clusters() {
    let entries = [x2apic(0), x2apic(1), x2apic(16), x2apic(31), x2apic(0x12_0003)];
    let to = |destination| targets(&entries, &logical(FIXED, destination, 0x40));
    assert_eq!(to(0x0000_0003), [0, 1]);
    assert_eq!(to(0x0001_8001), [2, 3]);
    assert_eq!(to(0x0001_0002), NOBODY);
    assert_eq!(to(0x2000_0008), NOBODY, "ids from 2^20 on have no logical address");
    assert_eq!(to(BROADCAST), [0, 1, 2, 3, 4]);
}

#[test]
fn lap_16_modes_may_be_mixed() {
    let cluster = entry(ApicMode::Xapic, 2, 0x01, true);
    let entries = [flat(0, 0x01), x2apic(1), cluster, x2apic(16)];
    let to = |destination| targets(&entries, &logical(FIXED, destination, 0x40));
    assert_eq!(to(0x01), [0, 2]);
    assert_eq!(to(0x03), [0, 1, 2]);
    assert_eq!(to(0x0001_0001), [3]);
}

#[test]
fn lap_16_who_takes_what() {
    let entries = [
        flat(0, 1),
        DestinationEntry { software_enabled: false, ..flat(1, 1) },
        entry(ApicMode::Disabled, 2, 1, false),
    ];
    let all = |mode| targets(&entries, &message(mode, BROADCAST, 0x40));
    for mode in [FIXED, DeliveryMode::LowestPriority, DeliveryMode::ExtInt] {
        assert_eq!(all(mode), [0], "{mode:?}");
    }
    for mode in [DeliveryMode::Smi, DeliveryMode::Nmi, DeliveryMode::Init, DeliveryMode::StartUp] {
        assert_eq!(all(mode), [0, 1], "{mode:?}");
    }
    assert_eq!(targets(&entries, &message(DeliveryMode::Nmi, 2, 0)), NOBODY);
    assert_eq!(targets(&[], &message(FIXED, BROADCAST, 0x40)), NOBODY);
}

fn descriptors(count: usize) -> Vec<PostedInterrupts> {
    (0..count).map(|_| PostedInterrupts::new()).collect()
}

#[test]
fn lap_16_lowest_priority_prefers_the_lowest_and_takes_turns() {
    let entries: Vec<_> = (0..4).map(|id| flat(id, 1 << id)).collect();
    let (map, posted) = (DestinationMap::new(&entries), descriptors(4));
    let send = |vector| {
        let mut told = Vec::new();
        let lowest = logical(DeliveryMode::LowestPriority, 0x0f, vector);
        let delivery = deliver(&map, &posted, &lowest, |n| told.push(n));
        (delivery, told)
    };
    let one = Delivery::Delivered(1);
    for round in 0..4u8 {
        assert_eq!(send(0x40 + round), (one, [usize::from(round)].into()), "equals take turns");
    }
    for (index, ppr) in [0x50, 0x2f, 0x20, 0x30].into_iter().enumerate() {
        posted[index].publish_priority(ppr);
    }
    let holders = |vector: u8| -> Vec<usize> {
        (0..4)
            .filter(|n| posted[*n].state().edge[usize::from(vector / 64)] >> (vector % 64) & 1 == 1)
            .collect()
    };
    let send = |vector| {
        let lowest = logical(DeliveryMode::LowestPriority, 0x0f, vector);
        assert_eq!(deliver(&map, &posted, &lowest, |_| {}), one);
        holders(vector)
    };
    // Classes 5, 2, 2, 3: the two of class 2, in turn.
    assert_eq!([send(0x81), send(0x82), send(0x83)], [[1], [2], [1]]);
}

#[test]
fn lap_16_shorthands_and_delivery_counts() {
    let entries: Vec<_> = (0..3).map(x2apic).collect();
    let (map, posted) = (DestinationMap::new(&entries), descriptors(3));
    let mut vector = 0x40;
    let mut send = |shorthand, source| {
        vector += 1;
        let ipi = Ipi { shorthand, message: message(FIXED, 1, vector) };
        let delivery = deliver_ipi(&map, &posted, source, &ipi, |_| {});
        let bit = |p: &PostedInterrupts| p.state().edge[1] >> (vector - 64) & 1;
        (delivery, posted.iter().map(bit).collect::<Vec<_>>())
    };
    assert_eq!(send(Shorthand::None, 0), (Delivery::Delivered(1), [0, 1, 0].into()));
    assert_eq!(send(Shorthand::SelfOnly, 2), (Delivery::Delivered(1), [0, 0, 1].into()));
    assert_eq!(send(Shorthand::AllIncludingSelf, 1), (Delivery::Delivered(3), [1, 1, 1].into()));
    assert_eq!(send(Shorthand::AllExcludingSelf, 1), (Delivery::Delivered(2), [1, 0, 1].into()));
    assert_eq!(send(Shorthand::SelfOnly, 9), (Delivery::Ignored, [0, 0, 0].into()));
}

#[test]
fn lap_16_fewer_descriptors_than_entries_is_no_accident() {
    let entries: Vec<_> = (0..3).map(x2apic).collect();
    let map = DestinationMap::new(&entries);
    let posted = descriptors(1);
    let all = message(FIXED, BROADCAST, 0x40);
    assert_eq!(deliver(&map, &posted, &all, |_| {}), Delivery::Delivered(1));
    let lowest = message(DeliveryMode::LowestPriority, BROADCAST, 0x41);
    let _ = deliver(&map, &posted, &lowest, |_| {});
}

/// Probes do not grow with the number of vCPUs: counted, not timed.
#[test]
fn lap_16_lookups_cost_the_same_for_4096_vcpus() {
    for stride in [1u32, 2, 16, 256, 4096] {
        for count in [64, 4096] {
            let entries: Vec<_> = (0..count).map(|n| x2apic(n * stride)).collect();
            let map = DestinationMap::new(&entries);
            assert_eq!(map.len(), count as usize);
            assert!(map.longest_probe() <= 16, "{stride} {count}: {}", map.longest_probe());
            for index in [0, 1, count / 2, count - 1] {
                let to = message(FIXED, index * stride, 0x40);
                assert_eq!(map.targets(&to).collect::<Vec<_>>(), [index as usize]);
            }
        }
    }
}

/// The SDM's matching rules, one APIC at a time.
fn matches(entry: &DestinationEntry, message: &InterruptMessage) -> bool {
    let fixed = matches!(
        message.delivery_mode,
        DeliveryMode::Fixed | DeliveryMode::LowestPriority | DeliveryMode::ExtInt
    );
    if entry.mode == ApicMode::Disabled || (fixed && !entry.software_enabled) {
        return false;
    }
    let destination = message.destination;
    if destination == BROADCAST {
        return true;
    }
    if destination == 0xff && entry.mode == ApicMode::Xapic {
        return true;
    }
    if message.destination_mode == DestinationMode::Physical {
        return entry.id == destination;
    }
    match (entry.mode, entry.dfr >> 28) {
        (ApicMode::X2apic, _) => {
            let ldr = x2apic_ldr(entry.id);
            ldr >> 16 == destination >> 16 && ldr & destination & 0xffff != 0
        }
        _ if destination > 0xff => false,
        (_, 0xf) => entry.ldr >> 24 & destination != 0,
        (_, 0) => entry.ldr >> 28 == destination >> 4 && entry.ldr >> 24 & destination & 0xf != 0,
        _ => false,
    }
}

fn any_entry() -> impl Strategy<Value = DestinationEntry> {
    let mode = prop_oneof![
        1 => Just(ApicMode::Disabled),
        4 => Just(ApicMode::Xapic),
        4 => Just(ApicMode::X2apic),
    ];
    let dfr = prop_oneof![4 => Just(u32::MAX), 4 => Just(0x0fff_ffff), 1 => any::<u32>()];
    (mode, any::<u8>(), dfr, prop::bool::weighted(0.8)).prop_map(
        |(mode, logical, dfr, software_enabled)| DestinationEntry {
            dfr,
            software_enabled,
            ..entry(mode, 0, logical, false)
        },
    )
}

proptest! {
    #[test]
    fn lap_16_the_map_agrees_with_the_matching_rules(
        entries in prop::collection::vec(any_entry(), 0..40),
        stride in prop_oneof![Just(1u32), Just(5), Just(0x101), Just(0x5000)],
        destination in prop_oneof![
            3 => 0u32..=0xff,
            2 => (0u32..16, any::<u16>()).prop_map(|(c, bits)| c << 16 | u32::from(bits)),
            2 => (0u32..40, Just(1u32)).prop_map(|(n, _)| n * 0x101),
            1 => Just(BROADCAST),
            1 => any::<u32>(),
        ],
        is_logical in any::<bool>(),
        mode in prop_oneof![Just(FIXED), Just(DeliveryMode::Nmi)],
    ) {
        let entries: Vec<_> =
            entries.into_iter().zip(0u32..).map(|(e, n)| DestinationEntry { id: n * stride, ..e }).collect();
        let message = InterruptMessage {
            destination_mode: DestinationMode::from_bit(is_logical),
            ..message(mode, destination, 0x40)
        };
        let expected: Vec<usize> =
            (0..entries.len()).filter(|n| matches(&entries[*n], &message)).collect();
        prop_assert_eq!(targets(&entries, &message), expected);
    }
}
