// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! ALL-3: saved states.

use std::sync::{Arc, Mutex};

use super::groups_legacy::Machine;
use super::groups_msix::{enabled, Sent};
use super::{high, msi, Board};
use crate::{
    GroupError, Gsi, InterruptSourceGroup, LegacyGroup, LegacyState, MsiGroup, MsiState, MsixGroup,
    MsixState, Pin, Resample, Route, RouteError, Router, RouterState, RouterStateError,
    SourceConfig, SourceId, Target, TriggerMode, WireState,
};

/// A router in the middle of everything: levels, an EOI that nobody collected.
fn busy_board() -> Board {
    let mut board = Board::pc();
    let a = board.router.connect(Gsi(10), Resample::Deassert).unwrap();
    let b = board.router.connect(Gsi(10), Resample::Notify).unwrap();
    let c = board.connect(0);
    let _ = board.set(a, 10, true);
    assert!(board.router.eoi(Pin::IoApic(10), &mut board.chips));
    let _ = board.set(b, 10, true);
    let _ = board.set(c, 0, true);
    board.saw();
    board
}

fn wire(gsi: u32, connected: u64) -> WireState {
    WireState { gsi: Gsi(gsi), connected, asserted: 0, notify: 0, deassert: 0, due: 0 }
}

#[test]
fn all_3_a_router_survives_save_and_restore() {
    let before = busy_board();
    let state = before.router.state();
    let mut after = Board { router: Router::from_state(&state).unwrap(), ..Board::pc() };
    assert_eq!(after.router.state(), state);
    // It goes on where it was: levels, sources, whom to tell.
    assert_eq!(after.set(SourceId::FIRST, 0, false), crate::Delivery::Ignored);
    assert_eq!(after.saw().len(), 2, "the restored level falls");
    assert_eq!(after.router.next_resample(), Some((Gsi(10), SourceId::new(0).unwrap())));
    assert_eq!(after.router.next_resample(), Some((Gsi(10), SourceId::new(1).unwrap())));
    assert_eq!(after.router.next_resample(), None);
    assert_eq!(u8::from(after.connect(10)), 2, "the sources are still taken");
}

#[test]
fn all_3_a_restored_level_is_not_counted_twice() {
    let mut board = busy_board();
    board.router = Router::from_state(&board.router.state()).unwrap();
    let b = SourceId::new(1).unwrap();
    assert_eq!(board.set(b, 10, true), crate::Delivery::Coalesced, "as it was");
    assert_eq!(board.saw(), []);
    let _ = board.set(b, 10, false);
    assert!(!board.router.level(Gsi(10)), "one assertion, one release");
}

#[test]
fn all_3_new_chips_are_shown_the_restored_levels() {
    let mut board = busy_board();
    board.router.present(&mut board.chips);
    let expected = [Pin::Pic(0), Pin::Pic(10), Pin::IoApic(2), Pin::IoApic(10)].map(high);
    assert_eq!(board.saw(), expected);
}

#[test]
fn all_3_a_router_refuses_what_cannot_be() {
    let refuse = |state: &RouterState| Router::from_state(state).map(drop).unwrap_err();
    let with = |wires: &[WireState]| RouterState { wires: wires.to_vec(), ..Default::default() };
    let sources = RouterStateError::Sources(Gsi(3));
    for bad in [
        WireState { asserted: 2, ..wire(3, 1) },
        WireState { notify: 2, ..wire(3, 1) },
        WireState { deassert: 2, ..wire(3, 1) },
        WireState { notify: 1, deassert: 1, ..wire(3, 1) },
        WireState { due: 1, ..wire(3, 1) },
        wire(3, 0),
    ] {
        assert_eq!(refuse(&with(&[bad])), sources, "{bad:?}");
    }
    assert_eq!(refuse(&with(&[wire(4096, 1)])), RouterStateError::Gsi(Gsi(4096)));
    assert_eq!(refuse(&with(&[wire(u32::MAX, 1)])), RouterStateError::Gsi(Gsi(u32::MAX)));
    for order in [[wire(4, 1), wire(4, 1)], [wire(4, 1), wire(3, 1)]] {
        assert_eq!(refuse(&with(&order)), RouterStateError::Gsi(order[1].gsi));
    }
    let routes = std::vec![Route { gsi: Gsi(1), target: Target::Pic(16) }];
    let error = RouteError::InvalidPin(Pin::Pic(16));
    assert_eq!(refuse(&RouterState { routes, ..Default::default() }), error.into());
    assert!(Router::from_state(&RouterState::default()).is_ok());
}

/// Vector 1 masked and pending, function masked.
fn busy_msix() -> MsixState {
    let group = enabled(70);
    group.mask(1).unwrap();
    let _ = group.trigger(1);
    group.set_control(0xc000).unwrap();
    let _ = group.trigger(69);
    group.write_table(0, &0x1234_5678u32.to_le_bytes()).unwrap();
    group.state()
}

#[test]
fn all_3_msix_survives_save_and_restore() {
    let state = busy_msix();
    assert_eq!((state.entries.len(), &state.pending[..]), (70, &[2, 1 << 5][..]));
    let group = MsixGroup::new(Arc::new(Sent::default()), 70).unwrap();
    group.restore(&state).unwrap();
    assert_eq!(group.state(), state);
    assert_eq!(group.backend().0.take(), [], "restoring sends nothing");
    group.set_control(0x8000).unwrap();
    group.unmask(1).unwrap();
    assert_eq!(group.backend().0.take(), [msi(0x40 + 69), msi(0x41)], "and loses nothing");
}

#[test]
fn all_3_msix_refuses_what_cannot_be() {
    let good = busy_msix();
    let group = enabled(70);
    let before = group.state();
    let bad: &[fn(&mut MsixState)] = &[
        |state| state.entries.truncate(69),
        |state| state.pending.truncate(1),
        |state| state.pending.push(0),
        |state| state.pending[1] |= 1 << 6,
        |state| state.entries[3][0] |= 1,
        |state| state.entries[3][3] = 2,
        |state| state.control |= 1,
        // Vector 69 is pending and nothing would mask it.
        |state| state.control = 0x8000,
    ];
    for (index, spoil) in bad.iter().enumerate() {
        let mut state = good.clone();
        spoil(&mut state);
        assert_eq!(group.restore(&state), Err(GroupError::InvalidState), "{index}");
        assert_eq!(group.state(), before);
    }
    assert_eq!(group.restore(&MsixState::default()), Err(GroupError::InvalidState));
}

#[test]
fn all_3_msi_survives_save_and_restore() {
    let state = MsiState {
        message: crate::Msi { address: 0x12_3456_7890_abcc, data: 0x40 },
        enabled: true,
        allocated: 4,
        masked: 0b1010,
        pending: 0b1000,
    };
    let group = MsiGroup::new(Arc::new(Sent::default()), 8).unwrap();
    group.restore(&state).unwrap();
    assert_eq!(group.state(), state);
    group.set_message(msi(0x40)).unwrap();
    assert_eq!(group.backend().0.take(), []);
    group.unmask(3).unwrap();
    assert_eq!(group.backend().0.take(), [msi(0x43)]);
    assert_eq!(MsiState::default(), MsiGroup::new(Arc::new(Sent::default()), 8).unwrap().state());
    let off = MsiState { enabled: false, pending: 1, ..MsiState::default() };
    assert_eq!(group.restore(&off), Ok(()), "off: an unmasked bit may wait");
}

#[test]
fn all_3_msi_refuses_what_cannot_be() {
    let group = MsiGroup::new(Arc::new(Sent::default()), 8).unwrap();
    let good = MsiState::default();
    for bad in [
        MsiState { allocated: 0, ..good },
        MsiState { allocated: 3, ..good },
        MsiState { allocated: 16, ..good },
        MsiState { masked: 1 << 8, ..good },
        MsiState { pending: 1 << 31, ..good },
        MsiState { enabled: true, pending: 2, masked: 1, ..good },
        MsiState { message: crate::Msi { address: 1, data: 0 }, ..good },
        MsiState { message: crate::Msi { address: 0, data: 0x10000 }, ..good },
    ] {
        assert_eq!(group.restore(&bad), Err(GroupError::InvalidState), "{bad:?}");
        assert_eq!(group.state(), good);
    }
}

#[test]
fn all_3_a_legacy_group_finds_its_source_again() {
    let machine = Machine::new();
    let new = |trigger| {
        let group = LegacyGroup::new(machine.clone(), Gsi(11), trigger, Resample::Never).unwrap();
        group.enable().unwrap();
        group
    };
    let (level, edge) = (new(TriggerMode::Level), new(TriggerMode::Edge));
    let _ = level.trigger(0);
    edge.mask(0).unwrap();
    let _ = edge.trigger(0);
    let (level_state, edge_state) = (level.state(), edge.state());
    let router = machine.0.lock().unwrap().router.state();

    let restored = Router::from_state(&router).unwrap();
    let board = Board { router: restored, ..Board::pc() };
    let machine = Arc::new(Machine(Mutex::new(board)));
    let level = LegacyGroup::from_state(machine.clone(), &level_state).unwrap();
    let edge = LegacyGroup::from_state(machine.clone(), &edge_state).unwrap();
    assert_eq!((level.state(), edge.state()), (level_state, edge_state));
    assert_eq!(machine.saw(), [], "the wire has its level already");
    assert_eq!(edge.is_pending(0), Ok(true));
    level.deassert(0).unwrap();
    assert_eq!(machine.saw().len(), 2, "and loses it at once");
    edge.unmask(0).unwrap();
    assert_eq!(machine.saw().len(), 4, "the edge that waited");

    let stranger = LegacyState { source: SourceId::new(9).unwrap(), ..level_state };
    let error = LegacyGroup::from_state(machine.clone(), &stranger).map(drop);
    assert_eq!(error, Err(GroupError::InvalidState));
    let beyond = LegacyState { gsi: Gsi(u32::MAX), ..level_state };
    assert!(LegacyGroup::from_state(machine, &beyond).is_err());
}

#[cfg(feature = "serde")]
#[test]
fn all_3_states_survive_as_text() {
    fn round_trip<T>(value: &T)
    where
        T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + core::fmt::Debug,
    {
        let text = serde_json::to_string(value).unwrap();
        assert_eq!(serde_json::from_str::<T>(&text).unwrap(), *value, "{text}");
    }
    round_trip(&busy_board().router.state());
    round_trip(&busy_msix());
    round_trip(&MsiState::default());
    let machine = Machine::new();
    let group = LegacyGroup::new(machine, Gsi(11), TriggerMode::Level, Resample::Never).unwrap();
    round_trip(&group.state());
    round_trip(&crate::IsaAllocator::new());
    round_trip(&crate::Wire::default());
    round_trip(&crate::IrqchipMode::Split);
    let error = serde_json::from_str::<SourceId>("64").unwrap_err();
    assert!(std::string::ToString::to_string(&error).contains("source 64"), "{error}");
}

#[test]
fn all_3_update_after_restore_works_as_ever() {
    let group = MsixGroup::new(Arc::new(Sent::default()), 70).unwrap();
    group.restore(&busy_msix()).unwrap();
    group.set_control(0x8000).unwrap();
    group.backend().0.take();
    group.update(5, SourceConfig::Msi(msi(0x99)), false).unwrap();
    let _ = group.trigger(5);
    assert_eq!(group.backend().0.take(), [msi(0x99)]);
}
