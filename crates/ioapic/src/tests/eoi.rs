// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! IOA-6, IOA-9, IOA-11: EOI, resampling, and the EOI-exit bitmap.

use std::vec::Vec;

use irq_routing::Delivery;

use super::diagram::check;
use super::{edge, level, vectors_of, Bench, A, B, NONE};
use crate::spec::EOI;
use crate::{Config, PinSet, Version};

fn pins(set: PinSet) -> Vec<u8> {
    set.iter().collect()
}

#[test]
fn ioa_6_only_matching_pins_react_to_a_broadcast() {
    let mut bench = Bench::programmed(4, level(0x31));
    bench.program(5, level(0x31));
    bench.program(6, level(0x32));
    bench.program(7, level(0x31));
    for pin in [4, 5, 6] {
        let _ = bench.set(pin, A, true);
    }
    assert_eq!(pins(bench.begin_eoi(0x30)), NONE);
    assert_eq!(bench.ioapic.unmatched_eois(), 1);
    let ended = bench.begin_eoi(0x31);
    assert_eq!(pins(ended), [4, 5], "6 has another vector, 7 is not in service");
    assert!(bench.entry(6).remote_irr());
    assert_eq!(bench.vectors(), [0x31, 0x31, 0x32]);
    let eois = [4, 5, 6, 7].map(|pin| bench.ioapic.counters(pin).unwrap().eois);
    assert_eq!(eois, [1, 1, 0, 0]);
    let _ = bench.service(ended);
    assert_eq!(bench.vectors(), [0x31, 0x31], "both again");
}

#[test]
fn ioa_6_an_edge_pin_does_not_hear_its_eoi() {
    let mut bench = Bench::programmed(4, edge(0x31));
    let _ = bench.set(4, A, true);
    assert_eq!(bench.vectors(), [0x31]);
    assert!(bench.begin_eoi(0x31).is_empty());
    let _ = bench.service(PinSet::ALL);
    assert_eq!(bench.vectors(), NONE);
}

#[test]
fn ioa_6_the_eoi_register_ends_an_interrupt() {
    let mut bench = Bench::programmed(4, level(0x31));
    let _ = bench.set(4, A, true);
    let _ = bench.set(4, A, false);
    let ended = bench.ioapic.write(EOI, &0x31u32.to_le_bytes(), &mut bench.log);
    assert_eq!(pins(ended), [4]);
    assert!(!bench.entry(4).remote_irr());
    assert_eq!(bench.read(EOI), 0, "write-only");
}

#[test]
fn ioa_6_version_11_has_no_eoi_register() {
    let mut bench = Bench::new(Config { version: Version::V11, ..Config::default() });
    bench.program(4, level(0x31));
    let _ = bench.set(4, A, true);
    assert!(bench.ioapic.write(EOI, &[0x31, 0, 0, 0], &mut bench.log).is_empty());
    assert!(bench.entry(4).remote_irr());
    assert_eq!(pins(bench.begin_eoi(0x31)), [4], "broadcasts still count");
}

#[test]
fn ioa_9_a_source_that_is_done_is_asked_before_anything_is_sent_again() {
    // The source lowers its line in the column of the EOI: between the two steps.
    check(
        "a     _~~~____
         eoi   ____0___
         sent  _0______
         rirr  _~~~____",
    );
}

#[test]
fn ioa_9_what_happens_between_the_steps_is_sent_once() {
    let mut bench = Bench::programmed(4, level(0x31));
    let _ = bench.set(4, A, true);
    let ended = bench.begin_eoi(0x31);
    assert_eq!(bench.set(4, A, false), Delivery::Ignored);
    assert_eq!(bench.set(4, A, true), Delivery::Coalesced);
    assert_eq!(bench.set(4, B, true), Delivery::Coalesced);
    assert!(bench.entry(4).delivery_status(), "send pending");
    assert_eq!(bench.vectors(), [0x31], "only the first so far");
    assert_eq!(bench.service(ended), Delivery::Delivered(1));
    assert_eq!(bench.service(ended), Delivery::Coalesced, "twice is once");
    assert_eq!(bench.vectors(), [0x31]);
}

#[test]
fn ioa_9_unmasking_an_asserted_pin_asks_its_sources_first() {
    // A handler that ran masked served the device after its EOI: the source, asked at the unmask,
    // is done, and nothing may be sent.
    let mut bench = Bench::programmed(4, level(0x31));
    let _ = bench.set(4, A, true);
    bench.program(4, level(0x31).with_masked(true));
    let ended = bench.begin_eoi(0x31);
    assert_eq!(pins(ended), [4]);
    let _ = bench.service(ended);
    assert_eq!(bench.vectors(), [0x31]);
    let low = level(0x31).into_bits() as u32;
    let ready = bench.ioapic.write(crate::spec::IOWIN, &low.to_le_bytes(), &mut bench.log);
    assert_eq!(pins(ready), [4]);
    let _ = bench.set(4, A, false);
    assert_eq!(bench.service(ready), Delivery::Ignored);
    assert_eq!(bench.vectors(), NONE);
}

#[test]
fn ioa_9_the_sources_to_ask_are_known() {
    let mut bench = Bench::programmed(4, level(0x31));
    let _ = bench.set(4, A, true);
    let _ = bench.set(4, B, true);
    assert_eq!(bench.ioapic.line(4).unwrap().sources, 1 << A.index() | 1 << B.index());
}

#[test]
fn ioa_11_level_vectors_are_those_of_unmasked_level_entries() {
    let mut bench = Bench::new(Config::default());
    assert_eq!(vectors_of(bench.ioapic.level_vectors()), NONE);
    bench.program(0, level(0x31));
    bench.program(1, edge(0x32));
    bench.program(2, level(0x33).with_masked(true));
    bench.program(3, level(0xfe));
    bench.program(4, level(0x31).with_delivery_mode_bits(1));
    bench.program(5, level(0x41).with_delivery_mode_bits(4));
    bench.program(6, level(0x42).with_delivery_mode_bits(3));
    bench.program(7, level(0x80));
    assert_eq!(vectors_of(bench.ioapic.level_vectors()), [0x31, 0x80, 0xfe]);
}

#[test]
fn ioa_11_a_stale_vector_stays_until_its_eoi() {
    let mut bench = Bench::programmed(4, level(0x31));
    let _ = bench.set(4, A, true);
    bench.program(4, level(0x32));
    assert_eq!(vectors_of(bench.ioapic.level_vectors()), [0x31, 0x32]);
    bench.program(4, level(0x32).with_masked(true));
    assert_eq!(vectors_of(bench.ioapic.level_vectors()), [0x31]);
    let _ = bench.set(4, A, false);
    let _ = bench.eoi(0x31);
    assert_eq!(vectors_of(bench.ioapic.level_vectors()), NONE);
}

#[test]
fn ioa_11_a_change_of_the_set_is_told() {
    let mut bench = Bench::programmed(4, level(0x31));
    let mut changes = 0;
    let mut changed = |bench: &Bench| {
        let before = core::mem::replace(&mut changes, bench.log.routes_changed);
        bench.log.routes_changed != before
    };
    assert!(changed(&bench), "a new level vector");
    bench.program(4, level(0x31).with_destination_low(7));
    assert!(!changed(&bench), "the same vector");
    bench.program(5, edge(0x32));
    assert!(!changed(&bench), "an edge vector");
    let _ = bench.set(4, A, true);
    assert!(!changed(&bench), "now in service");
    let _ = bench.eoi(0x31);
    assert!(!changed(&bench), "its vector still is a level vector");
    bench.program(4, level(0x33));
    assert!(changed(&bench), "one more, the old one being stale");
    let _ = bench.set(4, A, false);
    let _ = bench.eoi(0x31);
    assert!(changed(&bench), "the stale one has gone");
    bench.program(4, edge(0x33));
    assert!(changed(&bench), "none left");
    bench.ioapic.reset(&mut bench.log);
    assert!(changed(&bench), "reset");
}
