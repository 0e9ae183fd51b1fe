// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! IOA-12: `kvm_ioapic_state`.

use irq_routing::{Delivery, SourceId};
use kvm_bindings::{kvm_ioapic_state, kvm_ioapic_state__bindgen_ty_1};
use proptest::prelude::*;

use super::{edge, level, vectors_of, Bench, A, C};
use crate::{Config, IoApic, KvmStateError, PinSet, Polarity, Rte, StateError};

/// Stands for the sources that KVM does not tell apart.
const IMPORTER: SourceId = C;

fn bits(kvm: &kvm_ioapic_state, pin: usize) -> u64 {
    zerocopy::transmute!(kvm.redirtbl[pin])
}

fn imported(kvm: &kvm_ioapic_state) -> Bench {
    Bench::with(IoApic::from_kvm_state(Config::default(), kvm, IMPORTER).unwrap())
}

fn reset() -> kvm_ioapic_state {
    IoApic::new(Config::default()).unwrap().kvm_state().unwrap()
}

#[test]
fn ioa_12_every_field_reaches_kvm() {
    let mut bench = Bench::programmed(4, level(0x31).with_destination_low(2));
    bench.program(5, level(0x32).with_masked(true));
    bench.write_register(0, 0x0300_0000);
    let _ = bench.set(4, A, true);
    let _ = bench.set(5, A, true);
    bench.write(crate::spec::IOREGSEL, 0x19);
    let kvm = bench.ioapic.kvm_state().unwrap();
    assert_eq!((kvm.base_address, kvm.ioregsel, kvm.id, kvm.pad), (0xfec0_0000, 0x19, 3, 0));
    assert_eq!(kvm.irr, 1 << 4 | 1 << 5);
    let in_service = level(0x31).with_destination_low(2).with_remote_irr(true);
    assert_eq!(bits(&kvm, 4), in_service.into_bits());
    assert_eq!(bits(&kvm, 5), level(0x32).with_masked(true).into_bits());
    assert_eq!(bits(&kvm, 6), 0x1_0000);
}

#[test]
fn ioa_12_delivered_edges_are_not_handed_over_again() {
    let mut bench = Bench::programmed(4, edge(0x31));
    bench.program(5, edge(0x32).with_masked(true));
    let _ = bench.set(4, A, true);
    let _ = bench.set(5, A, true);
    // KVM injects whatever is in `irr`; a masked edge stays there while its line is up.
    assert_eq!(bench.ioapic.kvm_state().unwrap().irr, 1 << 5);
}

#[test]
fn ioa_12_every_field_comes_back_from_kvm() {
    let mut kvm = reset();
    kvm.ioregsel = 0x11;
    kvm.id = 9;
    kvm.irr = 1 << 3 | 1 << 4;
    let in_service = level(0x31).with_remote_irr(true);
    kvm.redirtbl[3] = kvm_ioapic_state__bindgen_ty_1 { bits: in_service.into_bits() };
    kvm.redirtbl[4] = kvm_ioapic_state__bindgen_ty_1 { bits: level(0x32).into_bits() };
    let mut bench = imported(&kvm);
    let state = bench.ioapic.state();
    assert_eq!((state.ioregsel, state.id), (0x11, 9));
    assert_eq!(state.pins[3].in_service, Some(0x31));
    assert_eq!(vectors_of(bench.ioapic.level_vectors()), [0x31, 0x32]);
    let _ = bench.service(PinSet::ALL);
    assert_eq!(bench.vectors(), [0x32], "asserted and not in service");
    assert_eq!(bench.eoi(0x31), Delivery::Delivered(1));
}

#[test]
fn ioa_12_bits_that_mean_nothing_are_dropped() {
    let mut kvm = reset();
    // Reserved bits, delivery status, and remote IRR of an edge entry.
    let bits = 0x0055_5555_5554_5031;
    kvm.redirtbl[3] = kvm_ioapic_state__bindgen_ty_1 { bits };
    let bench = imported(&kvm);
    assert_eq!(bench.ioapic.state().pins[3].entry, 0x31);
    assert_eq!(bench.ioapic.state().pins[3].in_service, None);
}

#[test]
fn ioa_12_imported_levels_go_away_with_the_importer() {
    let mut kvm = reset();
    kvm.irr = 1 << 3;
    kvm.redirtbl[3] = kvm_ioapic_state__bindgen_ty_1 { bits: level(0x31).into_bits() };
    let mut bench = imported(&kvm);
    let _ = bench.service(PinSet::ALL);
    let _ = bench.set(3, A, true);
    bench.ioapic.release(IMPORTER, &mut bench.log);
    assert_eq!(bench.ioapic.line(3).unwrap().sources, 1 << A.index());
    assert_eq!(bench.vectors(), [0x31], "counted once");
}

#[test]
fn ioa_12_honoured_polarity_is_taken_into_account() {
    let config = Config { polarity: Polarity::Honour, ..Config::default() };
    let mut bench = Bench::new(config);
    bench.program(3, level(0x31).with_active_low(true));
    let kvm = bench.ioapic.kvm_state().unwrap();
    assert_eq!(kvm.irr, 1 << 3, "low is active");
    let back = IoApic::from_kvm_state(config, &kvm, IMPORTER).unwrap();
    assert_eq!(back.state(), bench.ioapic.state());
}

#[test]
fn ioa_12_other_numbers_of_pins_are_an_error() {
    for pins in [1, 23, 25, 48, 240] {
        let config = Config { pins, ..Config::default() };
        let error = IoApic::new(config).unwrap().kvm_state().unwrap_err();
        assert_eq!(error, KvmStateError::Pins(pins));
        let error = IoApic::from_kvm_state(config, &reset(), IMPORTER).unwrap_err();
        assert_eq!(error, KvmStateError::Pins(pins));
    }
}

#[test]
fn ioa_12_values_out_of_range_are_errors() {
    let error = |change: fn(&mut kvm_ioapic_state)| {
        let mut kvm = reset();
        change(&mut kvm);
        IoApic::from_kvm_state(Config::default(), &kvm, IMPORTER).unwrap_err()
    };
    let (expected, found) = (0xfec0_0000, 0xfec0_1000);
    assert_eq!(error(|k| k.base_address = 0xfec0_1000), KvmStateError::Base { expected, found });
    assert_eq!(error(|k| k.ioregsel = 0x100), StateError::Ioregsel(0x100).into());
    assert_eq!(error(|k| k.ioregsel = 0x1_0000), KvmStateError::Ioregsel(0x1_0000));
    assert_eq!(error(|k| k.id = 16), StateError::Id(16).into());
    assert_eq!(error(|k| k.id = 256), KvmStateError::Id(256));
}

proptest! {
    /// Whatever KVM can hold, but for reserved bits, remote IRR of edge entries, and undelivered
    /// edges of unmasked entries.
    #[test]
    fn ioa_12_kvm_state_survives_the_round_trip(
        entries in prop::collection::vec(any::<u64>(), 24), irr in any::<u32>(), id in 0u32..16,
        ioregsel in 0u32..256,
    ) {
        let mut kvm = reset();
        (kvm.id, kvm.ioregsel) = (id, ioregsel);
        for (pin, bits) in entries.iter().enumerate() {
            let rte = Rte::from_bits(*bits);
            let remote_irr = rte.level() && rte.remote_irr();
            let kept = Rte::from_bits(bits & Rte::writable(false)).with_remote_irr(remote_irr);
            kvm.redirtbl[pin] = kvm_ioapic_state__bindgen_ty_1 { bits: kept.into_bits() };
            let pending = kept.trigger_mode().is_level() || kept.masked();
            kvm.irr |= irr & u32::from(pending) << pin;
        }
        let ours = imported(&kvm).ioapic;
        let back = ours.kvm_state().unwrap();
        prop_assert_eq!(
            (back.base_address, back.ioregsel, back.id, back.irr, back.pad),
            (kvm.base_address, kvm.ioregsel, kvm.id, kvm.irr, kvm.pad)
        );
        for pin in 0..24 {
            prop_assert_eq!(bits(&back, pin), bits(&kvm, pin));
        }
        let again = IoApic::from_kvm_state(Config::default(), &back, IMPORTER).unwrap();
        prop_assert_eq!(again.state(), ours.state());
    }
}
