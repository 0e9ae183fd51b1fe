// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The IOAPIC: guest accesses, lines of several sources, EOIs in two steps, the storm guard.

use ioapic::spec::{INDEX_REDIRECTION_TABLE, IOREGSEL, IOWIN};
use ioapic::{Config, IoApic, IoApicEvents, IoApicState, PinSet, Polarity, StormGuard, Version};
use irq_routing::{Delivery, InterruptMessage, Line, SourceId};

use crate::code::{pick, Data, Num, Scenario};

/// A run.
pub type Input = Scenario<Setup, Op>;

fields! {
    /// The configuration.
    pub struct Setup {
        pins: u8,
        /// Version, polarity, extended destinations: a bit each.
        flags: u8,
        storm_limit: u8,
        pause: u16,
    }
}

ops! {
    /// What can happen to an IOAPIC.
    pub enum Op {
        Line { pin: u8, source: u8, level: bool },
        /// One half of an entry, through IOREGSEL and IOWIN.
        Entry { pin: u8, high: bool, value: u32 },
        RawWrite { offset: Num, data: Data },
        RawRead { offset: Num, data: Data },
        /// The EOI of a vector, without its second step.
        Eoi { vector: u8 },
        /// The EOI of the n-th pin in service, without its second step.
        EoiOf { n: u8 },
        /// The second step of everything that waits for it.
        Service,
        /// A look at pins that nobody asked to be looked at.
        ServiceAll,
        Pass { ns: u16 },
        Release { source: u8 },
        Reset,
        SaveRestore,
        /// Whether the local APICs take messages from here on.
        Accept { answer: u8 },
        Restore { ioregsel: u16, id: u8, pin: u8, entry: Num, in_service: Option<u8>, line: u64 },
    }
}

/// The local APICs' side.
#[derive(Default)]
struct Bus {
    answer: u8,
    messages: Vec<InterruptMessage>,
    routes_changed: bool,
}

impl IoApicEvents for Bus {
    fn message(&mut self, message: InterruptMessage) -> Delivery {
        self.messages.push(message);
        pick(&[Delivery::Delivered(1), Delivery::Coalesced, Delivery::Ignored], self.answer)
    }

    fn routes_changed(&mut self) {
        self.routes_changed = true;
    }
}

struct Rig {
    chip: IoApic,
    bus: Bus,
    now: u64,
    /// Pins whose second step is due.
    due: PinSet,
    /// Those of them that an EOI ended.
    ended: PinSet,
}

/// Sources that drive lines: few, so that they meet.
const SOURCES: u8 = 4;

/// Runs the operations and checks the IOAPIC after each; at last, nothing may be stranded.
pub fn run(input: &Input) {
    let chip = IoApic::new(input.setup.config()).expect("a configuration in range");
    let mut rig =
        Rig { chip, bus: Bus::default(), now: 0, due: PinSet::EMPTY, ended: PinSet::EMPTY };
    for op in &input.ops {
        rig.step(op);
    }
    rig.finish();
}

impl Setup {
    fn config(&self) -> Config {
        let flag = |bit: u8| self.flags >> bit & 1 != 0;
        Config {
            pins: match self.pins {
                0 => 24,
                n => (n - 1) % 240 + 1,
            },
            version: if flag(0) { Version::V11 } else { Version::V20 },
            polarity: if flag(1) { Polarity::Honour } else { Polarity::Ignore },
            extended_destination: flag(2),
            storm_guard: StormGuard {
                limit: u32::from(self.storm_limit).max(1),
                pause_ns: self.pause.into(),
            },
            ..Config::default()
        }
    }
}

impl Rig {
    fn pins(&self) -> u8 {
        self.chip.config().pins
    }

    fn source(n: u8) -> SourceId {
        SourceId::new(n % SOURCES).expect("a source")
    }

    fn step(&mut self, op: &Op) {
        let before = self.chip.clone();
        self.bus.messages.clear();
        self.bus.routes_changed = false;
        self.apply(op);
        if matches!(op, Op::Restore { .. } | Op::SaveRestore) {
            assert_eq!(self.bus.messages, [], "restoring sends nothing");
        } else {
            self.check_sent(&before, op);
        }
        self.check();
    }

    fn apply(&mut self, op: &Op) {
        let pins = self.pins();
        match op {
            Op::Line { pin, source, level } => {
                let answer = self.chip.set_irq(*pin, Self::source(*source), *level, &mut self.bus);
                assert_eq!(answer.is_ok(), *pin < pins);
            }
            Op::Entry { pin, high, value } => {
                let index = INDEX_REDIRECTION_TABLE + u16::from(pin % pins) * 2;
                self.write(IOREGSEL, &(index + u16::from(*high)).to_le_bytes());
                self.write(IOWIN, &value.to_le_bytes());
            }
            Op::RawWrite { offset, data } => self.write(offset.0, &data.0),
            Op::RawRead { offset, data } => {
                let mut data = data.0.clone();
                self.chip.read(offset.0, &mut data);
            }
            Op::Eoi { vector } => self.eoi(*vector),
            Op::EoiOf { n } => {
                let vectors: Vec<u8> =
                    self.chip.state().pins.iter().filter_map(|pin| pin.in_service).collect();
                if !vectors.is_empty() {
                    self.eoi(pick(&vectors, *n));
                }
            }
            Op::Service => {
                let due = std::mem::take(&mut self.due);
                self.ended = PinSet::EMPTY;
                let _ = self.chip.service(due, self.now, &mut self.bus);
            }
            Op::ServiceAll => {
                (self.due, self.ended) = (PinSet::EMPTY, PinSet::EMPTY);
                let _ = self.chip.service(PinSet::ALL, self.now, &mut self.bus);
            }
            Op::Pass { ns } => {
                self.now += u64::from(*ns);
                let _ = self.chip.advance(self.now, &mut self.bus);
                assert!(self.chip.next_deadline().is_none_or(|at| at > self.now));
            }
            Op::Release { source } => self.chip.release(Self::source(*source), &mut self.bus),
            Op::Reset => {
                self.chip.reset(&mut self.bus);
                (self.due, self.ended) = (PinSet::EMPTY, PinSet::EMPTY);
            }
            Op::SaveRestore => self.restore(&self.chip.state()),
            Op::Accept { answer } => self.bus.answer = *answer,
            Op::Restore { ioregsel, id, pin, entry, in_service, line } => {
                let mut state = self.chip.state();
                (state.ioregsel, state.id) = (*ioregsel, *id);
                let saved = &mut state.pins[usize::from(pin % pins)];
                saved.entry = entry.0;
                saved.in_service = *in_service;
                saved.line = Line { sources: *line };
                self.restore(&state);
            }
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let due = self.chip.write(offset, data, &mut self.bus);
        self.due |= due;
    }

    /// Ends what has this vector now, or had it when it was sent, and nothing else.
    fn eoi(&mut self, vector: u8) {
        let state = self.chip.state();
        let ended = self.chip.eoi(vector, &mut self.bus);
        self.due |= ended;
        for (pin, saved) in (0..).zip(&state.pins) {
            let entry_vector = self.chip.entry(pin).expect("a pin").vector();
            let hears = saved.in_service.is_some_and(|v| v == vector || entry_vector == vector);
            assert_eq!(ended.contains(pin), hears, "pin {pin}");
            let stays = saved.in_service.is_some() && !hears;
            assert_eq!(Self::in_service(&self.chip, pin), stays, "pin {pin}");
        }
    }

    fn restore(&mut self, state: &IoApicState) {
        if let Ok(chip) = IoApic::from_state(*self.chip.config(), state) {
            assert_eq!(chip.state(), *state, "save, restore, save");
            self.chip = chip;
            // As the documentation demands: what waited for its second step is forgotten.
            (self.due, self.ended) = (PinSet::ALL, PinSet::EMPTY);
        }
    }

    fn in_service(chip: &IoApic, pin: u8) -> bool {
        chip.entry(pin).is_some_and(|rte| rte.remote_irr())
    }

    /// What one operation may send.
    fn check_sent(&mut self, before: &IoApic, op: &Op) {
        let (mut sent, mut ended) = (0, self.ended);
        for pin in 0..self.pins() {
            let counters = |chip: &IoApic| *chip.counters(pin).expect("a pin");
            let (old, new) = (counters(before), counters(&self.chip));
            let messages = (new.sent - old.sent) + (new.refused - old.refused);
            if new.eois > old.eois {
                assert_eq!(messages, 0, "{op:?} ends and sends in one step");
                ended.insert(pin);
            }
            sent += messages;
            if messages == 0 {
                continue;
            }
            assert_eq!(messages, 1, "{op:?}: pin {pin} twice at once");
            self.check_message_of(before, pin, new.sent > old.sent, op);
        }
        self.ended = ended;
        assert_eq!(sent, self.bus.messages.len() as u64, "messages that no pin counted");
        let stale = before.level_vectors() != self.chip.level_vectors();
        assert!(!stale || self.bus.routes_changed, "{op:?} changed the EOI-exit bitmap unnoticed");
    }

    fn check_message_of(&self, before: &IoApic, pin: u8, taken: bool, op: &Op) {
        let entry = self.chip.entry(pin).expect("a pin");
        assert!(!entry.masked(), "{op:?}: pin {pin} is masked");
        assert!(self.active(pin), "{op:?}: pin {pin} is not asserted");
        if !entry.trigger_mode().is_level() {
            assert!(matches!(op, Op::Line { .. } | Op::Release { .. }), "{op:?} is no edge");
            return;
        }
        assert!(!Self::in_service(before, pin), "{op:?}: pin {pin} twice for one assertion");
        assert!(!self.ended.contains(pin), "{op:?}: pin {pin} before the second step of its EOI");
        assert_eq!(Self::in_service(&self.chip, pin), taken, "remote IRR when accepted");
    }

    fn active(&self, pin: u8) -> bool {
        let entry = self.chip.entry(pin).expect("a pin");
        let low = self.chip.config().polarity == Polarity::Honour && entry.active_low();
        self.chip.line(pin).expect("a pin").level() != low
    }

    fn check(&self) {
        let state = self.chip.state();
        let restored = IoApic::from_state(*self.chip.config(), &state).expect("reachable");
        assert_eq!(restored.state(), state, "save, restore, save");
        let level_vectors = self.chip.level_vectors();
        let listed = |vector: u8| level_vectors[usize::from(vector >> 6)] >> (vector & 63) & 1 != 0;
        for (pin, saved) in (0..).zip(&state.pins) {
            let entry = self.chip.entry(pin).expect("a pin");
            assert_eq!(restored.entry(pin), Some(entry), "the guest sees no difference");
            assert_eq!(entry.remote_irr(), saved.in_service.is_some());
            assert!(entry.level() || !entry.remote_irr(), "remote IRR of an edge pin");
            assert!(saved.in_service.is_none_or(listed), "an EOI that nobody would hear");
            let hears = entry.trigger_mode().is_level() && !entry.masked();
            assert!(!hears || listed(entry.vector()));
        }
    }

    /// The guest ends everything and the local APICs take everything: no interrupt is left.
    fn finish(&mut self) {
        self.bus.answer = 2;
        for vector in 0..=u8::MAX {
            let _ = self.chip.eoi(vector, &mut self.bus);
        }
        let _ = self.chip.service(PinSet::ALL, self.now, &mut self.bus);
        for pin in 0..self.pins() {
            assert!(!Self::in_service(&self.chip, pin), "remote IRR of pin {pin} is stranded");
        }
        self.bus.answer = 0;
        self.now = self.chip.next_deadline().unwrap_or(self.now).saturating_add(1 << 20);
        let _ = self.chip.advance(self.now, &mut self.bus);
        assert_eq!(self.chip.next_deadline(), None);
        let _ = self.chip.service(PinSet::ALL, self.now, &mut self.bus);
        for pin in 0..self.pins() {
            let entry = self.chip.entry(pin).expect("a pin");
            let sendable = entry.message(self.chip.config().extended_destination).is_some();
            assert!(!entry.delivery_status() || !sendable, "pin {pin} is stranded");
        }
    }
}

/// Inputs to start from.
pub fn seeds() -> Vec<(&'static str, Input)> {
    const LEVEL: u32 = 1 << 15;
    const MASKED: u32 = 1 << 16;
    const EXTINT: u32 = 7 << 8;
    let pc = Setup { pins: 0, flags: 0, storm_limit: 4, pause: 1000 };
    let low = |pin, value| Op::Entry { pin, high: false, value };
    let line = |pin, source, level| Op::Line { pin, source, level };
    let edge = vec![
        low(4, 0x31),
        line(4, 0, true),
        line(4, 0, false),
        low(4, MASKED | 0x31),
        line(4, 0, true),
        low(4, 0x31),
        Op::SaveRestore,
    ];
    let shared_level = vec![
        low(9, LEVEL | 0x41),
        line(9, 0, true),
        line(9, 1, true),
        low(9, LEVEL | MASKED | 0x41),
        low(9, LEVEL | 0x42),
        Op::EoiOf { n: 0 },
        Op::SaveRestore,
        Op::Service,
        line(9, 0, false),
        Op::Release { source: 1 },
        Op::EoiOf { n: 0 },
        Op::Service,
    ];
    let mut storm = vec![low(10, LEVEL | 0x51), line(10, 0, true)];
    for _ in 0..6 {
        storm.extend([Op::EoiOf { n: 0 }, Op::Service]);
    }
    storm.extend([Op::Pass { ns: 500 }, Op::Pass { ns: 600 }]);
    let wire = vec![
        Op::Accept { answer: 2 },
        low(0, EXTINT),
        line(0, 0, true),
        low(3, LEVEL | 0x61),
        line(3, 0, true),
        Op::Accept { answer: 0 },
        Op::ServiceAll,
        low(3, 0x61),
        Op::RawWrite { offset: Num(0x40), data: Data(vec![0x61, 0, 0, 0]) },
    ];
    let restore = Op::Restore {
        ioregsel: 0x10,
        id: 1,
        pin: 5,
        entry: Num((LEVEL | 0x71).into()),
        in_service: Some(0x70),
        line: 3,
    };
    let honour = Setup { pins: 48, flags: 6, storm_limit: 200, pause: 10 };
    let active_low = vec![restore, low(7, LEVEL | 1 << 13 | 0x81), Op::Service, Op::EoiOf { n: 1 }];
    vec![
        ("edge", Input { setup: pc.clone(), ops: edge }),
        ("shared_level", Input { setup: pc.clone(), ops: shared_level }),
        ("storm", Input { setup: pc.clone(), ops: storm }),
        ("virtual_wire", Input { setup: pc, ops: wire }),
        ("active_low", Input { setup: honour, ops: active_low }),
    ]
}
