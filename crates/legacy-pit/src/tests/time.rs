// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! PIT-2: exact time.

use super::*;

const YEAR: u64 = 365 * 24 * 3600 * 1_000_000_000;

#[test]
fn pit_2_a_second_has_1193182_clks() {
    for second in [1, 2, 60, 86_400, 31_536_000] {
        let mut bench = Bench::new();
        // Counter 2 free-running: its value is the CLK count modulo 65536.
        bench.gate(true).out(0x43, 0xb4).count(0x42, 0);
        let now = second * 1_000_000_000;
        bench.pit.write(0x43, &[0x80], now).unwrap();
        let mut bytes = [[0], [0]];
        for byte in &mut bytes {
            bench.pit.read(0x42, byte, now).unwrap();
        }
        let shown = u16::from_le_bytes([bytes[0][0], bytes[1][0]]);
        assert_eq!(shown, 0u16.wrapping_sub((second * 1_193_182 - 1) as u16));
    }
}

#[test]
fn pit_2_a_year_of_ticks_has_no_drift() {
    // Linux's HZ=250 divisor, and the largest.
    for (count, period) in [(4773, 4773), (0, 65536)] {
        let mut bench = Bench::new();
        bench.out(0x43, 0x34).count(0x40, count);
        let clks = u128::from(YEAR) * 1_193_182 / 1_000_000_000 - 1;
        assert_eq!(u128::from(bench.pit.advance(YEAR).edges), clks / period);
        // And the next deadline is that multiple of the period, not one beside it.
        let next = (clks / period + 1) * period + 1;
        assert_eq!(bench.pit.next_deadline(), Some(ns(next as u64)));
    }
}

#[test]
fn pit_2_many_small_steps_are_one_large_one() {
    let mut stepped = Bench::new();
    stepped.out(0x43, 0x36).count(0x40, 777);
    let mut at_once = stepped.clone();
    let (mut now, mut edges) = (0, 0);
    for step in 0..50_000u64 {
        now += step * 7919 % 3331;
        edges += stepped.pit.advance(now).edges;
    }
    assert_eq!(edges, at_once.pit.advance(now).edges);
    assert_eq!(stepped.pit, at_once.pit);
}

#[test]
fn pit_2_deadline_to_deadline_stays_on_the_grid() {
    let mut bench = Bench::new();
    bench.out(0x43, 0x34).count(0x40, 4773);
    for n in 1..10_000 {
        let at = bench.pit.next_deadline().unwrap();
        assert_eq!(at, ns(1 + 4773 * n));
        assert_eq!(bench.pit.advance(at).edges, 1);
    }
}

#[test]
fn pit_2_time_that_goes_backwards_stands_still() {
    let mut bench = Bench::counter_2(0, 1000);
    bench.clk(500);
    let shown = bench.in16(0x42);
    bench.tick -= 400;
    assert_eq!(bench.in16(0x42), shown);
    bench.count(0x42, 10);
    bench.tick += 401;
    assert_eq!(bench.in16(0x42), 10, "loaded one CLK after the latest time seen");
}

#[test]
fn pit_2_the_end_of_time_is_no_panic_and_no_deadline() {
    let mut pit = Pit::new(0);
    for (port, byte) in [(0x43, 0x34), (0x40, 0), (0x40, 0)] {
        pit.write(port, &[byte], u64::MAX - 1000).unwrap();
    }
    assert_eq!(pit.next_deadline(), None, "beyond 64 bits");
    assert_eq!(pit.advance(u64::MAX).edges, 0);
    let mut pit = Pit::new(0);
    for (port, byte) in [(0x43, 0x14), (0x40, 2)] {
        pit.write(port, &[byte], 0).unwrap();
    }
    let clks = u128::from(u64::MAX) * 1_193_182 / 1_000_000_000 - 1;
    assert_eq!(u128::from(pit.advance(u64::MAX).edges), clks / 2);
}

#[test]
fn pit_2_clks_count_from_the_time_of_creation() {
    let start = 123_456_789_012_345;
    let mut pit = Pit::new(start);
    for (port, byte) in [(0x43, 0x34), (0x40, 100), (0x40, 0)] {
        pit.write(port, &[byte], start).unwrap();
    }
    assert_eq!(pit.next_deadline(), Some(start + ns(101)));
}
