// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RTE-1, RTE-4: the GSI table and its changes.

use std::vec::Vec;

use super::{high, low, msi, Board};
use crate::route::MAX_ROUTES;
use crate::{Gsi, GsiPool, Pin, Route, RouteError, RouteTable, Target};

fn targets(table: &RouteTable, gsi: u32) -> Vec<Target> {
    table.targets(Gsi(gsi)).collect()
}

#[test]
fn rte_1_isa_lines_reach_the_pic_and_the_ioapic() {
    let table = RouteTable::legacy(24);
    for irq in (1..16).filter(|irq| *irq != 2) {
        assert_eq!(targets(&table, irq.into()), [Target::Pic(irq), Target::IoApic(irq)]);
    }
}

#[test]
fn rte_1_irq0_arrives_at_ioapic_pin_2_and_the_cascade_nowhere() {
    let table = RouteTable::legacy(24);
    assert_eq!(targets(&table, 0), [Target::Pic(0), Target::IoApic(2)]);
    assert_eq!(targets(&table, 2), []);
    assert_eq!(table.gsis(Pin::IoApic(2)), [Gsi(0)]);
    assert_eq!(table.gsis(Pin::IoApic(0)), []);
    assert_eq!(table.gsis(Pin::Pic(2)), []);
}

#[test]
fn rte_1_identity_elsewhere() {
    let table = RouteTable::legacy(24);
    for pin in 16..24 {
        assert_eq!(targets(&table, pin.into()), [Target::IoApic(pin)]);
    }
    assert_eq!(targets(&table, 24), []);
    assert_eq!(targets(&table, u32::MAX), []);
    assert_eq!(table.len(), 15 + 23);
}

#[test]
fn rte_1_a_machine_without_ioapic_has_the_pic_only() {
    let table = RouteTable::pic_only();
    assert_eq!(targets(&table, 0), [Target::Pic(0)]);
    assert_eq!(targets(&table, 15), [Target::Pic(15)]);
    assert_eq!(targets(&table, 2), []);
    assert_eq!(targets(&table, 16), []);
    assert!(table.gsis(Pin::IoApic(4)).is_empty());
}

#[test]
fn rte_1_a_table_for_any_number_of_pins() {
    assert_eq!(targets(&RouteTable::legacy(240), 239), [Target::IoApic(239)]);
    // One more than an IOAPIC can have, and fewer than IRQ0 needs.
    assert_eq!(RouteTable::legacy(255), RouteTable::legacy(240));
    assert_eq!(targets(&RouteTable::legacy(1), 0), [Target::Pic(0)]);
    assert_eq!(RouteTable::legacy(0), RouteTable::pic_only());
}

#[test]
fn rte_1_routes_can_be_overridden() {
    let legacy = RouteTable::legacy(24);
    let mut edit = legacy.edit();
    edit.set(Gsi(0), &[Target::IoApic(0)]).unwrap();
    edit.set(Gsi(9), &[Target::IoApic(20)]).unwrap();
    let table = edit.build().unwrap();
    assert_eq!(targets(&table, 0), [Target::IoApic(0)]);
    assert_eq!(targets(&table, 9), [Target::IoApic(20)]);
    assert_eq!(table.gsis(Pin::IoApic(20)), [Gsi(9), Gsi(20)]);
    assert_eq!(targets(&legacy, 9), [Target::Pic(9), Target::IoApic(9)], "a value: unchanged");
}

#[test]
fn rte_1_a_gsi_has_one_message_or_one_pin_of_each_chip() {
    let empty = RouteTable::new();
    let mut edit = empty.edit();
    edit.set(Gsi(5), &[Target::Pic(5), Target::Pic(9), Target::IoApic(5)]).unwrap();
    let conflict = Err(RouteError::Conflict(Gsi(5)));
    assert_eq!(edit.add(Gsi(5), Target::Pic(6)).map(drop), conflict);
    assert_eq!(edit.add(Gsi(5), Target::IoApic(6)).map(drop), conflict);
    assert_eq!(edit.add(Gsi(5), Target::Msi(msi(0x41))).map(drop), conflict);
    edit.set(Gsi(5), &[Target::Msi(msi(0x41))]).unwrap();
    assert_eq!(edit.add(Gsi(5), Target::Pic(5)).map(drop), conflict);
    assert_eq!(edit.add(Gsi(5), Target::Msi(msi(0x42))).map(drop), conflict);
    edit.add(Gsi(5), Target::Msi(msi(0x41))).unwrap();
    assert_eq!(targets(&edit.build().unwrap(), 5), [Target::Msi(msi(0x41))], "once");
}

#[test]
fn rte_1_gsis_and_pins_that_do_not_exist_are_errors() {
    let empty = RouteTable::new();
    let mut edit = empty.edit();
    let beyond = Gsi(MAX_ROUTES as u32);
    let gsi = Err(RouteError::InvalidGsi(beyond));
    assert_eq!(edit.add(beyond, Target::Pic(1)).map(drop), gsi);
    assert_eq!(edit.set(beyond, &[]).map(drop), gsi);
    for pin in [Pin::Pic(16), Pin::IoApic(240), Pin::IoApic(255)] {
        let target = match pin {
            Pin::Pic(pin) => Target::Pic(pin),
            Pin::IoApic(pin) => Target::IoApic(pin),
        };
        assert_eq!(edit.add(Gsi(1), target).map(drop), Err(RouteError::InvalidPin(pin)));
        assert!(empty.gsis(pin).is_empty());
    }
    edit.remove(beyond);
    assert_eq!(edit.build().unwrap(), empty);
}

#[test]
fn rte_1_pins_and_their_indices_are_each_others_inverse() {
    for index in 0..Pin::COUNT {
        assert_eq!(Pin::from_index(index).index(), Some(index));
    }
}

#[test]
fn rte_4_a_dropped_edit_changes_nothing() {
    let table = RouteTable::legacy(24);
    let before = table.clone();
    let mut edit = table.edit();
    edit.remove(Gsi(4)).add(Gsi(30), Target::Msi(msi(0x41))).unwrap();
    drop(edit);
    assert_eq!(table, before);
}

#[test]
fn rte_4_an_edit_that_failed_in_one_step_keeps_the_others() {
    let table = RouteTable::legacy(24);
    let mut edit = table.edit();
    edit.set(Gsi(30), &[Target::Msi(msi(0x41))]).unwrap();
    // The second target is impossible, so the first one isn't taken either.
    assert!(edit.set(Gsi(30), &[Target::IoApic(3), Target::IoApic(4)]).is_err());
    assert!(edit.set(Gsi(4), &[Target::Pic(16)]).is_err());
    let next = edit.build().unwrap();
    assert_eq!(targets(&next, 30), [Target::Msi(msi(0x41))]);
    assert_eq!(targets(&next, 4), targets(&table, 4));
}

#[test]
fn rte_4_a_batch_is_all_or_nothing() {
    let good = Route { gsi: Gsi(30), target: Target::IoApic(3) };
    let bad = Route { gsi: Gsi(30), target: Target::IoApic(4) };
    assert_eq!(RouteTable::from_routes([good, bad]), Err(RouteError::Conflict(Gsi(30))));
    assert_eq!(RouteTable::from_routes([good]).unwrap().iter().collect::<Vec<_>>(), [good]);
}

#[test]
fn rte_4_a_table_holds_4096_routes_and_no_more() {
    let all = (0..MAX_ROUTES as u32)
        .map(|gsi| Route { gsi: Gsi(gsi), target: Target::Msi(msi(gsi as u8)) });
    let table = RouteTable::from_routes(all).unwrap();
    assert_eq!(table.len(), MAX_ROUTES);
    for gsi in [0, 1, 2047, 4095] {
        assert_eq!(targets(&table, gsi), [Target::Msi(msi(gsi as u8))]);
    }
    let mut edit = table.edit();
    edit.set(Gsi(0), &[Target::Pic(0), Target::IoApic(0)]).unwrap();
    assert_eq!(edit.build(), Err(RouteError::TooMany));
    edit.remove(Gsi(1));
    assert_eq!(edit.build().unwrap().len(), MAX_ROUTES);
}

#[test]
fn rte_4_a_level_moves_with_its_route() {
    let mut board = Board::pc();
    let source = board.connect(9);
    let _ = board.set(source, 9, true);
    board.saw();
    let mut edit = board.router.table().edit();
    edit.set(Gsi(9), &[Target::Pic(9), Target::IoApic(20)]).unwrap();
    let next = edit.build().unwrap();
    let former = board.router.install(next, &mut board.chips);
    // The PIC's input stays as it is; the old pin falls before the new one rises.
    assert_eq!(board.saw(), [low(Pin::IoApic(9)), high(Pin::IoApic(20))]);
    assert!(board.router.pin_level(Pin::IoApic(20)) && !board.router.pin_level(Pin::IoApic(9)));
    let _ = board.router.install(former, &mut board.chips);
    assert_eq!(board.saw(), [low(Pin::IoApic(20)), high(Pin::IoApic(9))]);
}

#[test]
fn rte_4_a_pin_that_another_gsi_still_drives_does_not_fall() {
    let mut board = Board::pc();
    let (five, nine) = (board.connect(5), board.connect(9));
    let mut edit = board.router.table().edit();
    edit.set(Gsi(5), &[Target::IoApic(20)]).unwrap();
    edit.set(Gsi(9), &[Target::IoApic(20)]).unwrap();
    let both = edit.build().unwrap();
    let _ = board.router.install(both, &mut board.chips);
    let _ = board.set(five, 5, true);
    let _ = board.set(nine, 9, true);
    assert_eq!(board.saw(), [high(Pin::IoApic(20))]);
    let mut edit = board.router.table().edit();
    edit.remove(Gsi(5));
    let one = edit.build().unwrap();
    let _ = board.router.install(one, &mut board.chips);
    assert_eq!(board.saw(), []);
    let _ = board.set(nine, 9, false);
    assert_eq!(board.saw(), [low(Pin::IoApic(20))]);
}

#[test]
fn rte_4_a_high_wire_that_gets_a_message_route_sends_nothing() {
    let mut board = Board::pc();
    let source = board.connect(9);
    let _ = board.set(source, 9, true);
    board.saw();
    let mut edit = board.router.table().edit();
    edit.set(Gsi(9), &[Target::Msi(msi(0x41))]).unwrap();
    let next = edit.build().unwrap();
    let _ = board.router.install(next, &mut board.chips);
    assert_eq!(board.saw(), [low(Pin::Pic(9)), low(Pin::IoApic(9))]);
}

#[test]
fn rte_4_a_gsi_is_taken_lowest_first_and_returned() {
    let mut pool = GsiPool::new(24, 4096);
    assert_eq!(pool.available(), 4072);
    assert_eq!((pool.take(), pool.take()), (Some(Gsi(24)), Some(Gsi(25))));
    assert!(pool.put(Gsi(24)));
    assert!(!pool.put(Gsi(24)), "not taken");
    assert!(!pool.put(Gsi(23)) && !pool.put(Gsi(4096)) && !pool.put(Gsi(u32::MAX)), "not of it");
    assert_eq!(pool.take(), Some(Gsi(24)));
    assert!(pool.take_exactly(Gsi(4095)));
    assert!(!pool.take_exactly(Gsi(4095)) && !pool.take_exactly(Gsi(0)));
    assert!(!pool.take_exactly(Gsi(u32::MAX)));
    while pool.take().is_some() {}
    assert_eq!(pool.available(), 0);
    assert!(pool.put(Gsi(100)));
    assert_eq!(pool.take(), Some(Gsi(100)));
    assert_eq!(GsiPool::new(5000, 9000).take(), None);
    assert_eq!(GsiPool::new(24, 24).take(), None);
}
