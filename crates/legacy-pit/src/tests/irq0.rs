// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! PIT-11: counter 0's OUT as IRQ0, deadlines.

use super::*;
use crate::Irq0;

#[test]
fn pit_11_a_periodic_mode_rises_once_in_a_period() {
    for control in [0x34, 0x36] {
        let mut bench = Bench::new();
        bench.out(0x43, control).count(0x40, 1000);
        assert_eq!((bench.edges(), bench.deadline_in()), (0, Some(1001)));
        bench.clk(1000);
        assert_eq!((bench.edges(), bench.deadline_in()), (0, Some(1)));
        bench.clk(1);
        let irq0 = bench.pit.advance(ns(bench.tick));
        assert_eq!(irq0, Irq0 { edges: 1, level: true });
        assert_eq!((bench.edges(), bench.deadline_in()), (0, Some(1000)), "each counts once");
    }
}

#[test]
fn pit_11_a_deadline_is_met_to_the_nanosecond() {
    let mut bench = Bench::new();
    bench.out(0x43, 0x34).count(0x40, 11_932);
    for _ in 0..1000 {
        let at = bench.pit.next_deadline().unwrap();
        assert_eq!(bench.pit.advance(at - 1).edges, 0);
        assert_eq!(bench.pit.advance(at).edges, 1);
    }
}

#[test]
fn pit_11_one_shots_rise_once() {
    for (control, after) in [(0x30, 501), (0x38, 502)] {
        let mut bench = Bench::new();
        bench.out(0x43, control).count(0x40, 500);
        assert_eq!(bench.deadline_in(), Some(after));
        bench.clk(after);
        assert_eq!((bench.edges(), bench.pit.next_deadline()), (1, None));
        bench.clk(1_000_000);
        assert_eq!(bench.edges(), 0);
        bench.count(0x40, 7);
        assert_eq!(bench.deadline_in(), Some(after - 493));
    }
}

#[test]
fn pit_11_gated_modes_never_rise_where_gate_is_tied_high() {
    for control in [0x32, 0x3a] {
        let mut bench = Bench::new();
        bench.out(0x43, control).count(0x40, 500).clk(10_000);
        assert_eq!((bench.edges(), bench.pit.next_deadline()), (0, None));
    }
}

#[test]
fn pit_11_level_is_out_0() {
    let mut bench = Bench::new();
    bench.out(0x43, 0x36).count(0x40, 10);
    for (tick, level) in [(0, true), (5, true), (6, false), (10, false), (11, true)] {
        assert_eq!(bench.pit.advance(ns(tick)).level, level, "CLK {tick}");
    }
    let mut bench = Bench::new();
    bench.out(0x43, 0x30);
    assert_eq!(bench.pit.advance(0), Irq0 { edges: 0, level: false });
    bench.out(0x43, 0x34);
    assert_eq!(bench.pit.advance(0), Irq0 { edges: 1, level: true }, "OUT rose out of mode 0");
}

#[test]
fn pit_11_edges_of_other_counters_are_nobodys() {
    let mut bench = Bench::counter_2(2, 10);
    bench.out(0x43, 0x74).count(0x41, 18).clk(1000);
    bench.out(0x43, 0xb0).out(0x43, 0xb4);
    assert_eq!((bench.edges(), bench.pit.next_deadline()), (0, None));
}

#[test]
fn pit_11_late_callers_lose_nothing() {
    let mut bench = Bench::new();
    bench.out(0x43, 0x34).count(0x40, 100).clk(1 + 12_345);
    // The port accesses in between collect on the caller's behalf.
    bench.inb(0x40);
    assert_eq!(bench.pit.next_deadline(), Some(ns(bench.tick)), "already due");
    bench.clk(55);
    assert_eq!(bench.edges(), 124);
}

#[test]
fn pit_11_a_new_period_begins_where_the_old_one_ends() {
    let mut bench = Bench::new();
    bench.out(0x43, 0x34).count(0x40, 1000).clk(1 + 400).count(0x40, 50);
    assert_eq!(bench.deadline_in(), Some(600));
    bench.clk(600);
    assert_eq!((bench.edges(), bench.deadline_in()), (1, Some(50)));
    // Mode 3, new count in the high half: the low half is already the new one's.
    let mut bench = Bench::new();
    bench.out(0x43, 0x36).count(0x40, 1000).clk(1 + 400).count(0x40, 50);
    assert_eq!(bench.deadline_in(), Some(100 + 25));
    bench.clk(125);
    assert_eq!((bench.edges(), bench.deadline_in()), (1, Some(50)));
}
