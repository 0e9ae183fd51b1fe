// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The model against the reference, and against everything a guest can do to it.

use proptest::prelude::*;
use std::vec::Vec;

use super::reference::Reference;
use super::*;
use crate::{CounterState, LatchedBytes, LatchedCount, PitState, RunState};

#[derive(Clone, Debug)]
enum Action {
    Clk(u64),
    Control(u8, u8, bool, u8),
    Write(u8, u8),
    Gate(bool),
}

fn action() -> impl Strategy<Value = Action> {
    let ticks = prop_oneof![10 => 1..4u64, 6 => 1..30u64, 2 => 1..700u64];
    // Small counts end often; the low byte is the one that is written most.
    let byte = prop_oneof![8 => 0..8u8, 2 => 0..40u8, 1 => any::<u8>()];
    let control = (0..3u8, 0..8u8, any::<bool>(), prop_oneof![3 => 1..2u8, 1 => 1..4u8]);
    prop_oneof![
        10 => ticks.prop_map(Action::Clk),
        2 => control.prop_map(|(n, mode, bcd, rw)| Action::Control(n, mode, bcd, rw)),
        8 => (0..3u8, byte).prop_map(|(n, byte)| Action::Write(n, byte)),
        5 => any::<bool>().prop_map(Action::Gate),
    ]
}

struct Rig {
    bench: Bench,
    reference: [Reference; 3],
}

impl Rig {
    fn new() -> Self {
        let reference = [true, true, false].map(Reference::new);
        Rig { bench: Bench::new(), reference }
    }

    /// CLKs, and the deadline that was announced before them.
    fn clk(&mut self, ticks: u64) {
        let _ = self.bench.edges();
        self.reference[0].rises = 0;
        let deadline = self.bench.deadline_in();
        let mut first = None;
        for tick in 1..=ticks {
            self.reference.iter_mut().for_each(Reference::clk);
            if self.reference[0].rises > 0 {
                first.get_or_insert(tick);
            }
        }
        match first {
            Some(tick) => assert_eq!(deadline, Some(tick), "deadline"),
            None => assert!(deadline.is_none_or(|tick| tick > ticks), "deadline {deadline:?}"),
        }
        self.bench.clk(ticks);
        assert_eq!(self.bench.edges(), self.reference[0].rises, "edges");
        self.reference[0].rises = 0;
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Clk(ticks) => self.clk(ticks),
            Action::Control(n, mode, bcd, rw) => {
                self.bench.out(0x43, n << 6 | rw << 4 | mode << 1 | u8::from(bcd));
                self.reference[usize::from(n)].control(mode, bcd, rw);
            }
            Action::Write(n, byte) => {
                self.bench.out(0x40 + u16::from(n), byte);
                self.reference[usize::from(n)].write(byte);
            }
            Action::Gate(high) => {
                self.bench.gate(high);
                self.reference[2].set_gate(high);
            }
        }
        assert_eq!(self.bench.edges(), self.reference[0].rises, "edges at {action:?}");
        self.reference[0].rises = 0;
        self.compare(action);
    }

    fn compare(&self, action: &Action) {
        let now = ns(self.bench.tick);
        for (n, reference) in self.reference.iter().enumerate() {
            let mut pit = self.bench.pit.clone();
            let _ = pit.advance(now);
            pit.write(0x43, &[0xc0 | 2 << n], now).unwrap();
            let state = pit.state(now).counters[n];
            let status = state.latched_status.unwrap();
            assert_eq!(status & 0x80 != 0, reference.out, "OUT {n} after {action:?}");
            assert_eq!(status & 0x40 != 0, reference.null, "NULL {n} after {action:?}");
            let count = state.latched_count.unwrap().value;
            assert_eq!(count, reference.shown(), "count {n} after {action:?}");
        }
    }
}

#[derive(Clone, Debug)]
enum Guest {
    Write(u16, Vec<u8>),
    Read(u16, usize),
    Advance,
    Restore,
}

fn guest() -> impl Strategy<Value = (u64, Guest)> {
    let known = prop::sample::select(&[0x40, 0x41, 0x42, 0x43, 0x43, 0x61][..]);
    let port = prop_oneof![20 => known, 1 => any::<u16>()];
    let bytes = prop_oneof![
        20 => prop::collection::vec(any::<u8>(), 1),
        1 => prop::collection::vec(any::<u8>(), 0..9),
    ];
    let access = prop_oneof![
        8 => (port.clone(), bytes).prop_map(|(port, bytes)| Guest::Write(port, bytes)),
        4 => (port, 0..9usize).prop_map(|(port, width)| Guest::Read(port, width)),
        4 => Just(Guest::Advance),
        1 => Just(Guest::Restore),
    ];
    let pause = prop_oneof![
        4 => 0..3u64,
        4 => 0..5_000u64,
        4 => 0..100_000_000u64,
        1 => any::<u64>(),
    ];
    (pause, access)
}

/// Runs a guest from `now` on, and gives the time at its end.
fn run(pit: &mut Pit, mut now: u64, guest: &[(u64, Guest)]) -> u64 {
    for (pause, access) in guest {
        now = now.saturating_add(*pause);
        match access {
            Guest::Write(port, bytes) => {
                let _ = pit.write(*port, bytes, now);
            }
            Guest::Read(port, width) => {
                let _ = pit.read(*port, &mut [0; 9][..*width], now);
            }
            Guest::Advance => {
                let _ = pit.advance(now);
                let deadline = pit.next_deadline();
                assert!(deadline.is_none_or(|at| at > now), "{deadline:?} at {now}");
            }
            Guest::Restore => *pit = Pit::from_state(&pit.state(now), now).unwrap(),
        }
    }
    now
}

fn counter_state() -> impl Strategy<Value = CounterState> {
    let control = prop::option::weighted(0.9, prop_oneof![9 => 0x10..0x40u8, 1 => any::<u8>()]);
    let count = prop_oneof![3 => 1..5u32, 3 => 1..=10_000u32, 1 => 0..=65_537u32];
    let long =
        prop_oneof![5 => 0..100u64, 3 => any::<u32>().prop_map(u64::from), 1 => any::<u64>()];
    let run = (count.clone(), long.clone(), prop::option::of(long))
        .prop_map(|(count, counted, halted_for)| RunState { count, counted, halted_for });
    let next =
        prop::sample::select(&[LatchedBytes::Low, LatchedBytes::High, LatchedBytes::Both][..]);
    let latched = (any::<u16>(), next).prop_map(|(value, next)| LatchedCount { value, next });
    let load_in = prop_oneof![5 => 1..100u32, 1 => 0..=65_537u32];
    (
        (control, any::<[bool; 3]>(), prop::option::weighted(0.8, count)),
        (prop::option::weighted(0.2, load_in), prop::option::of(run), 0..10_000u16),
        (0..1_000_001_000u32, prop::option::weighted(0.2, any::<u8>())),
        (prop::option::of(latched), prop::option::of(any::<u8>())),
    )
        .prop_map(|((control, flags, initial_count), (load_in, run, rest), time, latches)| {
            CounterState {
                control,
                gate: flags[0],
                initial_count,
                null_count: flags[1],
                load_in,
                run,
                rest,
                phase: time.0,
                write_low: time.1,
                read_high: flags[2] && control.is_some_and(|control| control & 0x30 == 0x30),
                latched_count: latches.0,
                latched_status: latches.1,
            }
        })
}

fn pit_state() -> impl Strategy<Value = PitState> {
    let counters = [counter_state(), counter_state(), counter_state()];
    (counters, 0..8u8, any::<u64>(), 0..37u8).prop_map(|(mut counters, port_b, edges, refresh)| {
        // GATE 0 and 1 are tied; a state that says otherwise has a test of its own.
        (counters[0].gate, counters[1].gate) = (true, true);
        PitState { counters, port_b: port_b << 1, edges, refresh }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pit_3_4_5_6_7_agree_with_the_reference(
        actions in prop::collection::vec(action(), 1..120),
    ) {
        let mut rig = Rig::new();
        for action in &actions {
            rig.act(action);
        }
    }

    #[test]
    fn pit_8_large_counts_agree_with_the_reference(
        n in 0..3u8, mode in 0..8u8, bcd: bool, count: u16, ticks in 1..200_000u64, next: u16,
    ) {
        let mut rig = Rig::new();
        rig.act(&Action::Control(n, mode, bcd, 3));
        rig.act(&Action::Gate(true));
        for count in [count, next] {
            let [low, high] = count.to_le_bytes();
            rig.act(&Action::Write(n, low));
            rig.act(&Action::Write(n, high));
            rig.act(&Action::Gate(false));
            rig.act(&Action::Gate(true));
            rig.act(&Action::Clk(ticks));
        }
    }

    #[test]
    fn all_2_any_guest_on_any_state(
        state in pit_state(),
        start: u64,
        accesses in prop::collection::vec(guest(), 0..80),
    ) {
        if let Ok(mut pit) = Pit::from_state(&state, start) {
            run(&mut pit, start, &accesses);
        }
        run(&mut Pit::new(start), start, &accesses);
    }

    #[test]
    fn all_3_save_restore_save_is_the_identity(
        state in pit_state(),
        start: u64,
        before in prop::collection::vec(guest(), 0..60),
        after in prop::collection::vec(guest(), 0..60),
        moved: u32,
    ) {
        if let Ok(pit) = Pit::from_state(&state, start) {
            prop_assert_eq!(pit.state(start), state);
        }
        let mut pit = Pit::new(0);
        let now = run(&mut pit, 0, &before);
        let saved = pit.state(now);
        // It may go on at another time, on another clock.
        let later = u64::from(moved);
        let mut restored = Pit::from_state(&saved, later).unwrap();
        prop_assert_eq!(restored.state(later), saved);
        let span = |pit: &mut Pit, from| {
            let to = run(pit, from, &after);
            (to - from, to)
        };
        let (here, there) = (span(&mut pit, now), span(&mut restored, later));
        // Unless one of the clocks ran into its end.
        if here.0 == there.0 {
            prop_assert_eq!(restored.state(there.1), pit.state(here.1), "and they go on alike");
        }
    }
}
