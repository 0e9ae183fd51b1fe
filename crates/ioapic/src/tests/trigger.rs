// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! IOA-3, IOA-4, IOA-5, IOA-8, IOA-9: edges, levels, masks and wires.

use irq_routing::{Delivery, DeliveryMode};

use super::diagram::{check, check_with};
use super::{edge, level, mode, Bench, A, B, C, NONE};
use crate::{Config, PinSet, Polarity, Rte};

#[test]
fn ioa_3_a_rising_edge_sends_one_message() {
    check(
        "trig  ____________
         a     _~_~~~__~___
         sent  _0_0____0___
         rirr  ____________",
    );
}

#[test]
fn ioa_3_an_edge_on_a_masked_pin_is_ignored() {
    check(
        "trig  ____________
         mask  ~~~~____~~__
         a     _~_~~~_~_~~_
         sent  _______0____",
    );
}

#[test]
fn ioa_3_an_edge_needs_no_eoi() {
    check(
        "trig  ______
         a     _~_~__
         eoi   __0___
         sent  _0_0__",
    );
}

#[test]
fn ioa_3_the_outcome_of_an_edge_is_told() {
    let mut bench = Bench::programmed(3, edge(0x31));
    bench.log.answer = Delivery::Delivered(4);
    assert_eq!(bench.set(3, A, true), Delivery::Delivered(4));
    assert_eq!(bench.set(3, B, true), Delivery::Ignored, "the line did not change");
    assert_eq!(bench.set(3, A, false), Delivery::Ignored);
    assert_eq!(bench.set(3, B, false), Delivery::Ignored);
    bench.log.answer = Delivery::Coalesced;
    assert_eq!(bench.set(3, A, true), Delivery::Coalesced);
    bench.program(3, edge(0x31).with_masked(true));
    let _ = bench.set(3, A, false);
    assert_eq!(bench.set(3, A, true), Delivery::Ignored);
    let counters = bench.ioapic.counters(3).unwrap();
    assert_eq!((counters.raised, counters.sent, counters.masked), (3, 2, 1));
}

#[test]
fn ioa_4_a_level_sends_once_until_its_eoi() {
    check(
        "a     _~~~~__~~___
         eoi   _____0____0_
         sent  _0_____0____
         rirr  _~~~~__~~~__",
    );
}

#[test]
fn ioa_4_an_eoi_sends_again_while_asserted() {
    check(
        "a     _~~~~~~~_____
         eoi   ___0__0__0_0_
         sent  _0_0__0______
         rirr  _~~~~~~~~____",
    );
}

#[test]
fn ioa_4_a_line_that_drops_in_service_is_seen_when_it_rises_again() {
    check(
        "a     _~_~______~__
         eoi   ____0__0_____
         sent  _0________0__
         rirr  _~~~______~~~",
    );
    check(
        "a     _~_~~~~__
         eoi   ____0__0_
         sent  _0__0____
         rirr  _~~~~~~__",
    );
}

#[test]
fn ioa_4_unmasking_an_asserted_pin_sends() {
    check(
        "mask  ~~~____~~_
         a     _~~~~____~
         eoi   _____0____
         sent  ___0_____0
         rirr  ___~~____~",
    );
}

#[test]
fn ioa_4_a_line_that_dropped_while_masked_is_forgotten() {
    check(
        "mask  ~~~~___
         a     _~~____
         sent  _______",
    );
}

#[test]
fn ioa_4_mask_and_unmask_before_the_eoi_do_not_fire_twice() {
    check(
        "mask  __~_~~____~~__
         a     _~~~~~~~_____~
         eoi   ________0_____
         sent  _0___________0
         rirr  _~~~~~~~_____~",
    );
}

#[test]
fn ioa_4_an_eoi_while_masked_sends_at_the_unmask() {
    check(
        "mask  __~~~__
         a     _~~~~~~
         eoi   ___0___
         sent  _0___0_
         rirr  _~~__~~",
    );
}

#[test]
fn ioa_4_switching_an_asserted_pin_to_level_sends() {
    check(
        "trig  ___~~~
         a     _~~~~_
         sent  _0_0__
         rirr  ___~~~",
    );
}

#[test]
fn ioa_4_a_level_that_nobody_takes_is_sent_again_when_serviced() {
    let mut bench = Bench::programmed(7, level(0x31));
    bench.log.answer = Delivery::Ignored;
    assert_eq!(bench.set(7, A, true), Delivery::Ignored);
    assert!(!bench.entry(7).remote_irr());
    assert!(bench.entry(7).delivery_status(), "send pending");
    assert_eq!(bench.service(PinSet::ALL), Delivery::Ignored);
    bench.log.answer = Delivery::Delivered(1);
    assert_eq!(bench.service(PinSet::ALL), Delivery::Delivered(1));
    assert!(bench.entry(7).remote_irr());
    assert!(!bench.entry(7).delivery_status());
    assert_eq!(bench.vectors(), [0x31; 3]);
    let counters = bench.ioapic.counters(7).unwrap();
    assert_eq!((counters.raised, counters.sent, counters.refused), (1, 1, 2));
}

#[test]
fn ioa_4_a_message_that_merges_in_the_local_apic_counts_as_accepted() {
    let mut bench = Bench::programmed(7, level(0x31));
    bench.log.answer = Delivery::Coalesced;
    assert_eq!(bench.set(7, A, true), Delivery::Coalesced);
    assert!(bench.entry(7).remote_irr());
}

#[test]
fn ioa_4_the_outcome_of_a_level_is_told() {
    let mut bench = Bench::programmed(7, level(0x31));
    assert_eq!(bench.set(7, A, true), Delivery::Delivered(1));
    assert_eq!(bench.set(7, A, true), Delivery::Coalesced, "in service");
    assert_eq!(bench.set(7, A, false), Delivery::Ignored);
    assert_eq!(bench.set(7, A, true), Delivery::Coalesced, "seen again at the EOI");
    assert_eq!(bench.eoi(0x31), Delivery::Delivered(1));
    bench.program(7, level(0x31).with_masked(true));
    let _ = bench.set(7, A, false);
    assert_eq!(bench.set(7, A, true), Delivery::Ignored);
    let counters = bench.ioapic.counters(7).unwrap();
    assert_eq!((counters.raised, counters.coalesced, counters.masked), (3, 1, 1));
}

#[test]
fn ioa_5_writing_edge_clears_remote_irr() {
    // How Linux ends a level interrupt of version 0x11: mask and edge, then the entry as it was.
    check(
        "mask  ___~__
         trig  ~~~_~~
         a     _~~~~~
         sent  _0__0_
         rirr  _~~_~~",
    );
}

#[test]
fn ioa_5_a_changed_vector_does_not_strand_remote_irr() {
    check(
        "vec   001111111
         a     _~~~~____
         eoi   ___0__1__
         sent  _0_1_____
         rirr  _~~~~~___",
    );
}

#[test]
fn ioa_5_the_new_vector_ends_the_interrupt_too() {
    // As the data sheet compares: Linux's `clear_IO_APIC_pin` writes the entry's vector to EOI.
    check(
        "vec   0011111
         a     _~~____
         eoi   ____1__
         sent  _0_____
         rirr  _~~~___",
    );
}

#[test]
fn ioa_5_a_vector_changed_twice_is_still_ended_by_the_first() {
    check(
        "vec   0012221
         a     _~~____
         eoi   ____10_
         sent  _0_____
         rirr  _~~~~__",
    );
}

#[test]
fn ioa_5_a_level_entry_without_eoi_is_an_edge() {
    use DeliveryMode::{ExtInt, Init, Nmi, Smi};
    for kind in [Smi, Nmi, Init, ExtInt] {
        let mut bench = Bench::programmed(2, mode(kind).with_level(true));
        for _ in 0..2 {
            let _ = bench.set(2, A, true);
            let _ = bench.set(2, A, true);
            assert_eq!(bench.sent().len(), 1, "{kind:?}");
            assert!(!bench.entry(2).remote_irr(), "{kind:?}: nothing would ever clear it");
            let _ = bench.set(2, A, false);
        }
        assert_eq!(bench.ioapic.level_vectors(), [0; 4]);
    }
}

fn honour() -> Config {
    Config { polarity: Polarity::Honour, ..Config::default() }
}

const ACTIVE_LOW: Rte = Rte::new().with_active_low(true);

#[test]
fn ioa_8_ignored_polarity_means_true_is_asserted() {
    check_with(
        Config::default(),
        ACTIVE_LOW,
        "a     _~~__
         eoi   ___0_
         sent  _0___",
    );
}

#[test]
fn ioa_8_honoured_polarity_inverts_active_low_levels() {
    check_with(
        honour(),
        ACTIVE_LOW,
        "mask  ~____~~
         a     ~~__~~_
         eoi   ____0__
         sent  __0____
         rirr  __~~___",
    );
}

#[test]
fn ioa_8_honoured_polarity_leaves_active_high_alone() {
    check_with(
        honour(),
        Rte::new(),
        "a     _~~__
         eoi   ___0_
         sent  _0___",
    );
}

#[test]
fn ioa_8_honoured_polarity_takes_the_falling_edge_of_active_low() {
    check_with(
        honour(),
        ACTIVE_LOW,
        "trig  ______
         a     ~~_~~_
         sent  __0__0",
    );
}

#[test]
fn ioa_8_changing_polarity_makes_no_edge_but_a_level() {
    let mut bench = Bench::new(honour());
    bench.program(1, edge(0x31));
    bench.program(1, edge(0x31).with_active_low(true));
    assert_eq!(bench.vectors(), NONE);
    bench.program(2, level(0x32));
    bench.program(2, level(0x32).with_active_low(true));
    assert_eq!(bench.vectors(), [0x32]);
}

#[test]
fn ioa_9_a_pin_is_the_or_of_its_sources() {
    check(
        "a     _~~_____
         b     __~~____
         c     ___~~___
         eoi   _____0__
         sent  _0______
         rirr  _~~~~___",
    );
    check(
        "trig  ________
         a     _~~_____
         b     __~~____
         c     _____~__
         sent  _0___0__",
    );
}

#[test]
fn ioa_9_asserting_twice_counts_once() {
    let mut bench = Bench::programmed(7, level(0x31));
    let _ = bench.set(7, A, true);
    let _ = bench.set(7, A, true);
    let _ = bench.set(7, A, false);
    assert_eq!(bench.ioapic.line(7).unwrap().sources, 0);
}

#[test]
fn ioa_9_a_source_takes_its_levels_along() {
    let mut bench = Bench::programmed(7, level(0x31));
    let _ = bench.set(7, A, true);
    let _ = bench.set(7, B, true);
    let _ = bench.set(9, A, true);
    bench.ioapic.release(A, &mut bench.log);
    assert_eq!(bench.ioapic.line(7).unwrap().sources, 1 << B.index());
    assert_eq!(bench.ioapic.line(9).unwrap().sources, 0);
    assert_eq!(bench.eoi(0x31), Delivery::Delivered(1), "B still asserts");
    bench.ioapic.release(B, &mut bench.log);
    assert_eq!(bench.eoi(0x31), Delivery::Ignored);
    bench.ioapic.release(C, &mut bench.log);
    assert_eq!(bench.vectors(), [0x31; 2]);
}

#[test]
fn ioa_9_a_pin_that_does_not_exist_is_an_error() {
    let mut bench = Bench::new(Config { pins: 3, ..Config::default() });
    let result = bench.ioapic.set_irq(3, A, true, &mut bench.log);
    assert_eq!(result, Err(crate::InvalidPin(3)));
    assert!(bench.ioapic.entry(3).is_none());
    assert!(bench.ioapic.line(3).is_none());
    assert!(bench.ioapic.counters(3).is_none());
    assert!(!bench.ioapic.extint_pin(3));
}
