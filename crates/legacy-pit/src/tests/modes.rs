// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! PIT-3 to PIT-7: the modes, after the data sheet's timing diagrams. `^` and `_` are OUT of
//! counter 2 at one CLK after another, the first being that of the write.

use super::*;

#[test]
fn pit_3_out_rises_n_plus_1_clks_after_the_write_and_stays() {
    assert_eq!(Bench::counter_2(0, 4).wave(12), "_____^^^^^^^");
    assert_eq!(Bench::counter_2(0, 1).wave(4), "__^^");
}

#[test]
fn pit_3_the_count_goes_on_below_zero() {
    let mut bench = Bench::counter_2(0, 3);
    let shown = [1, 1, 1, 1, 1, 1].map(|ticks| bench.clk(ticks).in16(0x42));
    assert_eq!(shown, [3, 2, 1, 0, 0xffff, 0xfffe]);
    bench.clk(65536);
    assert!(bench.out_2(), "and a second zero changes nothing");
}

#[test]
fn pit_3_gate_low_holds_the_count_and_not_out() {
    let mut bench = Bench::counter_2(0, 4);
    bench.clk(3).gate(false).clk(10);
    assert_eq!((bench.in16(0x42), bench.out_2()), (2, false));
    bench.gate(true);
    assert_eq!(bench.wave(4), "__^^");
    bench.gate(false);
    assert_eq!(bench.wave(3), "^^^");
}

#[test]
fn pit_3_a_count_written_with_gate_low_is_loaded_and_waits() {
    let mut bench = Bench::new();
    bench.out(0x43, 0xb0).count(0x42, 4).clk(20);
    assert_eq!((bench.status(2), bench.in16(0x42)), (0x30, 4));
    bench.gate(true);
    assert_eq!(bench.wave(6), "____^^", "N CLKs: the load is over");
}

#[test]
fn pit_3_a_new_count_starts_over() {
    let mut bench = Bench::counter_2(0, 4);
    bench.clk(20).count(0x42, 2);
    assert_eq!(bench.wave(5), "___^^");
    bench.out(0x43, 0x90);
    assert_eq!(bench.wave(2), "__", "a control word by itself drops OUT");
    bench.out(0x42, 3);
    assert_eq!(bench.wave(6), "____^^");
    bench.out(0x42, 5).clk(2).out(0x42, 2);
    assert_eq!(bench.wave(4), "___^");
}

#[test]
fn pit_3_the_first_of_two_bytes_stops_the_count() {
    let mut bench = Bench::counter_2(0, 4);
    bench.clk(20);
    assert!(bench.out_2());
    let stands = bench.in16(0x42);
    bench.out(0x42, 3);
    assert_eq!(bench.wave(30), "_".repeat(30));
    assert_eq!(bench.in16(0x42), stands);
    bench.out(0x42, 0);
    assert_eq!(bench.wave(6), "____^^");
}

#[test]
fn pit_3_half_a_count_stops_one_that_was_not_loaded_yet() {
    let mut bench = Bench::counter_2(0, 4);
    bench.out(0x42, 9);
    assert_eq!(bench.wave(20), "_".repeat(20));
    assert_eq!(bench.in16(0x42), 4, "loaded, and standing");
    bench.gate(false).gate(true).clk(20);
    assert_eq!(bench.in16(0x42), 4, "GATE does not help");
    bench.out(0x42, 0);
    assert_eq!(bench.wave(12), "__________^^");
}

#[test]
fn pit_4_a_gate_edge_gives_a_pulse_of_n_clks() {
    let mut bench = Bench::new();
    bench.out(0x43, 0xb2).count(0x42, 3);
    assert_eq!(bench.wave(10), "^".repeat(10), "armed");
    bench.gate(true);
    assert_eq!(bench.wave(6), "^___^^");
    bench.gate(false);
    assert_eq!(bench.wave(6), "^^^^^^");
    bench.gate(true).clk(1).gate(false);
    assert_eq!(bench.wave(5), "___^^", "GATE's level does not matter");
}

#[test]
fn pit_4_another_edge_extends_the_pulse() {
    let mut bench = Bench::new();
    bench.out(0x43, 0xb2).count(0x42, 3).gate(true).clk(3).gate(false).gate(true);
    assert_eq!(bench.wave(6), "____^^");
}

#[test]
fn pit_4_a_new_count_waits_for_the_next_edge() {
    let mut bench = Bench::new();
    bench.out(0x43, 0xb2).count(0x42, 3).gate(true).clk(2).count(0x42, 5);
    assert_eq!(bench.status(2), 0x72, "NULL COUNT");
    assert_eq!(bench.wave(4), "__^^");
    bench.gate(false).gate(true);
    assert_eq!(bench.wave(8), "^_____^^");
}

#[test]
fn pit_4_an_edge_before_any_count_does_nothing() {
    let mut bench = Bench::new();
    bench.out(0x43, 0xb2).gate(true);
    assert_eq!(bench.wave(5), "^^^^^");
}

#[test]
fn pit_5_low_for_one_clk_in_n() {
    assert_eq!(Bench::counter_2(2, 4).wave(14), "^^^^_^^^_^^^_^");
    assert_eq!(Bench::counter_2(2, 2).wave(7), "^^_^_^_");
    assert_eq!(Bench::counter_2(6, 4).wave(6), "^^^^_^", "6 is 2");
}

#[test]
fn pit_5_the_count_runs_from_n_to_1() {
    let mut bench = Bench::counter_2(2, 3);
    let shown = [1; 7].map(|ticks| bench.clk(ticks).in16(0x42));
    assert_eq!(shown, [3, 2, 1, 3, 2, 1, 3]);
}

#[test]
fn pit_5_a_new_count_takes_effect_with_the_next_period() {
    let mut bench = Bench::counter_2(2, 4);
    bench.clk(2).count(0x42, 2);
    assert_eq!(bench.wave(8), "^^_^_^_^");
}

#[test]
fn pit_5_gate_low_raises_out_and_its_edge_starts_over() {
    let mut bench = Bench::counter_2(2, 4);
    bench.clk(4);
    assert!(!bench.out_2());
    bench.gate(false);
    assert_eq!(bench.wave(10), "^".repeat(10));
    bench.gate(true);
    assert_eq!(bench.wave(6), "^^^^_^");
}

#[test]
fn pit_5_a_gate_edge_loads_a_new_count_at_once() {
    let mut bench = Bench::counter_2(2, 100);
    bench.clk(5).count(0x42, 3).gate(false).gate(true);
    assert_eq!(bench.wave(7), "^^^_^^_");
    assert_eq!(bench.status(2) & 0x40, 0);
}

#[test]
fn pit_6_even_counts_are_halved() {
    assert_eq!(Bench::counter_2(3, 4).wave(10), "^^^__^^__^");
    assert_eq!(Bench::counter_2(7, 4).wave(6), "^^^__^", "7 is 3");
}

#[test]
fn pit_6_odd_counts_are_high_for_the_longer_half() {
    assert_eq!(Bench::counter_2(3, 5).wave(12), "^^^^__^^^__^");
    assert_eq!(Bench::counter_2(3, 3).wave(8), "^^^_^^_^");
}

#[test]
fn pit_6_the_count_goes_by_twos() {
    let mut bench = Bench::counter_2(3, 4);
    let shown = [1; 5].map(|ticks| bench.clk(ticks).in16(0x42));
    assert_eq!(shown, [4, 2, 4, 2, 4]);
    let mut bench = Bench::counter_2(3, 5);
    let shown = [1; 7].map(|ticks| bench.clk(ticks).in16(0x42));
    assert_eq!(shown, [4, 2, 0, 4, 2, 4, 2]);
}

#[test]
fn pit_6_a_new_count_takes_effect_with_the_next_half() {
    let mut bench = Bench::counter_2(3, 8);
    bench.clk(2).count(0x42, 4);
    assert_eq!(bench.wave(10), "^^^__^^__^");
    let mut bench = Bench::counter_2(3, 8);
    bench.clk(6).count(0x42, 4);
    assert_eq!(bench.wave(9), "___^^__^^");
}

#[test]
fn pit_6_gate_low_raises_out_and_its_edge_starts_over() {
    let mut bench = Bench::counter_2(3, 6);
    bench.clk(5);
    assert!(!bench.out_2());
    bench.gate(false);
    assert_eq!(bench.wave(10), "^".repeat(10));
    bench.gate(true);
    assert_eq!(bench.wave(8), "^^^^___^");
}

#[test]
fn pit_7_software_strobe_comes_n_plus_1_clks_after_the_write() {
    assert_eq!(Bench::counter_2(4, 3).wave(8), "^^^^_^^^");
    let mut bench = Bench::counter_2(4, 3);
    bench.clk(65536 - 10);
    assert_eq!(bench.wave(30), "^".repeat(30), "once");
}

#[test]
fn pit_7_software_strobe_pauses_with_gate_and_restarts_with_a_count() {
    let mut bench = Bench::counter_2(4, 3);
    bench.clk(2).gate(false).clk(50).gate(true);
    assert_eq!(bench.wave(4), "^^_^");
    bench.count(0x42, 3).clk(2).count(0x42, 2);
    assert_eq!(bench.wave(5), "^^^_^");
}

#[test]
fn pit_7_software_strobe_lasts_one_clk_whatever_gate_does() {
    let mut bench = Bench::counter_2(4, 3);
    bench.clk(4).gate(false);
    assert_eq!(bench.wave(3), "_^^");
    bench.gate(true);
    assert_eq!(bench.wave(5), "^^^^^");
    let mut bench = Bench::counter_2(4, 3);
    bench.clk(4).gate(false).gate(true);
    assert_eq!(bench.wave(3), "_^^", "nor do two edges in that CLK shorten it");
}

#[test]
fn pit_7_hardware_strobe_comes_n_plus_1_clks_after_the_edge() {
    let mut bench = Bench::new();
    bench.out(0x43, 0xba).count(0x42, 3);
    assert_eq!(bench.wave(6), "^^^^^^");
    bench.gate(true).gate(false);
    assert_eq!(bench.wave(7), "^^^^_^^");
    bench.gate(true).clk(2).gate(false).gate(true);
    assert_eq!(bench.wave(7), "^^^^_^^", "retriggered");
}
