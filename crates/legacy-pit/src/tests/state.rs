// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! ALL-3: what a restored state may not be, and what must survive.

use super::*;
use crate::state::{CounterState, InvalidState, PitState, RunState};

fn refused(spoil: impl Fn(&mut PitState)) -> InvalidState {
    let bench = Bench::counter_2(3, 1000);
    let mut state = bench.pit.state(ns(7));
    assert!(Pit::from_state(&state, 0).is_ok());
    spoil(&mut state);
    Pit::from_state(&state, 0).unwrap_err()
}

#[test]
fn all_3_a_power_on_state_is_valid() {
    let state = Pit::new(5).state(5);
    assert_eq!(Pit::from_state(&state, 5), Ok(Pit::new(5)));
    let default = Pit::from_state(&PitState::default(), 0).unwrap();
    assert_eq!(default.state(0), PitState::default());
    assert_eq!(default.next_deadline(), None);
}

#[test]
fn all_3_impossible_states_are_refused() {
    assert_eq!(refused(|state| state.port_b = 1), InvalidState::PortB(1));
    assert_eq!(refused(|state| state.port_b = 0x10), InvalidState::PortB(0x10));
    assert_eq!(refused(|state| state.refresh = 36), InvalidState::Refresh(36));
    assert_eq!(refused(|state| state.counters[1].gate = false), InvalidState::Gate(1));
    let run = RunState { count: 10, counted: 0, halted_for: None };
    type Case = (fn(&mut CounterState), fn(&InvalidState) -> bool);
    let cases: [Case; 13] = [
        (|c| c.control = Some(0x76), |e| *e == InvalidState::Control(0x76)),
        (|c| c.control = Some(0x06), |e| *e == InvalidState::Control(0x06)),
        (|c| c.initial_count = Some(0), |e| *e == InvalidState::Count(0)),
        (|c| c.initial_count = Some(65537), |e| *e == InvalidState::Count(65537)),
        (
            |c| (c.control, c.initial_count) = (Some(0x37), Some(10001)),
            |e| *e == InvalidState::Count(10001),
        ),
        (
            |c| (c.control, c.run, c.rest) = (Some(0x37), None, 10000),
            |e| *e == InvalidState::Count(10000),
        ),
        (|c| c.run.as_mut().unwrap().count = 0, |e| *e == InvalidState::Count(0)),
        (|c| c.run.as_mut().unwrap().counted = 1 << 61, |e| *e == InvalidState::Time(1 << 61)),
        (
            |c| c.run.as_mut().unwrap().halted_for = Some(u64::MAX),
            |e| *e == InvalidState::Time(u64::MAX),
        ),
        (|c| c.phase = 1_000_000_000, |e| *e == InvalidState::Time(1_000_000_000)),
        (|c| c.load_in = Some(0), |e| *e == InvalidState::Time(0)),
        (
            |c| (c.control, c.write_low) = (Some(0x16), Some(1)),
            |e| matches!(e, InvalidState::Contradiction(_)),
        ),
        (|c| c.initial_count = None, |e| matches!(e, InvalidState::Contradiction(_))),
    ];
    for (n, (spoil, expected)) in cases.iter().enumerate() {
        let error = refused(|state| {
            state.counters[2].run.get_or_insert(run);
            spoil(&mut state.counters[2]);
        });
        assert!(expected(&error), "case {n}: {error:?}");
    }
}

#[test]
fn all_3_halves_latches_edges_and_the_fraction_of_a_clk_survive() {
    let mut bench = Bench::counter_2(2, 0x1234);
    bench.out(0x43, 0x34).count(0x40, 100);
    bench.clk(250).out(0x43, 0xc8).out(0x42, 0x78).inb(0x42);
    // 300 ns into a CLK.
    let now = ns(bench.tick) + 300;
    let saved = bench.pit.state(now);
    let mut restored = Pit::from_state(&saved, 1_000_000).unwrap();
    assert_eq!(restored.state(1_000_000), saved);
    let deadline = bench.pit.next_deadline().unwrap();
    assert_eq!(bench.pit.advance(now).edges, 2);
    assert_eq!(restored.advance(1_000_000).edges, 2);
    let (here, there) = (bench.pit.next_deadline(), restored.next_deadline());
    assert!(deadline < here.unwrap());
    assert_eq!(here.unwrap() - now, there.unwrap() - 1_000_000);
    let mut bytes = [0; 2];
    for byte in &mut bytes {
        restored.read(0x42, core::slice::from_mut(byte), 1_000_000).unwrap();
    }
    assert_eq!(u16::from_le_bytes(bytes), 0x1234 - 249, "the latch, after its status");
    restored.write(0x42, &[0x56], 1_000_000).unwrap();
    let initial = restored.state(1_000_000).counters[2].initial_count;
    assert_eq!(initial, Some(0x5678));
}
