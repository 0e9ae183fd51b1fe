// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! PIT-10: system control port B.

use super::*;

#[test]
fn pit_10_written_bits_read_back_and_the_others_are_read_only() {
    for value in 0..=0xff {
        let mut bench = Bench::new();
        // OUT 2 is high, the refresh bit low at CLK 0.
        assert_eq!(bench.out(0x61, value).inb(0x61), value & 0x0f | 0x20);
    }
}

#[test]
fn pit_10_the_refresh_bit_toggles_every_18_clks() {
    let mut bench = Bench::new();
    for toggle in 0..100 {
        let expected = if toggle % 2 == 0 { 0x00 } else { 0x10 };
        for _ in 0..18 {
            assert_eq!(bench.inb(0x61) & 0x10, expected);
            bench.clk(1);
        }
    }
}

#[test]
fn pit_10_the_refresh_bit_toggles_whatever_counter_1_does() {
    let mut bench = Bench::new();
    bench.out(0x43, 0x70).count(0x41, 1000).clk(18);
    assert_eq!(bench.inb(0x61) & 0x10, 0x10);
}

#[test]
fn pit_10_the_speaker_follows_out_2_where_bit_1_lets_it() {
    let mut bench = Bench::counter_2(3, 4);
    bench.clk(1);
    assert!(!bench.pit.speaker(ns(bench.tick)));
    bench.out(0x61, 0x03);
    let wave = [0, 1, 1, 1].map(|ticks| {
        let now = ns(bench.clk(ticks).tick);
        bench.pit.speaker(now)
    });
    assert_eq!(wave, [true, true, false, false]);
}

/// Linux, `arch/x86/kernel/tsc.c`, `pit_calibrate_tsc`: 50 ms in mode 0, polled through bit 5.
#[test]
fn pit_10_linux_calibrates_its_tsc_with_out_2() {
    for latch in [59_659, 11_931] {
        let mut bench = Bench::new();
        bench.clk(12345);
        let port_b = bench.inb(0x61);
        bench.out(0x61, port_b & !0x02 | 0x01).out(0x43, 0xb0).count(0x42, latch);
        let start = bench.tick;
        while bench.inb(0x61) & 0x20 == 0 {
            bench.clk(1);
        }
        assert_eq!(bench.tick - start, u64::from(latch) + 1);
    }
}

/// Linux, `quick_pit_calibrate`: watches the high byte of unlatched reads count down.
#[test]
fn pit_10_linux_calibrates_its_tsc_with_the_live_count() {
    let mut bench = Bench::new();
    bench.out(0x61, 0x01).out(0x43, 0xb0).count(0x42, 0xffff);
    // Its first read only waits for the load.
    bench.in16(0x42);
    for expected in (0xf0..=0xffu16).rev() {
        for low in (0..=0xffu16).rev() {
            bench.clk(1);
            assert_eq!(bench.in16(0x42), expected << 8 | low);
        }
    }
}
