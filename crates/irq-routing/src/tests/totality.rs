// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! ALL-2, ALL-3: whatever the guest writes and whatever is restored.

use std::sync::Arc;
use std::vec::Vec;

use proptest::prelude::*;

use super::groups_msix::Sent;
use super::Board;
use crate::{
    Gsi, InterruptSourceGroup, Msi, MsiFormat, MsiGroup, MsiState, MsixGroup, MsixState, Resample,
    Route, RouteTable, Router, RouterState, SourceId, Target, WireState,
};

/// What a guest and a device do to an MSI-X table.
#[derive(Clone, Debug)]
enum Step {
    Write(u64, Vec<u8>),
    Read(u64, usize),
    Control(u16),
    Trigger(usize),
    Clear(usize),
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0u64..80, 1 => any::<u64>(), 1 => u64::MAX - 20..=u64::MAX]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (offset(), prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(at, b)| Step::Write(at, b)),
        // Mask bits and addresses that work are rare among random bytes.
        (0u64..5, any::<bool>())
            .prop_map(|(n, mask)| Step::Write(n * 16 + 12, std::vec![mask.into(), 0, 0, 0])),
        (0u64..5, any::<u8>())
            .prop_map(|(n, id)| Step::Write(n * 16, std::vec![0, id << 4, 0xe0 | id >> 4, 0xfe])),
        (offset(), 0usize..40).prop_map(|(at, len)| Step::Read(at, len)),
        any::<u16>().prop_map(Step::Control),
        (0usize..6).prop_map(Step::Trigger),
        (0usize..6).prop_map(Step::Clear),
    ]
}

fn msix() -> MsixGroup<Arc<Sent>> {
    MsixGroup::new(Arc::new(Sent::default()), 5).unwrap()
}

fn run(group: &MsixGroup<Arc<Sent>>, step: &Step) {
    match step {
        Step::Write(offset, data) => group.write_table(*offset, data).unwrap(),
        Step::Read(offset, len) => {
            group.read_table(*offset, &mut std::vec![0; *len]);
            group.read_pba(*offset, &mut std::vec![0; *len]);
        }
        Step::Control(control) => group.set_control(*control).unwrap(),
        Step::Trigger(index) => drop(group.trigger(*index)),
        Step::Clear(index) => drop(group.clear_pending(*index)),
    }
}

proptest! {
    #[test]
    fn all_2_msix_takes_any_access(steps in prop::collection::vec(step(), 0..60)) {
        let group = msix();
        for step in &steps {
            run(&group, step);
            // Nothing deliverable ever stays behind.
            for index in 0..5 {
                let open = group.control() & 0x8000 != 0 && !group.is_masked(index).unwrap();
                prop_assert!(!(open && group.is_pending(index).unwrap()));
            }
        }
    }

    #[test]
    fn all_2_msix_reads_do_not_depend_on_their_width(
        steps in prop::collection::vec(step(), 0..20), offset in 0u64..90, len in 0usize..40,
    ) {
        let group = msix();
        steps.iter().for_each(|step| run(&group, step));
        let mut wide = std::vec![0; len];
        group.read_table(offset, &mut wide);
        for (at, expected) in (offset..).zip(wide) {
            let mut byte = [0];
            group.read_table(at, &mut byte);
            prop_assert_eq!(byte[0], expected);
        }
    }

    #[test]
    fn all_3_msix_save_restore_save_is_the_identity_at_any_moment(
        steps in prop::collection::vec(step(), 0..40), later in prop::collection::vec(step(), 0..20),
    ) {
        let one = msix();
        steps.iter().for_each(|step| run(&one, step));
        let state = one.state();
        let two = msix();
        two.restore(&state).unwrap();
        prop_assert_eq!(&two.state(), &state);
        // And the two behave alike from here on.
        one.backend().0.take();
        for step in &later {
            run(&one, step);
            run(&two, step);
        }
        prop_assert_eq!(one.backend().0.take(), two.backend().0.take());
        prop_assert_eq!(one.state(), two.state());
    }

    #[test]
    fn all_2_msix_takes_or_refuses_any_state(
        entries in prop::collection::vec(any::<[u32; 4]>(), 0..7),
        pending in prop::collection::vec(any::<u64>(), 0..3),
        control in any::<u16>(),
    ) {
        let group = msix();
        let before = group.state();
        let state = MsixState { entries, pending, control };
        let expected = if group.restore(&state).is_ok() { state } else { before };
        prop_assert_eq!(group.state(), expected);
    }

    #[test]
    fn all_2_msi_takes_any_write_and_loses_nothing(
        steps in prop::collection::vec((0u8..7, any::<u32>()), 0..60),
    ) {
        let group = MsiGroup::new(Arc::new(Sent::default()), 8).unwrap();
        for (what, value) in steps {
            let index = value as usize % 8;
            match what {
                0 => group.set_control(value as u16).unwrap(),
                1 => group.set_address_low(value).unwrap(),
                2 => group.set_address_high(value).unwrap(),
                3 => group.set_data(value as u16).unwrap(),
                4 => group.set_mask_bits(value).unwrap(),
                5 => drop(group.trigger(index)),
                _ => group.set_message(Msi { address: 0xfee0_0000, data: value }).unwrap(),
            }
            prop_assert!(!group.is_enabled() || group.pending_bits() & !group.mask_bits() == 0);
        }
        let other = MsiGroup::new(Arc::new(Sent::default()), 8).unwrap();
        let state = group.state();
        other.restore(&state).unwrap();
        prop_assert_eq!(other.state(), state);
    }

    #[test]
    fn all_2_msi_takes_or_refuses_any_state(
        address in any::<u64>(), data in any::<u32>(), allocated in any::<u8>(),
        masks in any::<[u32; 2]>(), small in any::<bool>(), enabled in any::<bool>(),
    ) {
        let group = MsiGroup::new(Arc::new(Sent::default()), 32).unwrap();
        let limit = if small { 0xffff } else { u32::MAX };
        let [masked, pending] = masks;
        let message = Msi { address: address & if small { !3 } else { !0 }, data: data & limit };
        let allocated = if small { 1 << (allocated % 6) } else { allocated };
        let state = MsiState { message, enabled, allocated, masked, pending };
        let before = group.state();
        let expected = if group.restore(&state).is_ok() { state } else { before };
        prop_assert_eq!(group.state(), expected);
        for index in 0..33 {
            let _ = group.trigger(index);
        }
    }

    #[test]
    fn all_2_any_message_is_decoded_or_refused(
        address in any::<u64>(), window in any::<bool>(), data in any::<u32>(),
    ) {
        let address = if window { address & 0xffff_ff00_000f_ffff | 0xfee0_0000 } else { address };
        for format in [MsiFormat::Xapic, MsiFormat::Extended15, MsiFormat::X2apic32] {
            let Ok(message) = (Msi { address, data }).decode(format) else { continue };
            let again = Msi::encode(&message, format).unwrap();
            prop_assert_eq!(again.decode(format), Ok(message));
        }
    }
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        any::<u8>().prop_map(|pin| Target::Pic(pin % 20)),
        any::<u8>().prop_map(Target::IoApic),
        (any::<u64>(), any::<u32>()).prop_map(|(address, data)| Target::Msi(Msi { address, data })),
    ]
}

fn route() -> impl Strategy<Value = Route> {
    (0u32..6, target()).prop_map(|(gsi, target)| Route { gsi: Gsi(gsi), target })
}

/// A table of those of the routes that are possible together.
fn table(routes: &[Route]) -> RouteTable {
    let empty = RouteTable::new();
    let mut edit = empty.edit();
    for route in routes {
        let _ = edit.add(route.gsi, route.target);
    }
    edit.build().unwrap()
}

/// The chips' levels, rebuilt from what they saw, must be the router's.
fn check_levels(board: &mut Board, levels: &mut std::collections::BTreeSet<crate::Pin>) {
    for saw in board.saw() {
        match saw {
            super::Saw::High(pin) => assert!(levels.insert(pin), "{pin:?} rises twice"),
            super::Saw::Low(pin) => assert!(levels.remove(&pin), "{pin:?} falls twice"),
            super::Saw::Message(_) => {}
        }
    }
    for pin in (0..crate::Pin::COUNT).map(crate::Pin::from_index) {
        assert_eq!(board.router.pin_level(pin), levels.contains(&pin), "{pin:?}");
    }
}

proptest! {
    #[test]
    fn all_2_the_table_finds_exactly_its_routes(routes in prop::collection::vec(route(), 0..40)) {
        let table = table(&routes);
        for route in table.iter() {
            prop_assert!(table.targets(route.gsi).any(|target| target == route.target));
            if let Some(pin) = route.target.pin() {
                prop_assert!(table.gsis(pin).contains(&route.gsi));
            }
        }
        let by_gsi: usize = (0..8).map(|gsi| table.routes(Gsi(gsi)).len()).sum();
        prop_assert_eq!(by_gsi, table.len());
        let again = RouteTable::from_routes(table.iter()).unwrap();
        prop_assert_eq!(again, table);
    }

    #[test]
    fn all_2_pins_follow_their_sources_whatever_is_rewired(
        tables in prop::collection::vec(prop::collection::vec(route(), 0..10), 1..4),
        steps in prop::collection::vec((0u8..8, 0u32..7, 0u8..4, any::<bool>()), 0..80),
    ) {
        let mut board = Board::new(table(&tables[0]));
        let mut levels = std::collections::BTreeSet::new();
        for gsi in 0..6 {
            for resample in [Resample::Never, Resample::Notify, Resample::Deassert] {
                board.router.connect(Gsi(gsi), resample).unwrap();
            }
        }
        for (what, gsi, source, level) in steps {
            let source = SourceId::new(source).unwrap();
            match what {
                0..4 => drop(board.set(source, gsi, level)),
                4 => drop(board.pulse(source, gsi)),
                5 => {
                    let next = table(&tables[gsi as usize % tables.len()]);
                    board.router.install(next, &mut board.chips);
                }
                6 => {
                    let pins: Vec<_> =
                        board.router.table().targets(Gsi(gsi)).filter_map(|t| t.pin()).collect();
                    for pin in pins {
                        board.router.eoi(pin, &mut board.chips);
                    }
                    board.router.next_resample();
                }
                _ => {
                    board.router.disconnect(source, Gsi(gsi), &mut board.chips);
                    let _ = board.router.connect(Gsi(gsi), Resample::Deassert);
                }
            }
            check_levels(&mut board, &mut levels);
        }
        let state = board.router.state();
        prop_assert_eq!(Router::from_state(&state).unwrap().state(), state);
    }

    #[test]
    fn all_2_a_router_takes_or_refuses_any_state(
        routes in prop::collection::vec(route(), 0..10),
        wires in prop::collection::vec((any::<u32>(), any::<[u64; 5]>(), any::<bool>()), 0..5),
    ) {
        let wires = wires.into_iter().map(|(gsi, [connected, a, n, d, due], plausible)| {
            let mask = if plausible { connected } else { !0 };
            let deassert = d & mask & if plausible { !n } else { !0 };
            let told = if plausible { n & mask | deassert } else { !0 };
            WireState {
                gsi: Gsi(if plausible { gsi % 4096 } else { gsi }),
                connected, asserted: a & mask, notify: n & mask, deassert, due: due & told,
            }
        }).collect();
        let state = RouterState { routes: table(&routes).iter().collect(), wires };
        if let Ok(mut router) = Router::from_state(&state) {
            prop_assert_eq!(router.state(), state);
            let mut chips = super::Chips::default();
            router.present(&mut chips);
            while router.next_resample().is_some() {}
        }
    }
}
