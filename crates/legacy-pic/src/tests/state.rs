// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! ALL-3: what a restored state may not be, and what must survive.

use super::*;
use crate::state::{ChipState, InvalidState, PicState, Step};

fn refused(spoil: impl Fn(&mut PicState)) -> InvalidState {
    let mut state = Bench::linux().0.state();
    assert!(PicPair::from_state(&state).is_ok());
    spoil(&mut state);
    PicPair::from_state(&state).unwrap_err()
}

#[test]
fn all_3_the_default_state_is_power_on() {
    assert_eq!(PicPair::from_state(&PicState::default()), Ok(PicPair::new()));
    assert_eq!(PicPair::new().state(), PicState::default());
}

#[test]
fn all_3_impossible_states_are_refused() {
    let lowest = refused(|state| state.master.lowest_priority = 8);
    assert_eq!(lowest, InvalidState::LowestPriority(8));
    assert_eq!(refused(|state| state.master.elcr = 1), InvalidState::Elcr(1));
    assert_eq!(refused(|state| state.slave.elcr = 0x20), InvalidState::Elcr(0x20));
    assert_eq!(refused(|state| state.ended = 4), InvalidState::Ended(4));
    let words: [fn(&mut ChipState); 8] = [
        |chip| chip.icw1 = 0x01,
        |chip| chip.icw2 = 0x31,
        |chip| chip.icw4 = 0x21,
        |chip| chip.icw1 = 0x10,
        |chip| chip.step = Step::PowerOn,
        |chip| (chip.step, chip.icw1, chip.icw4) = (Step::Icw4, 0x10, 0),
        |chip| (chip.step, chip.icw1) = (Step::Icw3, 0x13),
        |chip| (chip.step, chip.icw1) = (Step::Icw2, 0),
    ];
    for spoil in words {
        assert!(matches!(refused(|s| spoil(&mut s.master)), InvalidState::CommandWords(_)));
        assert!(matches!(refused(|s| spoil(&mut s.slave)), InvalidState::CommandWords(_)));
    }
    let id = refused(|state| state.slave.icw3 = 8);
    assert_eq!(id, InvalidState::CommandWords(Step::Ready));
}

#[test]
fn all_3_a_restored_level_is_not_counted_twice() {
    let mut bench = Bench::linux();
    let _ = bench.raise(5);
    let mut restored = Bench(PicPair::from_state(&bench.0.state()).unwrap());
    assert_eq!(restored.raise(5), Delivery::Ignored, "its source says again what was saved");
    assert_eq!(restored.drain(), [0x35]);
}

#[test]
fn all_3_service_polls_initialization_and_undrained_ends_survive() {
    let mut bench = Bench::linux();
    let _ = bench.raise(9);
    assert!(bench.cpu().is_some());
    let _ = bench.pulse(12);
    bench.out(S, EOI).out(S, 0x0c).out(M, 0x11).out(MD, 0x50);
    let mut restored = Bench(PicPair::from_state(&bench.0.state()).unwrap());
    assert_eq!(restored.0.drain_eoi(), 1 << 9);
    assert_eq!(restored.inb(S), 0x84, "the pending poll");
    restored.out(MD, 0x04).out(MD, 0x01);
    let _ = restored.raise(3);
    assert_eq!(restored.cpu(), Some(0x53), "ICW2 was already in");
}

#[test]
fn all_3_a_slave_request_that_the_master_has_not_seen_is_not_lost() {
    let mut state = Bench::linux().0.state();
    // What KVM saves: its cascade is a pulse, so the line is low while the slave asks.
    (state.slave.irr, state.slave.lines) = (0x02, 0x02);
    assert_eq!((state.master.irr, state.master.lines), (0, 0));
    let mut restored = Bench(PicPair::from_state(&state).unwrap());
    assert_eq!(restored.drain(), [0x39]);
}
