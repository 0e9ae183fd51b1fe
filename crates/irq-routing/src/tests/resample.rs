// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RTE-5: telling sources of an EOI.

use std::vec::Vec;

use super::{high, low, Board};
use crate::{Gsi, Pin, Resample, SourceId, Target};

const PIN: Pin = Pin::IoApic(10);

impl Board {
    fn connect_with(&mut self, gsi: u32, resample: Resample) -> SourceId {
        self.router.connect(Gsi(gsi), resample).unwrap()
    }

    fn eoi(&mut self, pin: Pin) -> bool {
        self.router.eoi(pin, &mut self.chips)
    }

    /// Who is told, until nobody is left.
    fn told(&mut self) -> Vec<(u32, SourceId)> {
        core::iter::from_fn(|| self.router.next_resample()).map(|(gsi, s)| (gsi.0, s)).collect()
    }
}

#[test]
fn rte_5_each_source_that_asked_is_told_once() {
    let mut board = Board::pc();
    let silent = board.connect_with(10, Resample::Never);
    let (a, b) =
        (board.connect_with(10, Resample::Notify), board.connect_with(10, Resample::Notify));
    let _ = board.set(silent, 10, true);
    assert!(board.eoi(PIN));
    assert_eq!(board.told(), [(10, a), (10, b)]);
    assert_eq!(board.told(), []);
}

#[test]
fn rte_5_notify_leaves_the_level_alone() {
    let mut board = Board::pc();
    let a = board.connect_with(10, Resample::Notify);
    let _ = board.set(a, 10, true);
    board.saw();
    assert!(board.eoi(PIN));
    assert!(board.router.level(Gsi(10)));
    assert_eq!(board.saw(), []);
}

#[test]
fn rte_5_deassert_lowers_the_level_before_the_source_is_told() {
    // source ___/~~~~~\___/~~~   (still wants service: asserts again)
    // EOI    ________^________
    let mut board = Board::pc();
    let a = board.connect_with(10, Resample::Deassert);
    let _ = board.set(a, 10, true);
    board.saw();
    assert!(board.eoi(PIN));
    assert_eq!(board.saw(), [low(Pin::Pic(10)), low(PIN)]);
    assert_eq!(board.told(), [(10, a)]);
    let _ = board.set(a, 10, true);
    assert_eq!(board.saw(), [high(Pin::Pic(10)), high(PIN)]);
}

#[test]
fn rte_5_deassert_does_not_lower_what_another_source_holds() {
    let mut board = Board::pc();
    let (a, b) = (board.connect_with(10, Resample::Deassert), board.connect(10));
    let _ = board.set(a, 10, true);
    let _ = board.set(b, 10, true);
    board.saw();
    assert!(board.eoi(PIN));
    assert_eq!(board.saw(), []);
    let _ = board.set(b, 10, false);
    assert_eq!(board.saw(), [low(Pin::Pic(10)), low(PIN)], "a's level is gone");
}

#[test]
fn rte_5_an_eoi_of_the_pic_counts_as_well() {
    let mut board = Board::pc();
    let a = board.connect_with(10, Resample::Notify);
    assert!(board.eoi(Pin::Pic(10)));
    assert_eq!(board.told(), [(10, a)]);
}

#[test]
fn rte_5_an_eoi_goes_to_all_gsis_of_the_pin_and_to_no_other() {
    let mut board = Board::pc();
    let mut edit = board.router.table().edit();
    edit.set(Gsi(3000), &[Target::IoApic(10)]).unwrap();
    let next = edit.build().unwrap();
    let _ = board.router.install(next, &mut board.chips);
    let a = board.connect_with(10, Resample::Deassert);
    let b = board.connect_with(3000, Resample::Deassert);
    let other = board.connect_with(11, Resample::Deassert);
    for (source, gsi) in [(a, 10), (b, 3000), (other, 11)] {
        let _ = board.set(source, gsi, true);
    }
    board.saw();
    assert!(board.eoi(PIN));
    assert_eq!(board.saw(), [low(Pin::Pic(10)), low(PIN)], "both levels went, the pin fell once");
    assert_eq!(board.told(), [(10, a), (3000, b)]);
}

#[test]
fn rte_5_irq0_is_told_through_pin_2() {
    let mut board = Board::pc();
    let a = board.connect_with(0, Resample::Notify);
    assert!(!board.eoi(Pin::IoApic(0)));
    assert!(board.eoi(Pin::IoApic(2)));
    assert_eq!(board.told(), [(0, a)]);
}

#[test]
fn rte_5_eois_that_nobody_collected_merge() {
    let mut board = Board::pc();
    let a = board.connect_with(10, Resample::Notify);
    assert!(board.eoi(PIN) && board.eoi(PIN));
    assert_eq!(board.told(), [(10, a)]);
}

#[test]
fn rte_5_a_source_that_left_is_not_told() {
    let mut board = Board::pc();
    let (a, b) =
        (board.connect_with(10, Resample::Notify), board.connect_with(10, Resample::Notify));
    assert!(board.eoi(PIN));
    board.router.disconnect(a, Gsi(10), &mut board.chips);
    assert_eq!(board.told(), [(10, b)]);
    assert!(board.eoi(PIN));
    board.router.disconnect(b, Gsi(10), &mut board.chips);
    assert_eq!(board.told(), []);
    let c = board.connect_with(10, Resample::Never);
    assert_eq!(c, a);
    assert!(!board.eoi(PIN), "the next owner of the id inherits nothing");
}

#[test]
fn rte_5_a_pin_without_resampling_needs_no_exit() {
    let mut board = Board::pc();
    assert!(!board.router.wants_eoi(PIN) && !board.router.wants_eoi(Pin::IoApic(239)));
    let a = board.connect_with(10, Resample::Never);
    assert!(!board.router.wants_eoi(PIN));
    assert!(!board.eoi(PIN));
    board.router.disconnect(a, Gsi(10), &mut board.chips);
    let b = board.connect_with(10, Resample::Deassert);
    assert!(board.router.wants_eoi(PIN) && board.router.wants_eoi(Pin::Pic(10)));
    board.router.disconnect(b, Gsi(10), &mut board.chips);
    assert!(!board.router.wants_eoi(PIN));
}
