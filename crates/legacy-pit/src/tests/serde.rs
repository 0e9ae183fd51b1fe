// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! ALL-3 with the `serde` feature.

use super::*;
use crate::PitState;

#[test]
fn all_3_state_survives_serialization() {
    let mut bench = Bench::counter_2(4, 1000);
    bench.out(0x43, 0x37).count(0x40, 0x1234).clk(300).gate(false).clk(9).out(0x43, 0xc8);
    bench.inb(0x42);
    let state = bench.pit.state(ns(bench.tick) + 100);
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<PitState>(&text).unwrap(), state);
    assert!(text.contains("\"halted_for\":9"), "fields go by their names: {text}");
}
