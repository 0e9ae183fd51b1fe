// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! PIC-6, PIC-7 and PIC-9: requests, acknowledges, ends.

use super::*;
use crate::{Acknowledge, Source};

#[test]
fn pic_6_spurious_on_the_master_puts_nothing_in_service() {
    let mut bench = Bench::linux();
    bench.out(0x4d0, 0x20);
    let _ = bench.raise(5);
    assert_eq!(bench.0.peek(), Some(0x35));
    let _ = bench.lower(5);
    let answer = bench.0.acknowledge();
    assert_eq!(answer, Some(Acknowledge { vector: 0x37, source: Source::Spurious(7) }));
    assert_eq!([bench.isr(M), bench.irr(M)], [0, 0]);
    assert_eq!(bench.0.drain_eoi(), 0);
}

#[test]
fn pic_6_spurious_on_the_slave_puts_only_the_cascade_in_service() {
    let mut bench = Bench::linux();
    bench.out(0x4d1, 0x04);
    let _ = bench.raise(10);
    assert_eq!(bench.0.peek(), Some(0x3a));
    let _ = bench.lower(10);
    let answer = bench.0.acknowledge();
    assert_eq!(answer, Some(Acknowledge { vector: 0x3f, source: Source::Spurious(15) }));
    assert_eq!([bench.isr(M), bench.isr(S)], [0x04, 0x00]);
    // The handler tells by the slave's ISR and ends the master's only.
    bench.out(M, EOI);
    assert_eq!(bench.0.drain_eoi(), 0, "no pin of a device was served");
    let _ = bench.raise(10);
    assert_eq!(bench.cpu(), Some(0x3a));
}

#[test]
fn pic_6_a_real_irq_7_is_told_from_a_spurious_one_by_isr() {
    let mut bench = Bench::linux();
    let _ = bench.raise(7);
    assert_eq!(bench.cpu(), Some(0x37));
    assert_eq!(bench.isr(M), 0x80);
    let _ = bench.raise(15);
    assert_eq!(bench.cpu(), Some(0x3f));
    assert_eq!(bench.isr(S), 0x80);
}

#[test]
fn pic_6_a_glitch_that_the_cpu_never_saw_leaves_no_interrupt() {
    // A slave request that went away before INTA takes INT with it: a guest that polls its
    // device with interrupts off does not find an IRQ15 afterwards.
    let mut bench = Bench::linux();
    bench.out(0x4d1, 0x04);
    let _ = bench.raise(10);
    let _ = bench.lower(10);
    assert_eq!(bench.cpu(), None);
    let _ = bench.raise(9);
    bench.out(SD, 0x02);
    assert_eq!(bench.cpu(), None, "masked at the slave");
    let _ = bench.raise(5);
    assert_eq!(bench.drain(), [0x35], "what is really there comes, and nothing else");
    bench.out(SD, 0x00);
    assert_eq!(bench.drain(), [0x39]);
}

#[test]
fn pic_6_spurious_in_automatic_eoi_mode() {
    let mut bench = Bench::with_icw4(0x03, 0x03);
    bench.out(M, 0x80);
    assert_eq!(bench.0.inta(), Some(0x37));
    assert_eq!(bench.0.state().master.lowest_priority, 7, "no rotation for nobody");
    assert_eq!(bench.0.drain_eoi(), 0);
}

#[test]
fn pic_7_edge_pulse_is_delivered_exactly_once() {
    for pin in (0..16).filter(|pin| *pin != 2) {
        let mut bench = Bench::linux();
        assert_eq!(bench.pulse(pin), Delivery::Delivered(1));
        assert_eq!(bench.drain(), [0x30 + pin]);
    }
}

#[test]
fn pic_7_a_held_edge_is_delivered_once() {
    for pin in (0..16).filter(|pin| *pin != 2) {
        let mut bench = Bench::linux();
        assert_eq!(bench.raise(pin), Delivery::Delivered(1));
        assert_eq!(bench.drain(), [0x30 + pin]);
        assert_eq!(bench.raise(pin), Delivery::Ignored, "no edge");
        assert!(bench.drain().is_empty());
    }
}

#[test]
fn pic_7_pulses_coalesce_until_acknowledged_and_not_after() {
    let mut bench = Bench::linux();
    assert_eq!(bench.pulse(4), Delivery::Delivered(1));
    assert_eq!(bench.pulse(4), Delivery::Coalesced);
    assert_eq!(bench.cpu(), Some(0x34));
    assert_eq!(bench.pulse(4), Delivery::Delivered(1), "in service, but no longer pending");
    assert_eq!(bench.cpu(), None);
    bench.out(M, EOI);
    assert_eq!(bench.drain(), [0x34]);
}

#[test]
fn pic_7_a_level_pulse_leaves_nothing() {
    let mut bench = Bench::linux();
    bench.out(0x4d0, 0x20);
    assert_eq!(bench.pulse(5), Delivery::Delivered(1));
    assert_eq!((bench.cpu(), bench.irr(M)), (None, 0));
}

#[test]
fn pic_7_a_masked_edge_is_latched() {
    let mut bench = Bench::linux();
    bench.out(SD, 0xff);
    assert_eq!(bench.pulse(8), Delivery::Ignored);
    assert_eq!(bench.irr(S), 0x01);
    bench.out(SD, 0x00);
    assert_eq!(bench.drain(), [0x38]);
}

#[test]
fn pic_9_peek_changes_nothing_and_says_what_inta_will() {
    let mut bench = Bench::linux();
    for pin in [6, 3, 9, 0] {
        let _ = bench.raise(pin);
        let before = bench.0.clone();
        let peeked = bench.0.peek();
        assert_eq!(bench.0, before);
        assert_eq!(bench.0.inta(), peeked);
        assert_eq!(peeked, Some(0x30 + pin));
    }
    assert_eq!(bench.0.peek(), None);
}

#[test]
fn pic_9_inta_moves_irr_to_isr() {
    let mut bench = Bench::linux();
    let _ = bench.raise(14);
    assert_eq!([bench.irr(M), bench.irr(S)], [0x04, 0x40]);
    assert_eq!(bench.0.inta(), Some(0x3e));
    assert_eq!([bench.irr(M), bench.irr(S)], [0x00, 0x00]);
    assert_eq!([bench.isr(M), bench.isr(S)], [0x04, 0x40]);
}

#[test]
fn pic_9_fully_nested_priorities_across_the_cascade() {
    let mut bench = Bench::linux();
    for pin in (0..16).rev().filter(|pin| *pin != 2) {
        let _ = bench.pulse(pin);
    }
    let order = [0, 1, 8, 9, 10, 11, 12, 13, 14, 15, 3, 4, 5, 6, 7];
    assert_eq!(bench.drain(), order.map(|pin| 0x30 + pin));
}

#[test]
fn pic_9_higher_requests_interrupt_lower_service_and_not_the_other_way() {
    let mut bench = Bench::linux();
    let _ = bench.raise(5);
    assert_eq!(bench.cpu(), Some(0x35));
    let _ = bench.raise(6);
    let _ = bench.pulse(5);
    assert_eq!(bench.cpu(), None);
    let _ = bench.raise(12);
    assert_eq!(bench.cpu(), Some(0x3c), "IR2 is above IR5");
    let _ = bench.raise(1);
    assert_eq!(bench.cpu(), Some(0x31));
}

#[test]
fn pic_9_non_specific_eoi_passes_over_masked_levels_in_special_mask_mode() {
    let mut bench = Bench::linux();
    for pin in [5, 3] {
        let _ = bench.raise(pin);
        assert!(bench.cpu().is_some());
    }
    bench.out(MD, 0x08).out(M, 0x68).out(M, 0x20);
    assert_eq!(bench.isr(M), 0x08, "5 ended, 3 is masked");
    bench.out(M, 0x20).out(M, 0xa0);
    assert_eq!(bench.isr(M), 0x08);
    assert_eq!(bench.0.state().master.lowest_priority, 7, "nothing ended, nothing rotates");
    bench.out(M, 0x63);
    assert_eq!(bench.isr(M), 0x00, "a specific EOI reaches it");
}

#[test]
fn pic_9_drained_ends_name_each_pin_once() {
    let mut bench = Bench::linux();
    let _ = bench.raise(4);
    let _ = bench.raise(10);
    assert_eq!(bench.cpu(), Some(0x3a));
    bench.out(M, EOI);
    assert_eq!(bench.0.drain_eoi(), 0, "the cascade is no device's pin");
    bench.out(S, EOI);
    assert_eq!((bench.0.drain_eoi(), bench.0.drain_eoi()), (1 << 10, 0));
    assert_eq!(bench.cpu(), Some(0x34));
    bench.out(M, EOI);
    assert_eq!(bench.0.drain_eoi(), 1 << 4);
}

#[test]
fn pic_9_reset_keeps_the_wires_and_ends_service() {
    let mut bench = Bench::linux();
    bench.out(0x4d0, 0x20);
    let _ = bench.raise(5);
    assert_eq!(bench.cpu(), Some(0x35));
    bench.0.reset();
    assert!(!bench.0.intr());
    assert_eq!((bench.inb(0x4d0), bench.0.drain_eoi()), (0, 1 << 5));
    bench.icws(M, &[0x11, 0x30, 0x04, 0x01]);
    assert_eq!(bench.cpu(), None, "edge-triggered again, and there was no edge");
    bench.out(0x4d0, 0x20);
    assert_eq!(bench.cpu(), Some(0x35), "the wire was high all along");
}
