// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! IOA-10: the re-injection storm guard.

use irq_routing::Delivery;

use super::{edge, level, Bench, A, B, NONE};
use crate::{Config, PinSet, StormGuard};

const PIN: u8 = 11;
const MS: u64 = 1_000_000;

/// An asserted pin in service, and a guest that never serves the device.
fn storm(limit: u32) -> Bench {
    let storm_guard = StormGuard { limit, ..StormGuard::default() };
    let mut bench = Bench::new(Config { storm_guard, ..Config::default() });
    bench.program(PIN, level(0x31));
    let _ = bench.set(PIN, A, true);
    bench
}

fn pauses(bench: &Bench) -> u64 {
    bench.ioapic.counters(PIN).unwrap().storm_pauses
}

#[test]
fn ioa_10_ten_thousand_in_a_row_start_a_pause_of_ten_milliseconds() {
    let mut bench = storm(StormGuard::default().limit);
    bench.now = 7 * MS;
    for n in 1..10_000 {
        assert_eq!(bench.eoi(0x31), Delivery::Delivered(1), "EOI {n}");
    }
    assert_eq!(bench.ioapic.next_deadline(), None);
    assert_eq!(bench.eoi(0x31), Delivery::Coalesced, "EOI 10000");
    assert_eq!(bench.sent().len(), 10_000, "the first and 9999 more");
    assert_eq!(pauses(&bench), 1);
    assert_eq!(bench.ioapic.next_deadline(), Some(17 * MS));
    assert!(bench.entry(PIN).delivery_status() && !bench.entry(PIN).remote_irr());

    assert_eq!(bench.ioapic.advance(17 * MS - 1, &mut bench.log), Delivery::Ignored);
    assert_eq!(bench.ioapic.advance(17 * MS, &mut bench.log), Delivery::Delivered(1));
    assert_eq!(bench.ioapic.next_deadline(), None);
    assert_eq!(bench.eoi(0x31), Delivery::Delivered(1), "counting from the start again");
}

#[test]
fn ioa_10_nothing_is_sent_during_the_pause() {
    let mut bench = storm(2);
    let _ = bench.eoi(0x31);
    let _ = bench.eoi(0x31);
    assert_eq!(bench.vectors(), [0x31; 2]);
    assert_eq!(bench.set(PIN, B, true), Delivery::Coalesced);
    assert_eq!(bench.service(PinSet::ALL), Delivery::Coalesced);
    bench.program(PIN, level(0x31));
    assert_eq!(bench.vectors(), NONE);
}

#[test]
fn ioa_10_a_served_device_is_never_held_back() {
    let mut bench = storm(2);
    for _ in 0..10 {
        let _ = bench.set(PIN, A, false);
        let _ = bench.eoi(0x31);
        let _ = bench.set(PIN, A, true);
    }
    assert_eq!(bench.sent().len(), 11);
    assert_eq!(pauses(&bench), 0);
}

#[test]
fn ioa_10_one_quiet_eoi_starts_the_count_again() {
    let mut bench = storm(3);
    for _ in 0..5 {
        let _ = bench.eoi(0x31);
        let _ = bench.eoi(0x31);
        let _ = bench.set(PIN, A, false);
        let _ = bench.eoi(0x31);
        let _ = bench.set(PIN, A, true);
    }
    assert_eq!(pauses(&bench), 0);
}

#[test]
fn ioa_10_a_line_that_toggles_while_it_is_asked_is_a_storm_too() {
    let mut bench = storm(3);
    for _ in 0..3 {
        let ended = bench.begin_eoi(0x31);
        let _ = bench.set(PIN, A, false);
        let _ = bench.set(PIN, A, true);
        let _ = bench.service(ended);
    }
    assert_eq!(pauses(&bench), 1);
    assert_eq!(bench.sent().len(), 3);
}

#[test]
fn ioa_10_lowering_the_line_ends_the_pause() {
    let mut bench = storm(1);
    let _ = bench.eoi(0x31);
    assert!(bench.ioapic.next_deadline().is_some());
    let _ = bench.set(PIN, A, false);
    assert_eq!(bench.ioapic.next_deadline(), None);
    assert_eq!(bench.set(PIN, A, true), Delivery::Delivered(1));
}

#[test]
fn ioa_10_masking_the_pin_ends_the_pause() {
    let mut bench = storm(1);
    let _ = bench.eoi(0x31);
    let _ = bench.vectors();
    bench.program(PIN, level(0x31).with_masked(true));
    assert_eq!(bench.ioapic.next_deadline(), None);
    bench.program(PIN, level(0x31));
    assert_eq!(bench.vectors(), [0x31]);
}

#[test]
fn ioa_10_writing_edge_ends_the_pause() {
    let mut bench = storm(1);
    let _ = bench.eoi(0x31);
    bench.program(PIN, edge(0x31));
    assert_eq!(bench.ioapic.next_deadline(), None);
}

#[test]
fn ioa_10_an_eoi_while_masked_is_no_part_of_a_storm() {
    // The way of a handler that runs masked: the line is served between EOI and unmask.
    let mut bench = storm(2);
    for _ in 0..5 {
        bench.program(PIN, level(0x31).with_masked(true));
        let _ = bench.eoi(0x31);
        bench.program(PIN, level(0x31));
    }
    assert_eq!(bench.sent().len(), 6);
    assert_eq!(pauses(&bench), 0);
}

#[test]
fn ioa_10_pins_pause_apart_from_each_other() {
    let mut bench = storm(1);
    bench.program(3, level(0x41));
    let _ = bench.set(3, A, true);
    bench.now = MS;
    let _ = bench.eoi(0x31);
    bench.now = 2 * MS;
    let _ = bench.eoi(0x41);
    let _ = bench.vectors();
    assert_eq!(bench.ioapic.next_deadline(), Some(11 * MS));
    let _ = bench.ioapic.advance(11 * MS, &mut bench.log);
    assert_eq!(bench.vectors(), [0x31]);
    assert_eq!(bench.ioapic.next_deadline(), Some(12 * MS));
    let _ = bench.ioapic.advance(u64::MAX, &mut bench.log);
    assert_eq!(bench.vectors(), [0x41]);
}

#[test]
fn ioa_10_the_end_of_time_does_not_overflow() {
    let mut bench = storm(1);
    bench.now = u64::MAX;
    let _ = bench.eoi(0x31);
    assert_eq!(bench.ioapic.next_deadline(), Some(u64::MAX));
    assert_eq!(bench.ioapic.advance(u64::MAX, &mut bench.log), Delivery::Delivered(1));
}
