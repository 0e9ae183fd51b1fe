// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RTE-2: sources, wires, pins.

use super::{high, low, msi, Board, Saw};
use crate::route::MAX_ROUTES;
use crate::Delivery::{Coalesced, Delivered, Ignored};
use crate::{ConnectError, Gsi, Pin, Resample, RouteTable, SourceId, Target};

const PIC5: Pin = Pin::Pic(5);
const IOAPIC5: Pin = Pin::IoApic(5);

#[test]
fn rte_2_a_level_reaches_every_target_of_its_gsi() {
    let mut board = Board::pc();
    let a = board.connect(5);
    assert_eq!(board.set(a, 5, true), Delivered(2), "PIC and IOAPIC");
    assert_eq!(board.saw(), [high(PIC5), high(IOAPIC5)]);
    assert_eq!(board.set(a, 5, false), Ignored);
    assert_eq!(board.saw(), [low(PIC5), low(IOAPIC5)]);
}

#[test]
fn rte_2_irq0_reaches_pin_2() {
    let mut board = Board::pc();
    let pit = board.connect(0);
    assert_eq!(board.set(pit, 0, true), Delivered(2));
    assert_eq!(board.saw(), [high(Pin::Pic(0)), high(Pin::IoApic(2))]);
}

#[test]
fn rte_2_levels_are_ored_over_sources() {
    //  a  ____/~~~~~~~\________
    //  b  ________/~~~~~~~\____
    // pin ____/~~~~~~~~~~~\____
    let mut board = Board::pc();
    let (a, b) = (board.connect(5), board.connect(5));
    assert_ne!(a, b);
    assert_eq!(board.set(a, 5, true), Delivered(2));
    assert_eq!(board.set(b, 5, true), Coalesced);
    assert_eq!(board.set(a, 5, false), Ignored);
    assert!(board.router.level(Gsi(5)));
    assert_eq!(board.saw(), [high(PIC5), high(IOAPIC5)], "no glitch");
    assert_eq!(board.set(b, 5, false), Ignored);
    assert_eq!(board.saw(), [low(PIC5), low(IOAPIC5)]);
    assert!(!board.router.level(Gsi(5)));
}

#[test]
fn rte_2_asserting_twice_counts_once() {
    let mut board = Board::pc();
    let a = board.connect(5);
    assert_eq!(board.set(a, 5, true), Delivered(2));
    assert_eq!(board.set(a, 5, true), Coalesced);
    assert_eq!(board.set(a, 5, false), Ignored);
    assert_eq!(board.set(a, 5, false), Ignored);
    assert_eq!(board.saw().len(), 4);
}

#[test]
fn rte_2_a_pulse_is_one_edge_and_leaves_the_line_low() {
    let mut board = Board::pc();
    let a = board.connect(5);
    assert_eq!(board.pulse(a, 5), Delivered(2));
    assert_eq!(board.saw(), [high(PIC5), high(IOAPIC5), low(PIC5), low(IOAPIC5)]);
    assert!(!board.router.level(Gsi(5)));
}

#[test]
fn rte_2_a_pulse_on_a_held_line_is_coalesced() {
    let mut board = Board::pc();
    let (a, b) = (board.connect(5), board.connect(5));
    let _ = board.set(a, 5, true);
    board.saw();
    assert_eq!(board.pulse(b, 5), Coalesced);
    assert_eq!(board.saw(), []);
    assert!(board.router.level(Gsi(5)));
}

#[test]
fn rte_2_two_gsis_of_one_pin_are_ored_too() {
    let mut board = Board::pc();
    let mut edit = board.router.table().edit();
    edit.set(Gsi(30), &[Target::IoApic(5)]).unwrap();
    let next = edit.build().unwrap();
    let _ = board.router.install(next, &mut board.chips);
    let (a, b) = (board.connect(5), board.connect(30));
    assert_eq!(board.set(b, 30, true), Delivered(1));
    assert_eq!(board.set(a, 5, true), Delivered(1), "the PIC's pin; the IOAPIC's is high");
    assert_eq!(board.saw(), [high(IOAPIC5), high(PIC5)]);
    assert_eq!(board.set(b, 30, false), Ignored);
    assert_eq!(board.saw(), []);
    assert_eq!(board.set(a, 5, false), Ignored);
    assert_eq!(board.saw(), [low(PIC5), low(IOAPIC5)]);
}

#[test]
fn rte_2_a_message_goes_out_on_the_rising_edge() {
    let empty = RouteTable::new();
    let mut edit = empty.edit();
    edit.set(Gsi(30), &[Target::Msi(msi(0x41))]).unwrap();
    let mut board = Board::new(edit.build().unwrap());
    let a = board.connect(30);
    assert_eq!(board.set(a, 30, true), Delivered(1));
    assert_eq!(board.set(a, 30, false), Ignored);
    assert_eq!(board.pulse(a, 30), Delivered(1));
    assert_eq!(board.saw(), [Saw::Message(msi(0x41)); 2]);
}

#[test]
fn rte_2_without_route_or_connection_ignored() {
    let mut board = Board::pc();
    let a = board.connect(100);
    assert_eq!(board.set(a, 100, true), Ignored, "no route");
    assert_eq!(board.set(a, 100, true), Ignored, "still none");
    assert_eq!(board.pulse(SourceId::FIRST, 5), Ignored, "nobody connected");
    assert_eq!(board.set(SourceId::FIRST, u32::MAX, true), Ignored);
    assert_eq!(board.saw(), []);
    assert!(!board.router.level(Gsi(5)) && !board.router.level(Gsi(u32::MAX)));
}

#[test]
fn rte_2_a_source_takes_its_level_with_it() {
    let mut board = Board::pc();
    let (a, b) = (board.connect(5), board.connect(5));
    let _ = board.set(a, 5, true);
    board.saw();
    board.router.disconnect(a, Gsi(5), &mut board.chips);
    assert_eq!(board.saw(), [low(PIC5), low(IOAPIC5)]);
    assert!(!board.router.is_connected(a, Gsi(5)) && board.router.is_connected(b, Gsi(5)));
    assert_eq!(board.set(a, 5, true), Ignored, "not connected any more");
    assert_eq!(board.connect(5), a, "free again");
    board.router.disconnect(a, Gsi(4000), &mut board.chips);
}

#[test]
fn rte_2_a_gsi_has_64_sources() {
    let mut board = Board::pc();
    let all: std::collections::HashSet<_> = (0..64).map(|_| board.connect(5)).collect();
    assert_eq!(all.len(), 64);
    let error = board.router.connect(Gsi(5), Resample::Never);
    assert_eq!(error, Err(ConnectError::NoSource(Gsi(5))));
    let beyond = Gsi(MAX_ROUTES as u32);
    let error = board.router.connect(beyond, Resample::Never);
    assert_eq!(error, Err(ConnectError::InvalidGsi(beyond)));
    assert!(board.router.connect(Gsi(4095), Resample::Never).is_ok());
}
