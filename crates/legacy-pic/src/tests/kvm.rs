// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! PIC-11: `kvm_pic_state`.

use kvm_bindings::kvm_pic_state;
use proptest::prelude::*;

use super::*;
use crate::kvm::KvmStateError;
use crate::state::PicState;

type Kvm = [kvm_pic_state; 2];

/// Any state that KVM can be in.
fn kvm_chip(elcr_mask: u8) -> impl Strategy<Value = kvm_pic_state> {
    let bits = prop::collection::vec(0..2u8, 7);
    (any::<[u8; 6]>(), 0..8u8, 0..4u8, bits).prop_map(move |(regs, priority_add, step, bits)| {
        let irq_base = regs[5] & 0xf8;
        let uninitialized = step == 0 && irq_base == 0;
        let icw4 = |bit: u8, init4: u8| if uninitialized || init4 == 0 { 0 } else { bit };
        kvm_pic_state {
            last_irr: regs[0],
            irr: regs[1],
            imr: regs[2],
            isr: regs[3],
            priority_add,
            irq_base,
            read_reg_select: bits[0],
            poll: bits[1],
            special_mask: bits[2],
            // Without IC4 there is no wait for ICW4.
            init_state: if bits[6] == 0 && step == 3 { 2 } else { step },
            auto_eoi: icw4(bits[3], bits[6]),
            rotate_on_auto_eoi: bits[4],
            special_fully_nested_mode: icw4(bits[5], bits[6]),
            init4: if uninitialized { 0 } else { bits[6] },
            elcr: regs[4] & elcr_mask,
            elcr_mask,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pic_11_what_kvm_holds_survives_both_ways(
        master in kvm_chip(0xf8),
        slave in kvm_chip(0xde),
    ) {
        let kvm = [master, slave];
        let state = PicState::try_from(&kvm).unwrap();
        let pic = PicPair::from_state(&state).unwrap();
        prop_assert_eq!(Kvm::try_from(&pic.state()), Ok(kvm));
    }

    #[test]
    fn pic_11_what_we_hold_comes_back(state in super::property::pic_state()) {
        let Ok(pic) = PicPair::from_state(&state) else { return Ok(()) };
        let Ok(kvm) = Kvm::try_from(&pic.state()) else { return Ok(()) };
        let mut back = PicState::try_from(&kvm).unwrap();
        prop_assert_eq!(Kvm::try_from(&back), Ok(kvm));
        // What the structure lacks and no interrupt depends on.
        for (back, ours) in [(&mut back.master, state.master), (&mut back.slave, state.slave)] {
            back.icw1 |= ours.icw1 & 0xe4;
            back.icw4 = back.icw4 & 0x12 | ours.icw4 & 0x0d;
            back.icw3 = ours.icw3;
        }
        back.ended = state.ended;
        prop_assert_eq!(back, state);
    }

    #[test]
    fn all_2_any_kvm_state_is_taken_or_refused(bytes in any::<[[u8; 16]; 2]>()) {
        let kvm = bytes.map(|b| kvm_pic_state {
            last_irr: b[0], irr: b[1], imr: b[2], isr: b[3], priority_add: b[4] & 15,
            irq_base: b[5], read_reg_select: b[6] & 1, poll: b[7] & 1, special_mask: b[8] & 1,
            init_state: b[9] & 7, auto_eoi: b[10] & 1, rotate_on_auto_eoi: b[11] & 1,
            special_fully_nested_mode: b[12] & 3, init4: b[13] & 1, elcr: b[14],
            elcr_mask: if b[15] & 1 == 0 { 0xf8 } else { 0xde },
        });
        if let Ok(state) = PicState::try_from(&kvm) {
            prop_assert!(PicPair::from_state(&state).is_ok());
        }
    }
}

#[test]
fn pic_11_fields_mean_what_kvm_means_by_them() {
    let mut bench = Bench::with_icw4(0x13, 0x01);
    bench.out(0x4d1, 0x04).out(SD, 0x40).out(S, 0xc4).out(S, 0x6b).out(M, 0x80);
    let _ = bench.raise(10);
    let _ = bench.pulse(14);
    assert_eq!(bench.cpu(), Some(0x3a));
    let [master, slave] = Kvm::try_from(&bench.0.state()).unwrap();
    assert_eq!((master.irq_base, slave.irq_base), (0x30, 0x38));
    assert_eq!((master.auto_eoi, master.rotate_on_auto_eoi), (1, 1));
    assert_eq!((master.special_fully_nested_mode, slave.special_fully_nested_mode), (1, 0));
    assert_eq!((master.priority_add, slave.priority_add), (3, 5), "lowest + 1");
    assert_eq!((slave.irr, slave.last_irr, slave.isr), (0x44, 0x04, 0x04));
    assert_eq!((slave.imr, slave.elcr, slave.elcr_mask), (0x40, 0x04, 0xde));
    assert_eq!((slave.special_mask, slave.read_reg_select), (1, 1));
    assert_eq!((slave.init4, slave.init_state, slave.poll), (1, 0, 0));
}

#[test]
fn pic_11_kvms_reset_state_is_uninitialized() {
    let reset = |elcr_mask| kvm_pic_state { elcr_mask, ..Default::default() };
    let kvm = [reset(0xf8), reset(0xde)];
    let mut pic = PicPair::from_state(&PicState::try_from(&kvm).unwrap()).unwrap();
    let _ = pic.set_irq(0, true);
    assert_eq!((pic.intr(), pic.inta()), (false, None));
}

#[test]
fn pic_11_irr_holds_asserted_level_lines_as_kvms_does() {
    let mut bench = Bench::linux();
    bench.out(0x4d0, 0x28);
    let _ = bench.raise(5);
    let irr = |bench: &Bench| Kvm::try_from(&bench.0.state()).unwrap()[0].irr;
    assert_eq!(irr(&bench), 0x20);
    bench.icws(M, &[0x11, 0x30, 0x04, 0x01]);
    assert_eq!(irr(&bench), 0x20, "through an initialization");
    assert_eq!(bench.cpu(), Some(0x35));
    assert_eq!(irr(&bench), 0x20, "and an acknowledge");
    let _ = bench.lower(5);
    assert_eq!(irr(&bench), 0);
}

#[test]
fn pic_11_an_initialization_goes_on_after_the_transfer() {
    let words = [0x11, 0x30, 0x04, 0x03];
    for cut in 1..4 {
        let mut bench = Bench::new();
        bench.icws(M, &words[..cut]);
        let kvm = Kvm::try_from(&bench.0.state()).unwrap();
        assert_eq!(kvm[0].init_state as usize, cut);
        let state = PicState::try_from(&kvm).unwrap();
        let mut bench = Bench(PicPair::from_state(&state).unwrap());
        for word in &words[cut..] {
            bench.out(MD, *word);
        }
        let _ = bench.pulse(1);
        assert_eq!((bench.cpu(), bench.isr(M)), (Some(0x31), 0), "AEOI, cut at {cut}");
    }
}

#[test]
fn pic_11_modes_that_kvm_lacks_are_refused() {
    for icws in [
        &[0x19, 0x30, 0x04, 0x01][..],
        &[0x13, 0x30, 0x01],
        &[0x11, 0x30, 0x00, 0x01],
        &[0x11, 0x00, 0x04, 0x01],
    ] {
        let mut bench = Bench::linux();
        bench.icws(M, icws);
        let error = Kvm::try_from(&bench.0.state()).unwrap_err();
        assert!(matches!(error, KvmStateError::Inexpressible(_)), "{icws:x?}");
    }
}

#[test]
fn pic_11_fields_that_kvm_never_sets_are_refused() {
    let good = Kvm::try_from(&Bench::linux().0.state()).unwrap();
    type Spoil = fn(&mut kvm_pic_state);
    let spoil: [(&str, Spoil); 6] = [
        ("elcr_mask", |chip| chip.elcr_mask = 0xff),
        ("priority_add", |chip| chip.priority_add = 8),
        ("init_state", |chip| chip.init_state = 4),
        ("poll", |chip| chip.poll = 2),
        ("auto_eoi", |chip| chip.auto_eoi = 0xff),
        ("special_mask", |chip| chip.special_mask = 2),
    ];
    for (name, spoil) in spoil {
        for chip in [0, 1] {
            let mut kvm = good;
            spoil(&mut kvm[chip]);
            let error = PicState::try_from(&kvm).unwrap_err();
            assert!(matches!(error, KvmStateError::Field(field, _) if field == name), "{name}");
        }
    }
    let mut kvm = good;
    kvm[0].irq_base = 0x31;
    assert!(matches!(PicState::try_from(&kvm), Err(KvmStateError::State(_))));
}
