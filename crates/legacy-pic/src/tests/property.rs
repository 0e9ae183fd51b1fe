// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The model against the reference, and against everything a guest can do to it.

use proptest::prelude::*;
use std::vec::Vec;

use super::reference::{Init, ReferencePair};
use super::*;
use crate::chip::Chip;
use crate::spec::Icw4;
use crate::state::{ChipState, PicState, Step};

#[derive(Clone, Debug)]
enum Action {
    Drive(u8, bool),
    Initialize(usize, Init),
    Mask(usize, u8),
    Ocw2(usize, u8, u8),
    SpecialMask(usize, bool),
    Elcr(usize, u8),
    Poll(usize),
    Inta,
    IntaIfAsked,
}

fn action() -> impl Strategy<Value = Action> {
    let init = (any::<u8>(), 0..4u8, any::<bool>(), any::<bool>());
    prop_oneof![
        12 => (0..16u8, any::<bool>()).prop_map(|(pin, high)| Action::Drive(pin, high)),
        1 => (0..2usize, init).prop_map(|(chip, (base, ltim, aeoi, sfnm))| {
            Action::Initialize(chip, Init { base, ltim: ltim == 0, aeoi, sfnm })
        }),
        2 => (0..2usize, any::<u8>(), any::<u8>()).prop_map(|(c, a, b)| Action::Mask(c, a & b)),
        5 => (0..2usize, 0..8u8, 0..8u8).prop_map(|(c, cmd, n)| Action::Ocw2(c, cmd, n)),
        1 => (0..2usize, any::<bool>()).prop_map(|(chip, set)| Action::SpecialMask(chip, set)),
        1 => (0..2usize, any::<u8>()).prop_map(|(chip, value)| Action::Elcr(chip, value)),
        2 => (0..2usize).prop_map(Action::Poll),
        1 => Just(Action::Inta),
        6 => Just(Action::IntaIfAsked),
    ]
}

/// Does the same to both and compares what comes out.
fn step(bench: &mut Bench, reference: &mut ReferencePair, action: &Action) {
    let command = |chip: &usize| [M, S][*chip];
    match action {
        Action::Drive(pin, high) => {
            let _ = bench.0.set_irq(*pin, *high).unwrap();
            reference.drive((*pin).into(), *high);
        }
        Action::Initialize(chip, init) => {
            let icw1 = 0x11 | u8::from(init.ltim) << 3;
            let icw4 = 0x01 | u8::from(init.aeoi) << 1 | u8::from(init.sfnm) << 4;
            let icw3 = [0x04, 0x02][*chip];
            bench.icws(command(chip), &[icw1, init.base, icw3, icw4]);
            reference.initialize(*chip, init);
        }
        Action::Mask(chip, mask) => {
            bench.out(command(chip) + 1, *mask);
            reference.ocw1(*chip, *mask);
        }
        Action::Ocw2(chip, cmd, n) => {
            bench.out(command(chip), cmd << 5 | n);
            reference.ocw2(*chip, *cmd, (*n).into());
        }
        Action::SpecialMask(chip, set) => {
            bench.out(command(chip), 0x48 | u8::from(*set) << 5);
            reference.special_mask(*chip, *set);
        }
        Action::Elcr(chip, value) => {
            bench.out([0x4d0, 0x4d1][*chip], *value);
            reference.elcr(*chip, *value);
        }
        Action::Poll(chip) => assert_eq!(bench.poll(command(chip)), reference.poll(*chip)),
        Action::Inta => assert_eq!(bench.0.inta(), reference.inta()),
        Action::IntaIfAsked => {
            if reference.int() {
                assert_eq!(bench.cpu(), reference.inta());
            }
        }
    }
    assert_eq!(bench.0.intr(), reference.int(), "INT after {action:?}");
    assert_eq!([bench.irr(M), bench.irr(S)], reference.irr(), "IRR after {action:?}");
    assert_eq!([bench.isr(M), bench.isr(S)], reference.isr(), "ISR after {action:?}");
}

#[derive(Clone, Debug)]
enum Guest {
    Write(u16, Vec<u8>),
    Read(u16, usize),
    Pin(u8, bool),
    Inta,
    Drain,
    Reset,
}

fn port() -> impl Strategy<Value = u16> {
    let known = prop::sample::select(&[0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1][..]);
    prop_oneof![20 => known, 1 => any::<u16>()]
}

fn guest() -> impl Strategy<Value = Guest> {
    let bytes = prop_oneof![
        20 => prop::collection::vec(any::<u8>(), 1),
        1 => prop::collection::vec(any::<u8>(), 0..9),
    ];
    prop_oneof![
        8 => (port(), bytes).prop_map(|(port, bytes)| Guest::Write(port, bytes)),
        4 => (port(), 0..9usize).prop_map(|(port, width)| Guest::Read(port, width)),
        6 => (any::<u8>(), any::<bool>()).prop_map(|(pin, high)| Guest::Pin(pin % 20, high)),
        4 => Just(Guest::Inta),
        1 => Just(Guest::Drain),
        1 => Just(Guest::Reset),
    ]
}

fn run(pic: &mut PicPair, guest: &[Guest]) {
    for access in guest {
        match access {
            Guest::Write(port, bytes) => {
                let _ = pic.write(*port, bytes);
            }
            Guest::Read(port, width) => {
                let _ = pic.read(*port, &mut [0; 9][..*width]);
            }
            Guest::Pin(pin, high) => assert_eq!(pic.set_irq(*pin, *high).is_ok(), *pin < 16),
            Guest::Inta => {
                let (intr, peeked, ready) = (pic.intr(), pic.peek(), pic.master.ready());
                assert_eq!(intr, peeked.is_some());
                let vector = pic.inta();
                assert_eq!(vector.is_some(), ready);
                if intr {
                    assert_eq!(vector, peeked);
                }
            }
            Guest::Drain => assert_eq!(pic.drain_eoi() & 4, 0),
            Guest::Reset => pic.reset(),
        }
    }
}

const STEPS: [Step; 5] = [Step::PowerOn, Step::Icw2, Step::Icw3, Step::Icw4, Step::Ready];

fn chip_state() -> impl Strategy<Value = ChipState> {
    let step = prop_oneof![1 => prop::sample::select(&STEPS[..]), 3 => Just(Step::Ready)];
    // Mostly what passes the checks, sometimes what does not.
    let elcr = prop_oneof![3 => any::<u8>().prop_map(|elcr| elcr & 0xd8), 1 => any::<u8>()];
    let fit = (any::<u8>(), 0..8u8)
        .prop_map(|(word, icw3)| [word & 0xf7 | 0x11, word & 0xf8, icw3, word & 0x1f]);
    let words = prop_oneof![6 => fit, 1 => any::<[u8; 4]>(), 1 => Just([0; 4])];
    let lowest = prop_oneof![8 => 0..8u8, 1 => any::<u8>()];
    (any::<[u8; 4]>(), elcr, lowest, step, words, any::<[bool; 4]>()).prop_map(
        |([irr, isr, imr, lines], elcr, lowest_priority, step, icws, flags)| ChipState {
            irr,
            isr,
            imr,
            lines,
            elcr,
            lowest_priority,
            step,
            icw1: icws[0],
            icw2: icws[1],
            icw3: icws[2],
            icw4: icws[3],
            rotate_on_auto_eoi: flags[0],
            special_mask: flags[1],
            read_isr: flags[2],
            poll: flags[3],
        },
    )
}

pub(crate) fn pic_state() -> impl Strategy<Value = PicState> {
    (chip_state(), chip_state(), any::<u16>()).prop_map(|(master, slave, ended)| PicState {
        master,
        slave,
        ended: ended & !4,
    })
}

/// Long enough that most runs initialize both chips and serve dozens of requests.
const ACTIONS: core::ops::Range<usize> = 1..200;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pic_9_agrees_with_the_reference(actions in prop::collection::vec(action(), ACTIONS)) {
        let mut bench = Bench::new();
        let mut reference = ReferencePair::new();
        for chip in [0, 1] {
            let init = Init { base: 0x30 + 8 * chip as u8, ltim: false, aeoi: false, sfnm: false };
            step(&mut bench, &mut reference, &Action::Initialize(chip, init));
        }
        for action in &actions {
            step(&mut bench, &mut reference, action);
        }
    }

    #[test]
    fn pic_10_agrees_with_the_reference_from_power_on(
        actions in prop::collection::vec(action(), ACTIONS),
    ) {
        let (mut bench, mut reference) = (Bench::new(), ReferencePair::new());
        for action in &actions {
            step(&mut bench, &mut reference, action);
        }
    }

    #[test]
    fn all_2_any_guest_on_any_state(
        state in pic_state(),
        accesses in prop::collection::vec(guest(), 0..100),
    ) {
        if let Ok(mut pic) = PicPair::from_state(&state) {
            run(&mut pic, &accesses);
        }
        run(&mut PicPair::new(), &accesses);
    }

    #[test]
    fn all_3_save_restore_save_is_the_identity(
        state in pic_state(),
        before in prop::collection::vec(guest(), 0..60),
        after in prop::collection::vec(guest(), 0..60),
    ) {
        if let Ok(restored) = PicPair::from_state(&state) {
            prop_assert_eq!(restored.state(), state);
        }
        let mut pic = PicPair::new();
        run(&mut pic, &before);
        let mut restored = PicPair::from_state(&pic.state()).unwrap();
        prop_assert_eq!(&restored, &pic);
        run(&mut pic, &after);
        run(&mut restored, &after);
        prop_assert_eq!(restored.state(), pic.state(), "and they go on alike");
    }
}

/// The data sheet's definition of the winner, level by level.
fn walk(chip: &Chip, requests: u8) -> Option<u8> {
    for rank in 1..=8 {
        let level = (chip.lowest + rank) % 8;
        let bit = 1 << level;
        let asks = requests & !chip.imr & bit != 0;
        let blocks = chip.isr & bit != 0 && !(chip.special_mask && chip.imr & bit != 0);
        let nested = chip.icw4.sfnm() && chip.slaves() & bit != 0;
        if asks && (!blocks || nested) {
            return Some(level);
        }
        if blocks {
            return None;
        }
    }
    None
}

#[test]
fn pic_9_resolver_agrees_with_the_definition_everywhere() {
    for modes in 0..4u8 {
        for lowest in 0..8 {
            let mut chip = Chip::new(true);
            chip.lowest = lowest;
            chip.icw3 = 0x04;
            chip.special_mask = modes & 1 != 0;
            chip.icw4 = Icw4::new().with_sfnm(modes & 2 != 0);
            for isr in 0..=0xff {
                chip.isr = isr;
                for requests in 0..=0xffu8 {
                    // A mask for each pair that is neither of them.
                    chip.imr = isr.rotate_left(3) & requests.rotate_left(5) ^ isr & requests;
                    assert_eq!(chip.resolve(requests), walk(&chip, requests), "{chip:?}");
                }
            }
        }
    }
}
