// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! ALL-3 with the `serde` feature.

use super::*;
use crate::state::PicState;

#[test]
fn all_3_state_survives_serialization() {
    let mut bench = Bench::with_icw4(0x11, 0x03);
    bench.out(0x4d0, 0x20).out(S, 0xc1).out(MD, 0x40).out(M, 0x0c);
    let _ = bench.raise(5);
    let _ = bench.pulse(12);
    assert_eq!(bench.cpu(), Some(0x3c));
    let state = bench.0.state();
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<PicState>(&text).unwrap(), state);
    assert!(text.contains("\"lowest_priority\":1"), "fields go by their names: {text}");
}
