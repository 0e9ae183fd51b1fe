// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! ALL-2, ALL-3: whatever a guest, a device or a saved state does.

use std::vec;
use std::vec::Vec;

use irq_routing::{Delivery, InterruptMessage, Line, SourceId};
use proptest::prelude::*;

use crate::spec::{EOI, IOREGSEL, IOWIN};
use crate::{
    Config, IoApic, IoApicEvents, IoApicState, PinSet, PinState, Polarity, Rte, StormGuard, Version,
};

/// What can happen to an IOAPIC.
#[derive(Clone, Debug)]
enum Action {
    Write {
        offset: u64,
        data: Vec<u8>,
    },
    Read {
        offset: u64,
        len: usize,
    },
    Program {
        index: u8,
        value: u32,
    },
    SetIrq {
        pin: u8,
        source: u8,
        level: bool,
    },
    Eoi(u8),
    /// An EOI whose second step comes with some later `Service`.
    HalfEoi(u8),
    Service(PinSet),
    Advance(u64),
    Release(u8),
    Reset,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let offset = prop_oneof![Just(IOREGSEL), Just(IOWIN), Just(EOI), 0..0x60u64, any::<u64>()];
    let data = prop::collection::vec(any::<u8>(), 0..12);
    let source = 0..SourceId::MAX;
    let action = prop_oneof![
        1 => (offset.clone(), data).prop_map(|(offset, data)| Action::Write { offset, data }),
        1 => (offset, 0..40usize).prop_map(|(offset, len)| Action::Read { offset, len }),
        6 => (0x10..0x20u8, likely_entry()).prop_map(|(index, value)| Action::Program { index, value }),
        6 => (0..10u8, source.clone(), any::<bool>())
            .prop_map(|(pin, source, level)| Action::SetIrq { pin, source: source % 3, level }),
        4 => (0x30..0x34u8).prop_map(Action::Eoi),
        1 => any::<u8>().prop_map(Action::Eoi),
        2 => (0x30..0x34u8).prop_map(Action::HalfEoi),
        2 => prop::collection::vec(any::<u8>(), 0..3)
            .prop_map(|pins| Action::Service(pins.into_iter().collect())),
        1 => Just(Action::Service(PinSet::ALL)),
        1 => prop_oneof![0..100u64, any::<u64>()].prop_map(Action::Advance),
        1 => source.prop_map(Action::Release),
        1 => Just(Action::Reset),
    ];
    prop::collection::vec(action, 0..120)
}

/// Low halves of entries that interact: few vectors, often level, often unmasked.
fn likely_entry() -> impl Strategy<Value = u32> {
    let typical = (0x30..0x34u32, any::<bool>(), any::<bool>(), prop::bool::weighted(0.3))
        .prop_map(|(vector, level, low, masked)| {
            vector | u32::from(low) << 13 | u32::from(level) << 15 | u32::from(masked) << 16
        });
    prop_oneof![4 => typical, 1 => any::<u32>()]
}

fn configs() -> impl Strategy<Value = Config> {
    let pins = prop_oneof![Just(8u8), 1..=240u8];
    (pins, any::<bool>(), any::<bool>(), any::<bool>(), 1..5u32).prop_map(
        |(pins, v11, honour, extended_destination, limit)| Config {
            pins,
            version: if v11 { Version::V11 } else { Version::V20 },
            polarity: if honour { Polarity::Honour } else { Polarity::Ignore },
            extended_destination,
            storm_guard: StormGuard { limit, pause_ns: 100 },
            ..Config::default()
        },
    )
}

/// Answers as its pattern says, and remembers what was sent.
#[derive(Clone, Debug, Default)]
struct Sink {
    sent: Vec<InterruptMessage>,
    refuse: u64,
}

impl IoApicEvents for Sink {
    fn message(&mut self, message: InterruptMessage) -> Delivery {
        self.refuse = self.refuse.rotate_left(1);
        self.sent.push(message);
        if self.refuse & 1 != 0 {
            Delivery::Ignored
        } else {
            Delivery::Delivered(1)
        }
    }
}

fn apply(ioapic: &mut IoApic, action: &Action, sink: &mut Sink) {
    match action {
        Action::Write { offset, data } => {
            let ready = ioapic.write(*offset, data, sink);
            let _ = ioapic.service(ready, 0, sink);
        }
        Action::Read { offset, len } => ioapic.read(*offset, &mut vec![0; *len]),
        Action::Program { index, value } => {
            let _ = ioapic.write(IOREGSEL, &[*index], sink);
            let ready = ioapic.write(IOWIN, &value.to_le_bytes(), sink);
            let _ = ioapic.service(ready, 0, sink);
        }
        Action::SetIrq { pin, source, level } => {
            let source = SourceId::new(*source).unwrap();
            let exists = *pin < ioapic.config().pins;
            assert_eq!(ioapic.set_irq(*pin, source, *level, sink).is_ok(), exists);
        }
        Action::Eoi(vector) => {
            let ended = ioapic.eoi(*vector, sink);
            let _ = ioapic.service(ended, 0, sink);
        }
        Action::HalfEoi(vector) => {
            let _ = ioapic.eoi(*vector, sink);
        }
        Action::Service(pins) => {
            let _ = ioapic.service(*pins, 0, sink);
        }
        Action::Advance(now) => {
            let _ = ioapic.advance(*now, sink);
        }
        Action::Release(source) => ioapic.release(SourceId::new(*source).unwrap(), sink),
        Action::Reset => ioapic.reset(sink),
    }
}

/// What holds at any time.
fn check_invariants(ioapic: &IoApic) {
    let vectors = ioapic.level_vectors();
    for pin in 0..ioapic.config().pins {
        let entry = ioapic.entry(pin).unwrap();
        assert!(entry.level() || !entry.remote_irr(), "remote IRR of an edge pin");
        assert!(!(entry.delivery_status() && entry.remote_irr()), "pending and accepted");
        assert!(!(entry.delivery_status() && entry.masked()), "pending though masked");
        let vector = entry.vector();
        if entry.trigger_mode().is_level() && !entry.masked() {
            assert!(vectors[usize::from(vector >> 6)] >> (vector & 63) & 1 != 0);
        }
    }
}

/// Ends everything, with everybody listening: nothing may stay in service or unsent.
fn drain(mut ioapic: IoApic) {
    let mut sink = Sink::default();
    let _ = ioapic.advance(u64::MAX, &mut sink);
    let _ = ioapic.service(PinSet::ALL, 0, &mut sink);
    let _ = ioapic.advance(u64::MAX, &mut sink);
    assert_eq!(ioapic.next_deadline(), None);
    for pin in 0..ioapic.config().pins {
        assert!(!ioapic.entry(pin).unwrap().delivery_status(), "unsent on pin {pin}");
    }
    let vectors = ioapic.level_vectors();
    for vector in 0..=255u8 {
        if vectors[usize::from(vector >> 6)] >> (vector & 63) & 1 != 0 {
            let _ = ioapic.eoi(vector, &mut sink);
        }
    }
    for pin in 0..ioapic.config().pins {
        assert!(!ioapic.entry(pin).unwrap().remote_irr(), "stranded on pin {pin}");
    }
}

fn arbitrary_state() -> impl Strategy<Value = IoApicState> {
    let pin = (any::<u64>(), any::<bool>(), prop::option::of(any::<u8>()), any::<u64>()).prop_map(
        |(bits, legal, in_service, sources)| PinState {
            entry: if legal { bits & Rte::writable(false) } else { bits },
            in_service: in_service.filter(|_| !legal || Rte::from_bits(bits).level()),
            line: Line { sources },
        },
    );
    let legal_pin = pin.clone().prop_filter_map("legal", |pin: PinState| {
        let legal = pin.entry & !Rte::writable(false) == 0
            && (pin.in_service.is_none() || Rte::from_bits(pin.entry).level());
        legal.then_some(pin)
    });
    let pins = prop_oneof![
        3 => prop::collection::vec(legal_pin, 8),
        1 => prop::collection::vec(pin, 0..300),
    ];
    (prop_oneof![0..0x100u16, any::<u16>()], prop_oneof![0..16u8, any::<u8>()], pins)
        .prop_map(|(ioregsel, id, pins)| IoApicState { ioregsel, id, pins })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_2_nothing_a_guest_or_a_device_does_breaks_it(
        config in configs(), actions in actions(), refuse in any::<u64>(),
    ) {
        let mut ioapic = IoApic::new(config).unwrap();
        let mut sink = Sink { refuse, ..Sink::default() };
        for action in &actions {
            let in_service: PinSet = in_service(&ioapic);
            let sent = sink.sent.len();
            apply(&mut ioapic, action, &mut sink);
            check_invariants(&ioapic);
            // One action sends at most one message for each pin, and none for a pin that was in
            // service all along (IOA-4).
            let idle = u32::from(config.pins) - (in_service & self::in_service(&ioapic)).len();
            let ended = matches!(action, Action::Eoi(_) | Action::Write { offset: EOI, .. });
            prop_assert!(ended || sink.sent.len() - sent <= idle as usize);
            prop_assert!(sink.sent.len() - sent <= usize::from(config.pins));
        }
        drain(ioapic);
    }

    #[test]
    fn all_2_no_restored_state_breaks_it(state in arbitrary_state(), actions in actions()) {
        let config = Config { pins: 8, ..Config::default() };
        if let Ok(mut ioapic) = IoApic::from_state(config, &state) {
            prop_assert_eq!(ioapic.state(), state);
            let mut sink = Sink::default();
            for action in &actions {
                apply(&mut ioapic, action, &mut sink);
                check_invariants(&ioapic);
            }
            drain(ioapic);
        }
    }

    #[test]
    fn all_3_a_restored_ioapic_behaves_as_the_saved_one(
        config in configs(), before in actions(), after in actions(),
    ) {
        let mut saved = IoApic::new(config).unwrap();
        let mut sink = Sink::default();
        before.iter().for_each(|action| apply(&mut saved, action, &mut sink));
        // Pauses and half-done EOIs end with a restore: end them here as well.
        let _ = saved.service(PinSet::ALL, 0, &mut sink);
        let _ = saved.advance(u64::MAX, &mut sink);
        let state = saved.state();
        // The storm guard's count is not saved.
        let config = Config { storm_guard: StormGuard { limit: u32::MAX, pause_ns: 1 }, ..config };
        saved.config.storm_guard = config.storm_guard;
        let mut restored = IoApic::from_state(config, &state).unwrap();
        prop_assert_eq!(&restored.state(), &state);
        let (mut ours, mut theirs) = (Sink::default(), Sink::default());
        for action in after.iter().filter(|action| !matches!(action, Action::Reset)) {
            apply(&mut saved, action, &mut theirs);
            apply(&mut restored, action, &mut ours);
            prop_assert_eq!(&ours.sent, &theirs.sent);
            prop_assert_eq!(restored.state(), saved.state());
        }
    }
}

fn in_service(ioapic: &IoApic) -> PinSet {
    let pins = 0..ioapic.config().pins;
    pins.filter(|pin| ioapic.entry(*pin).is_some_and(|entry| entry.remote_irr())).collect()
}
