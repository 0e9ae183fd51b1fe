// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The 8254 with port 0x61: guest accesses, time in steps of any size, saved states.

use legacy_pit::spec;
use legacy_pit::{CounterState, LatchedBytes, LatchedCount, Pit, PitState, RunState};

use crate::code::{at, pick, Data, Num, Scenario};

/// A run.
pub type Input = Scenario<Setup, Op>;

const PORTS: [u16; 5] =
    [spec::COUNTER_0, spec::COUNTER_1, spec::COUNTER_2, spec::CONTROL, spec::PORT_B];

fields! {
    /// A PIT out of power-on.
    pub struct Setup {
        /// The caller's clock then.
        now: Num,
    }
}

fields! {
    /// A counter's saved state, mostly an impossible one.
    pub struct AnyCounter {
        control: Option<u8>,
        flags: u8,
        initial_count: Option<Num>,
        load_in: Option<Num>,
        run: Option<[u32; 2]>,
        halted_for: Option<Num>,
        rest: u16,
        phase: u32,
        write_low: Option<u8>,
        latched: Option<u16>,
        latched_status: Option<u8>,
    }
}

ops! {
    /// What can happen to a PIT.
    pub enum Op {
        Write { port: u8, value: u8 },
        Read { port: u8 },
        RawWrite { port: u16, data: Data },
        RawRead { port: u16, data: Data },
        /// Control word for two bytes, and the count.
        Program { counter: u8, mode: u8, count: u16 },
        Gate2 { high: bool },
        Pass { ns: Num },
        /// Time seen by an access only, or going backwards.
        Jump { now: Num },
        Advance,
        /// Exactly to the next deadline.
        AdvanceToDeadline,
        SaveRestore { later: Num },
        Restore { counters: [u8; 3], state: AnyCounter, port_b: u8, edges: Num, refresh: u8 },
    }
}

struct Rig {
    pit: Pit,
    now: u64,
}

/// Runs the operations and checks the PIT after each.
pub fn run(input: &Input) {
    let now = input.setup.now.0;
    let mut rig = Rig { pit: Pit::new(now), now };
    for op in &input.ops {
        rig.apply(op);
        rig.check();
    }
}

impl Rig {
    fn apply(&mut self, op: &Op) {
        let now = self.now;
        match op {
            Op::Write { port, value } => self.write(pick(&PORTS, *port), *value),
            Op::Read { port } => {
                let mut data = [0];
                self.pit.read(pick(&PORTS, *port), &mut data, now).expect("a byte at its port");
            }
            Op::RawWrite { port, data } => {
                let before = self.pit.clone();
                let legal = PORTS.contains(port) && data.0.len() == 1;
                assert_eq!(self.pit.write(*port, &data.0, now).is_ok(), legal);
                assert!(legal || self.pit == before);
            }
            Op::RawRead { port, data } => {
                let (before, mut data) = (self.pit.clone(), data.0.clone());
                let legal = PORTS.contains(port) && data.len() == 1;
                assert_eq!(self.pit.read(*port, &mut data, now).is_ok(), legal);
                assert!(legal || self.pit == before);
            }
            Op::Program { counter, mode, count } => {
                let counter = counter % 3;
                self.write(spec::CONTROL, counter << 6 | 0x30 | mode & 0xf);
                for byte in count.to_le_bytes() {
                    self.write(spec::COUNTER_0 + u16::from(counter), byte);
                }
            }
            Op::Gate2 { high } => self.write(spec::PORT_B, (*high).into()),
            Op::Pass { ns } => self.now = now.saturating_add(ns.0),
            Op::Jump { now } => {
                let mut data = [0];
                self.pit.read(spec::PORT_B, &mut data, now.0).expect("a byte at its port");
                self.now = self.now.max(now.0);
            }
            Op::Advance => self.advance(now),
            Op::AdvanceToDeadline => {
                self.advance(now);
                if let Some(deadline) = self.pit.next_deadline() {
                    self.now = deadline;
                    self.advance(deadline);
                }
            }
            Op::SaveRestore { later } => {
                let state = self.pit.state(now);
                self.now = later.0;
                self.pit = Pit::from_state(&state, self.now).expect("reachable");
                assert_eq!(self.pit.state(self.now), state, "time stood still in between");
            }
            Op::Restore { counters, state, port_b, edges, refresh } => {
                let counters = counters.map(|n| state.state(n));
                let state =
                    PitState { counters, port_b: *port_b, edges: edges.0, refresh: *refresh };
                if let Ok(pit) = Pit::from_state(&state, now) {
                    assert_eq!(pit.state(now), state, "save, restore, save");
                    self.pit = pit;
                }
            }
        }
    }

    fn write(&mut self, port: u16, value: u8) {
        self.pit.write(port, &[value], self.now).expect("a byte at its port");
    }

    fn advance(&mut self, now: u64) {
        let _ = self.pit.advance(now);
        assert_eq!(self.pit.advance(now).edges, 0, "each edge once");
        let deadline = self.pit.next_deadline();
        assert!(deadline.is_none_or(|at| at > now), "a deadline {deadline:?} in the past of {now}");
    }

    fn check(&self) {
        let state = self.pit.state(self.now);
        let restored = Pit::from_state(&state, self.now).expect("reachable");
        assert_eq!(restored.state(self.now), state, "save, restore, save");
        let mut pit = self.pit.clone();
        let _ = pit.advance(self.now);
        self.check_deadline(pit.clone());
        self.check_steps(pit);
    }

    /// IRQ0 rises at the deadline and not before.
    fn check_deadline(&self, mut pit: Pit) {
        let Some(deadline) = pit.next_deadline() else {
            assert_eq!(pit.advance(u64::MAX).edges, 0, "an edge that had no deadline");
            return;
        };
        assert_eq!(pit.advance(deadline - 1).edges, 0, "an edge before its deadline");
        assert!(pit.advance(deadline).edges > 0, "no edge at the deadline");
    }

    /// Many looks see what one look sees.
    fn check_steps(&self, mut pit: Pit) {
        let end = self.now.saturating_add(3_000_000);
        let mut once = pit.clone();
        let at_once = once.advance(end);
        let mut edges = 0;
        for step in 1..=3 {
            let irq0 = pit.advance(self.now.saturating_add(step * 1_000_000));
            edges += irq0.edges;
        }
        assert_eq!((edges, pit.state(end)), (at_once.edges, once.state(end)));
    }
}

impl AnyCounter {
    fn state(&self, n: u8) -> CounterState {
        let flag = |bit: u8| (self.flags ^ n) >> bit & 1 != 0;
        let next = pick(&[LatchedBytes::Low, LatchedBytes::High, LatchedBytes::Both], self.flags);
        CounterState {
            control: self.control,
            gate: !flag(0),
            initial_count: self.initial_count.map(|count| count.0 as u32),
            null_count: flag(1),
            load_in: self.load_in.map(|ticks| ticks.0 as u32),
            run: self.run.map(|[count, counted]| RunState {
                count,
                counted: counted.into(),
                halted_for: self.halted_for.map(|ticks| ticks.0),
            }),
            rest: self.rest,
            phase: self.phase,
            write_low: self.write_low,
            read_high: flag(2),
            latched_count: self.latched.map(|value| LatchedCount { value, next }),
            latched_status: self.latched_status,
        }
    }
}

/// Inputs to start from.
pub fn seeds() -> Vec<(&'static str, Input)> {
    let write = |port, value| Op::Write { port: at(&PORTS, port), value };
    let read = |port| Op::Read { port: at(&PORTS, port) };
    let seed = |ops: Vec<Op>| Input { setup: Setup { now: Num(1_000_000) }, ops };
    let linux_tick = vec![
        Op::Program { counter: 0, mode: 4, count: 4773 },
        Op::AdvanceToDeadline,
        Op::AdvanceToDeadline,
        Op::Pass { ns: Num(1 << 40) },
        Op::Advance,
        Op::SaveRestore { later: Num(5) },
        Op::AdvanceToDeadline,
    ];
    let tsc_calibration = vec![
        Op::Gate2 { high: true },
        Op::Program { counter: 2, mode: 0, count: 0xe90b },
        Op::Pass { ns: Num(49_000_000) },
        read(spec::PORT_B),
        Op::Pass { ns: Num(2_000_000) },
        read(spec::PORT_B),
        Op::Gate2 { high: false },
    ];
    let latches = vec![
        Op::Program { counter: 0, mode: 6, count: 0 },
        write(spec::CONTROL, 0xc2),
        Op::Pass { ns: Num(12_345) },
        read(spec::COUNTER_0),
        write(spec::CONTROL, 0x00),
        read(spec::COUNTER_0),
        read(spec::COUNTER_0),
        write(spec::CONTROL, 0x35),
        write(spec::COUNTER_0, 0x99),
        Op::SaveRestore { later: Num(0) },
        write(spec::COUNTER_0, 0x12),
        Op::AdvanceToDeadline,
    ];
    let one_shot = vec![
        Op::Program { counter: 0, mode: 8, count: 100 },
        Op::AdvanceToDeadline,
        Op::AdvanceToDeadline,
        Op::Program { counter: 2, mode: 10, count: 3 },
        Op::Gate2 { high: true },
        Op::Pass { ns: Num(u64::MAX) },
        Op::Advance,
    ];
    vec![
        ("linux_tick", seed(linux_tick)),
        ("tsc_calibration", seed(tsc_calibration)),
        ("latches", seed(latches)),
        ("one_shot", seed(one_shot)),
    ]
}
