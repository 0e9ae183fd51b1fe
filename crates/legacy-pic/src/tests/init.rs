// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! PIC-2 and PIC-10: the initialization command words.

use super::*;
use crate::{Source, Step};

#[test]
fn pic_2_sequence_takes_the_words_that_icw1_announces() {
    // (ICW1, words with A0 = 1 until OCW1 is reached)
    for (icw1, words) in [(0x10, 2), (0x11, 3), (0x12, 1), (0x13, 2)] {
        let mut bench = Bench::new();
        bench.out(M, icw1);
        for n in 0..words {
            assert_ne!(bench.0.state().master.step, Step::Ready, "{icw1:#x}, word {n}");
            bench.out(MD, [0x40, 0x04, 0x01][n]);
        }
        assert_eq!(bench.0.state().master.step, Step::Ready, "{icw1:#x}");
        assert_eq!(bench.out(MD, 0x77).inb(MD), 0x77);
    }
}

#[test]
fn pic_2_vector_base_is_t7_to_t3() {
    for base in 0..=0xffu8 {
        let mut bench = Bench::new();
        bench.icws(M, &[0x11, base, 0x04, 0x01]);
        let _ = bench.raise(5);
        assert_eq!(bench.cpu(), Some((base & 0xf8) | 5));
    }
}

#[test]
fn pic_2_icw1_clears_what_the_data_sheet_lists() {
    let mut bench = Bench::linux();
    // Mask, special mask, read ISR, rotation, and a priority other than the default.
    bench.out(MD, 0x02).out(M, 0x6b).out(M, 0x80).out(M, 0xc3);
    let _ = bench.raise(6);
    assert_eq!(bench.cpu(), Some(0x36));
    let _ = bench.raise(4);
    bench.icws(M, &[0x11, 0x30, 0x04, 0x01]);
    assert_eq!(bench.inb(M), 0, "reads IRR, and the edge latches are clear");
    assert_eq!(bench.inb(MD), 0, "nothing masked");
    assert_eq!(bench.isr(M), 0, "nothing in service");
    let state = bench.0.state().master;
    assert_eq!((state.lowest_priority, state.special_mask), (7, false));
    assert!(!state.rotate_on_auto_eoi);
    assert_eq!(bench.cpu(), None, "lines 4 and 6 are high: they need new edges");
    let _ = bench.lower(4);
    let _ = bench.raise(4);
    assert_eq!(bench.drain(), [0x34]);
}

#[test]
fn pic_2_icw1_ends_what_was_in_service() {
    let mut bench = Bench::linux();
    let _ = bench.raise(9);
    assert_eq!(bench.cpu(), Some(0x39));
    assert_eq!(bench.0.drain_eoi(), 0);
    bench.out(S, 0x11);
    assert_eq!(bench.0.drain_eoi(), 1 << 9);
}

#[test]
fn pic_2_icw1_keeps_the_elcr_and_asserted_level_lines() {
    let mut bench = Bench::linux();
    bench.out(0x4d0, 0x20);
    let _ = bench.raise(5);
    bench.icws(M, &[0x11, 0x40, 0x04, 0x01]);
    assert_eq!(bench.inb(0x4d0), 0x20);
    assert_eq!(bench.cpu(), Some(0x45));
}

#[test]
fn pic_2_a_pending_poll_is_forgotten() {
    let mut bench = Bench::linux();
    bench.out(M, 0x0c).icws(M, &[0x11, 0x30, 0x04, 0x01]);
    let _ = bench.raise(3);
    assert_eq!(bench.inb(MD), 0, "the mask, not a poll");
    assert_eq!(bench.cpu(), Some(0x33));
}

#[test]
fn pic_2_ltim_makes_all_inputs_level_triggered() {
    let mut bench = Bench::new();
    bench.icws(M, &[0x19, 0x30, 0x04, 0x01]).icws(S, &[0x19, 0x38, 0x02, 0x01]);
    for pin in [0, 1, 8, 13, 5, 10] {
        let _ = bench.pulse(pin);
        assert_eq!(bench.cpu(), None, "a pulse leaves nothing");
        let _ = bench.raise(pin);
        for _ in 0..2 {
            assert_eq!(bench.cpu(), Some(0x30 + pin));
            bench.out(S, EOI).out(M, EOI);
        }
        let _ = bench.lower(pin);
        assert_eq!(bench.cpu(), None);
    }
}

#[test]
fn pic_2_without_ic4_all_of_icw4_is_zero() {
    let mut bench = Bench::with_icw4(0x13, 0x03);
    assert_eq!(bench.0.state().master.icw4, 0x13);
    bench.icws(M, &[0x10, 0x30, 0x04]).icws(S, &[0x10, 0x38, 0x02]);
    let state = bench.0.state();
    assert_eq!((state.master.icw4, state.slave.icw4), (0, 0));
    let _ = bench.raise(9);
    assert_eq!(bench.cpu(), Some(0x39));
    assert_eq!([bench.isr(M), bench.isr(S)], [0x04, 0x02], "no automatic EOI");
}

#[test]
fn pic_2_buffered_mode_bits_are_accepted_and_change_nothing() {
    for icw4 in [0x09, 0x0d] {
        let mut bench = Bench::with_icw4(icw4, icw4);
        let _ = bench.raise(12);
        assert_eq!(bench.drain(), [0x3c]);
        assert_eq!(bench.0.state().master.icw4, icw4);
    }
}

#[test]
fn pic_2_automatic_eoi_leaves_nothing_in_service() {
    let mut bench = Bench::with_icw4(0x03, 0x03);
    let _ = bench.raise(5);
    let _ = bench.raise(11);
    assert_eq!(bench.cpu(), Some(0x3b));
    assert_eq!(bench.cpu(), Some(0x35));
    assert_eq!([bench.isr(M), bench.isr(S)], [0, 0]);
    assert_eq!(bench.0.drain_eoi(), 1 << 11 | 1 << 5);
}

#[test]
fn pic_2_automatic_eoi_of_the_slave_lets_the_next_request_rise() {
    let mut bench = Bench::with_icw4(0x01, 0x03);
    let _ = bench.pulse(8);
    let _ = bench.pulse(9);
    assert_eq!(bench.cpu(), Some(0x38));
    bench.out(M, EOI);
    assert_eq!(bench.cpu(), Some(0x39), "INT of the slave fell and rose in between");
    bench.out(M, EOI);
    assert_eq!(bench.cpu(), None);
}

#[test]
fn pic_2_special_fully_nested_lets_the_same_slave_interrupt_again() {
    for (icw4, nested) in [(0x01, None), (0x11, Some(0x39))] {
        let mut bench = Bench::with_icw4(icw4, 0x01);
        let _ = bench.raise(12);
        assert_eq!(bench.cpu(), Some(0x3c));
        let _ = bench.raise(9);
        assert_eq!(bench.cpu(), nested, "ICW4 {icw4:#x}");
    }
}

#[test]
fn pic_2_special_fully_nested_still_blocks_lower_levels() {
    let mut bench = Bench::with_icw4(0x11, 0x01);
    let _ = bench.raise(12);
    assert_eq!(bench.cpu(), Some(0x3c));
    // KVM and QEMU take IR2 out of the comparison and let these through.
    let _ = bench.raise(3);
    let _ = bench.raise(14);
    assert_eq!(bench.cpu(), None);
    let _ = bench.raise(1);
    assert_eq!(bench.cpu(), Some(0x31), "higher ones come through as ever");
}

#[test]
fn pic_2_single_mode_has_no_slave() {
    let mut bench = Bench::linux();
    bench.icws(M, &[0x13, 0x30, 0x01]);
    let _ = bench.raise(9);
    let answer = bench.0.acknowledge().unwrap();
    assert_eq!((answer.vector, answer.source), (0x32, Source::Pin(2)));
    assert_eq!(bench.isr(S), 0);
}

#[test]
fn pic_2_icw3_says_who_answers() {
    // The master knows of no slave on IR2: it answers itself.
    let mut bench = Bench::linux();
    bench.icws(M, &[0x11, 0x30, 0x00, 0x01]);
    let _ = bench.raise(9);
    assert_eq!(bench.cpu(), Some(0x32));
    // A slave without ICW3: its identity is 7, and nobody answers.
    let mut bench = Bench::linux();
    bench.icws(S, &[0x13, 0x38, 0x01]);
    let _ = bench.raise(9);
    assert_eq!(bench.cpu(), Some(0xff));
    // The slave has another identity: nobody answers.
    let mut bench = Bench::linux();
    bench.icws(S, &[0x11, 0x38, 0x05, 0x01]);
    let _ = bench.raise(9);
    assert_eq!(bench.0.peek(), Some(0xff));
    let answer = bench.0.acknowledge().unwrap();
    assert_eq!((answer.vector, answer.source), (0xff, Source::Nobody));
    assert_eq!([bench.isr(M), bench.isr(S)], [0x04, 0x00]);
}

#[test]
fn pic_10_an_uninitialized_pair_is_silent() {
    let mut bench = Bench::new();
    bench.out(0x4d0, 0x20).out(MD, 0).out(SD, 0);
    for pin in 0..16 {
        assert_eq!(bench.raise(pin), Delivery::Ignored);
    }
    assert_eq!((bench.0.intr(), bench.0.peek(), bench.0.inta()), (false, None, None));
    assert_eq!([bench.poll(M), bench.poll(S)], [0, 0]);
}

#[test]
fn pic_10_a_pair_in_the_middle_of_its_icws_is_silent() {
    let mut bench = Bench::linux();
    let words = [0x11, 0x30, 0x04, 0x01];
    for (n, word) in words.into_iter().enumerate() {
        bench.out(M + u16::from(n > 0), word);
        let ready = n == 3;
        assert_eq!(bench.pulse(5), if ready { Delivery::Coalesced } else { Delivery::Ignored });
        assert_eq!((bench.0.intr(), bench.0.peek().is_some()), (ready, ready));
        if !ready {
            assert_eq!((bench.0.inta(), bench.poll(M)), (None, 0));
        }
    }
    assert_eq!(bench.drain(), [0x35], "an edge after ICW1 is not lost");
}

#[test]
fn pic_10_an_uninitialized_slave_never_asks_the_master() {
    let mut bench = Bench::new();
    bench.icws(M, &[0x11, 0x30, 0x04, 0x01]);
    assert_eq!(bench.raise(9), Delivery::Ignored);
    assert_eq!((bench.0.intr(), bench.irr(M)), (false, 0));
    assert_eq!(bench.0.inta(), Some(0x37), "at most the master's own spurious vector");
}

#[test]
fn pic_10_a_slave_in_the_middle_of_its_icws_answers_nobody() {
    let mut bench = Bench::linux();
    let _ = bench.raise(9);
    // The CPU saw INT; before it acknowledges, the slave is initialized anew.
    assert!(bench.0.intr());
    bench.icws(S, &[0x11, 0x38, 0x02]);
    assert_eq!(bench.0.inta(), Some(0x37));
    assert_eq!(bench.isr(M), 0);
}

#[test]
fn pic_10_masks_work_before_any_icw() {
    // Linux probes for the chip like this.
    let mut bench = Bench::new();
    bench.out(SD, 0xff).out(MD, 0xfb);
    assert_eq!(bench.inb(MD), 0xfb);
}
