// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! ALL-3, IOA-9: saved state.

use irq_routing::{Delivery, Line};

use super::{edge, level, vectors_of, Bench, A, B, NONE};
use crate::{Config, ConfigError, IoApic, IoApicState, PinSet, PinState, StateError};

/// A machine in the middle of things: in service, stale, pending, masked, edge.
fn busy() -> Bench {
    let mut bench = Bench::programmed(1, level(0x31));
    bench.program(2, level(0x32));
    bench.program(3, edge(0x33));
    bench.program(4, level(0x34).with_masked(true));
    for pin in 1..5 {
        let _ = bench.set(pin, A, true);
    }
    bench.program(2, level(0x3f));
    bench.program(5, level(0x35).with_destination_low(3));
    bench.log.answer = Delivery::Ignored;
    let _ = bench.set(5, B, true);
    bench.log.answer = Delivery::Delivered(1);
    bench.write_register(0, 0x0b00_0000);
    bench.write(crate::spec::IOREGSEL, 0x17);
    let _ = bench.sent();
    bench
}

fn restored(state: &IoApicState) -> Bench {
    Bench::with(IoApic::from_state(Config::default(), state).unwrap())
}

#[test]
fn all_3_the_default_state_is_that_after_reset() {
    assert_eq!(IoApic::new(Config::default()).unwrap().state(), IoApicState::default());
}

#[test]
fn all_3_save_restore_save_is_the_identity_in_the_middle_of_delivery() {
    let mut bench = busy();
    let state = bench.ioapic.state();
    assert_eq!(restored(&state).ioapic.state(), state);
    let ended = bench.begin_eoi(0x31);
    assert!(!ended.is_empty());
    let between = bench.ioapic.state();
    assert_eq!(restored(&between).ioapic.state(), between);
}

#[test]
fn all_3_a_restored_machine_goes_on_where_it_was() {
    let mut bench = restored(&busy().ioapic.state());
    assert_eq!(vectors_of(bench.ioapic.level_vectors()), [0x31, 0x32, 0x35, 0x3f]);
    let _ = bench.service(PinSet::ALL);
    assert_eq!(bench.vectors(), [0x35], "what nobody had taken; nothing else is sent twice");
    let _ = bench.eoi(0x31);
    assert_eq!(bench.vectors(), [0x31]);
    let _ = bench.eoi(0x32);
    assert_eq!(bench.vectors(), [0x3f], "ended by its stale vector");
    bench.program(4, level(0x34));
    assert_eq!(bench.vectors(), [0x34]);
}

#[test]
fn all_3_an_eoi_between_its_steps_is_completed_after_the_restore() {
    let mut bench = Bench::programmed(1, level(0x31));
    let _ = bench.set(1, A, true);
    let _ended = bench.begin_eoi(0x31);
    let mut bench = restored(&bench.ioapic.state());
    assert_eq!(bench.service(PinSet::ALL), Delivery::Delivered(1));
}

#[test]
fn ioa_9_a_restored_level_is_not_counted_twice() {
    let mut bench = restored(&busy().ioapic.state());
    for pin in 1..5 {
        let _ = bench.set(pin, A, true);
    }
    assert_eq!(bench.vectors(), NONE, "neither the edge nor the levels in service");
    let _ = bench.set(1, A, false);
    assert_eq!(bench.ioapic.line(1), Some(Line::default()), "once is enough to lower it");
}

#[test]
fn all_3_a_pause_ends_with_a_restore() {
    let storm_guard = crate::StormGuard { limit: 1, pause_ns: 1_000 };
    let config = Config { storm_guard, ..Config::default() };
    let mut bench = Bench::new(config);
    bench.program(1, level(0x31));
    let _ = bench.set(1, A, true);
    let _ = bench.eoi(0x31);
    assert_eq!(bench.ioapic.next_deadline(), Some(1_000));
    let state = bench.ioapic.state();
    let mut bench = Bench::with(IoApic::from_state(config, &state).unwrap());
    assert_eq!(bench.ioapic.next_deadline(), None);
    assert_eq!(bench.service(PinSet::ALL), Delivery::Delivered(1));
}

#[test]
fn all_3_impossible_states_are_errors() {
    let error = |change: fn(&mut IoApicState)| {
        let mut state = IoApicState::default();
        change(&mut state);
        IoApic::from_state(Config::default(), &state).unwrap_err()
    };
    assert_eq!(
        error(|state| state.pins.truncate(23)),
        StateError::Pins { expected: 24, found: 23 }
    );
    assert_eq!(
        error(|state| state.pins.resize(100_000, PinState::default())),
        StateError::Pins { expected: 24, found: 100_000 }
    );
    assert_eq!(error(|state| state.ioregsel = 0x100), StateError::Ioregsel(0x100));
    assert_eq!(error(|state| state.id = 0x10), StateError::Id(0x10));
    for bit in [12, 14, 17, 48, 49, 55] {
        let entry = 1 << bit;
        let mut state = IoApicState::default();
        state.pins[7].entry = entry;
        let result = IoApic::from_state(Config::default(), &state);
        assert_eq!(result.unwrap_err(), StateError::Entry { pin: 7, entry });
    }
    assert_eq!(error(|state| state.pins[3].in_service = Some(0x31)), StateError::RemoteIrr(3));
    let config = Config { pins: 0, ..Config::default() };
    let result = IoApic::from_state(config, &IoApicState::default());
    assert_eq!(result.unwrap_err(), StateError::Config(ConfigError::Pins(0)));
}

#[test]
fn all_3_what_the_config_allows_is_restored() {
    let config = Config { pins: 200, extended_destination: true, ..Config::default() };
    let mut bench = Bench::new(config);
    bench.program(199, level(0x31).with_destination_high(0x7f));
    let state = bench.ioapic.state();
    assert_eq!(state.ioregsel, 0x10 + 2 * 199);
    assert_eq!(IoApic::from_state(config, &state).unwrap().state(), state);
}

#[cfg(feature = "serde")]
#[test]
fn all_3_state_survives_serialization() {
    let state = busy().ioapic.state();
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<IoApicState>(&text).unwrap(), state);
}
