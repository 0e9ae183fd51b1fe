// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! PIT-1, PIT-8 and PIT-9: ports, counts, latches.

use super::*;
use crate::AccessError;

#[test]
fn pit_1_five_ports_answer_and_no_other() {
    for port in 0..=u16::MAX {
        let mut pit = Pit::new(0);
        let answers = matches!(port, 0x40..=0x43 | 0x61);
        let expected = if answers { Ok(()) } else { Err(AccessError::Port(port)) };
        assert_eq!(pit.write(port, &[0x34], 0), expected);
        assert_eq!(pit.read(port, &mut [0], 0), expected);
    }
}

#[test]
fn pit_1_wide_accesses_are_errors_and_change_nothing() {
    let mut bench = Bench::counter_2(3, 1000);
    let before = bench.pit.clone();
    for port in [0x40, 0x41, 0x42, 0x43, 0x61] {
        for width in [0, 2, 4, 8] {
            let mut data = [0x5a; 8];
            let refused = Err(AccessError::Width(width));
            assert_eq!(bench.pit.read(port, &mut data[..width], 5), refused);
            assert_eq!(data, [0x5a; 8]);
            assert_eq!(bench.pit.write(port, &[0x34; 8][..width], 5), refused);
            assert_eq!(bench.pit, before);
        }
    }
}

#[test]
fn pit_1_the_control_word_register_reads_as_ones() {
    assert_eq!(Bench::new().inb(0x43), 0xff);
}

#[test]
fn pit_1_counters_are_silent_and_deaf_before_a_control_word() {
    let mut bench = Bench::new();
    bench.count(0x40, 100).clk(100_000);
    assert_eq!((bench.edges(), bench.pit.next_deadline()), (0, None));
    assert!(bench.status(0) & 0x80 != 0, "OUT high");
}

#[test]
fn pit_8_counts_of_one_byte_leave_the_other_zero() {
    for (control, expected) in [(0x90, 0x0012), (0xa0, 0x1200)] {
        let mut bench = Bench::new();
        bench.out(0x43, control).out(0x42, 0x12).clk(1);
        // GATE is low: loaded, and standing.
        let state = bench.pit.state(ns(bench.tick)).counters[2];
        assert_eq!(state.run.unwrap().count, expected);
        let byte = if control == 0x90 { expected } else { expected >> 8 };
        assert_eq!([bench.inb(0x42), bench.inb(0x42)], [byte as u8; 2]);
    }
}

#[test]
fn pit_8_a_count_of_zero_is_the_largest() {
    for (bcd, modulus) in [(0, 65536), (1, 10000)] {
        for mode in [0, 2, 3, 4] {
            let mut bench = Bench::new();
            bench.out(0x43, 0x30 | mode << 1 | bcd).count(0x40, 0).clk(1);
            let strobe = u64::from(mode == 4);
            // The counter goes by where it stands at the CLK of the load.
            assert_eq!(bench.edges(), 0);
            assert_eq!(bench.deadline_in(), Some(modulus + strobe), "mode {mode}, BCD {bcd}");
        }
    }
}

#[test]
fn pit_8_bcd_counts_in_decimal() {
    let mut bench = Bench::new();
    bench.gate(true).out(0x43, 0xb1).count(0x42, 0x1234).clk(1);
    for (ticks, shown) in [(0, 0x1234), (5, 0x1229), (30, 0x1199), (199, 0x1000), (1, 0x0999)] {
        bench.clk(ticks);
        assert_eq!(bench.in16(0x42), shown);
    }
    bench.clk(999);
    assert!(bench.out_2());
    bench.clk(1);
    assert_eq!(bench.in16(0x42), 0x9999, "wraps in decimal");
}

#[test]
fn pit_8_nibbles_above_nine_count_what_their_place_is_worth() {
    let mut bench = Bench::new();
    bench.gate(true).out(0x43, 0xb1).count(0x42, 0x0a0f).clk(1);
    assert_eq!(bench.in16(0x42), 0x1015);
    bench.count(0x42, 0xffff).clk(1);
    assert_eq!(bench.in16(0x42), 0x6665, "15 * 1111 modulo 10000");
}

#[test]
fn pit_8_null_count_lasts_from_the_write_to_the_load() {
    let mut bench = Bench::new();
    bench.gate(true).out(0x43, 0xb4);
    assert_eq!(bench.status(2), 0xf4, "from the control word on");
    bench.out(0x42, 10);
    assert_eq!(bench.status(2), 0xf4);
    bench.out(0x42, 0);
    assert_eq!(bench.status(2), 0xf4, "written, not loaded");
    bench.clk(1);
    assert_eq!(bench.status(2), 0xb4);
    // A new count in mode 2 waits for the end of the period.
    bench.clk(3).count(0x42, 20);
    for tick in 4..11 {
        let out = if tick == 10 { 0 } else { 0x80 };
        assert_eq!(bench.status(2), 0x74 | out, "CLK {tick}");
        bench.clk(1);
    }
    assert_eq!(bench.status(2), 0xb4);
}

#[test]
fn pit_8_a_count_of_one_is_illegal_in_periodic_modes_and_harmless() {
    for control in [0x34, 0x36] {
        let mut bench = Bench::new();
        bench.out(0x43, control).count(0x40, 1).clk(1_000_000);
        assert_eq!((bench.edges(), bench.pit.next_deadline()), (0, None));
        // A legal one gets it going.
        bench.count(0x40, 10).clk(1 + 10);
        assert_eq!(bench.edges(), 1);
    }
}

#[test]
fn pit_9_a_latched_count_stands_while_the_counter_runs() {
    let mut bench = Bench::counter_2(2, 0x1234);
    bench.clk(1).out(0x43, 0x80).clk(7);
    assert_eq!(bench.inb(0x42), 0x34);
    bench.clk(7);
    assert_eq!(bench.inb(0x42), 0x12);
    assert_eq!(bench.in16(0x42), 0x1234 - 14, "then the live count again");
}

#[test]
fn pit_9_a_second_latch_is_ignored_until_the_first_is_read() {
    let mut bench = Bench::counter_2(2, 0x1234);
    bench.clk(1).out(0x43, 0x80).clk(7).out(0x43, 0x80);
    assert_eq!(bench.inb(0x42), 0x34);
    bench.clk(7).out(0x43, 0x80);
    assert_eq!(bench.inb(0x42), 0x12, "still the first");
    bench.out(0x43, 0x80);
    assert_eq!(bench.in16(0x42), 0x1234 - 14);
}

#[test]
fn pit_9_a_latch_gives_the_bytes_that_rw_says() {
    for (control, bytes) in [(0x94, [0x34, 0x33]), (0xa4, [0x12, 0x12])] {
        let mut bench = Bench::new();
        // Count 0x1234 for the MSB, 0x34 for the LSB mode.
        bench.gate(true).out(0x43, control).out(0x42, bytes[0]);
        bench.clk(1).out(0x43, 0x80).clk(1);
        assert_eq!(bench.inb(0x42), bytes[0], "latched");
        let live = if control == 0x94 { 0x33 } else { 0x11 };
        assert_eq!(bench.inb(0x42), live, "one byte and it is open again");
    }
}

#[test]
fn pit_9_a_control_word_drops_latches() {
    let mut bench = Bench::counter_2(2, 0x1234);
    bench.clk(1).out(0x43, 0xc8);
    bench.out(0x43, 0xb4).count(0x42, 0x4321).clk(1);
    assert_eq!(bench.in16(0x42), 0x4321);
}

#[test]
fn pit_9_unlatched_reads_alternate_bytes() {
    let mut bench = Bench::counter_2(2, 0x1234);
    bench.clk(1);
    let bytes = [0; 4].map(|_: u8| bench.inb(0x42));
    assert_eq!(bytes, [0x34, 0x12, 0x34, 0x12]);
    assert_eq!(bench.inb(0x42), 0x34);
    bench.out(0x43, 0xb4).count(0x42, 0x5678).clk(1);
    assert_eq!(bench.in16(0x42), 0x5678, "a control word starts with the low byte again");
}

#[test]
fn pit_9_read_back_latches_several_counters_at_once() {
    let mut bench = Bench::counter_2(2, 2000);
    bench.out(0x43, 0x34).count(0x40, 1000).out(0x43, 0x74).count(0x41, 18);
    bench.clk(11).out(0x43, 0xde).clk(100);
    assert_eq!([bench.in16(0x40), bench.in16(0x41), bench.in16(0x42)], [990, 8, 1990]);
}

#[test]
fn pit_9_read_back_leaves_counters_that_are_not_named() {
    let mut bench = Bench::counter_2(2, 2000);
    bench.out(0x43, 0x34).count(0x40, 1000).clk(1).out(0x43, 0xd2).clk(10);
    assert_eq!([bench.in16(0x40), bench.in16(0x42)], [1000, 1990], "0 latched, 2 live");
}

#[test]
fn pit_9_latched_status_comes_before_the_latched_count() {
    let mut bench = Bench::counter_2(3, 0x1234);
    bench.clk(1).out(0x43, 0xc8).clk(100);
    let bytes = [0; 3].map(|_: u8| bench.inb(0x42));
    assert_eq!(bytes, [0xb6, 0x34, 0x12]);
}

#[test]
fn pit_9_a_second_status_latch_is_ignored_until_the_first_is_read() {
    let mut bench = Bench::counter_2(0, 3);
    bench.clk(1).out(0x43, 0xe8).clk(10).out(0x43, 0xe8);
    assert_eq!(bench.inb(0x42), 0x30, "OUT was low");
    assert_eq!(bench.status(2), 0xb0);
}

#[test]
fn pit_9_status_shows_the_control_word_as_written() {
    for mode in 0..8 {
        for bcd in [0, 1] {
            for rw in 1..4 {
                let word = rw << 4 | mode << 1 | bcd;
                let mut bench = Bench::new();
                bench.out(0x43, 0x80 | word);
                let out = if mode == 0 { 0 } else { 0x80 };
                assert_eq!(bench.status(2), 0x40 | out | word, "{word:#x}");
            }
        }
    }
}
