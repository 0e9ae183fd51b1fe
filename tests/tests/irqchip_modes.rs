// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RTE-7: each irqchip mode times each call, against the real KVM; RTE-8: our tables and messages.
//!
//! A combination that the crate calls legal must succeed, one that it calls refused must fail
//! with exactly that errno, and one that it calls harmful must succeed and do the harm it names.

mod irqchip {
    pub mod calls;
    pub mod harm;
    pub mod rig;
}

use irq_routing::irqchip::{Answer, Harm, Why};
use irq_routing::{Call, Gsi, IrqchipMode, Msi, MsiFormat, Route, RouteError, RouteTable, Target};
use irqchip::calls::attempt;
use irqchip::harm;
use irqchip::rig::Rig;
use kvm_bindings::kvm_msi;

/// Every cell of the matrix.
fn cells() -> impl Iterator<Item = (IrqchipMode, Call)> {
    IrqchipMode::ALL.into_iter().flat_map(|mode| Call::ALL.map(|call| (mode, call)))
}

#[test]
fn rte_7_every_call_in_every_mode_is_answered_as_the_table_says() {
    let mut wrong = Vec::new();
    for (mode, call) in cells() {
        let expected = match mode.answer(call) {
            Answer::Works | Answer::Harms(_) => Ok(()),
            Answer::Fails(errno) => Err(errno.raw()),
        };
        let found = attempt(&mut Rig::new(mode), call);
        if found != expected {
            wrong.push(format!("{mode:?} {call:?}: KVM answers {found:?}, table {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn rte_7_the_crate_refuses_all_that_kvm_refuses_or_that_harms() {
    for (mode, call) in cells() {
        let kvm = attempt(&mut Rig::new(mode), call);
        match mode.check(call) {
            Ok(()) => assert_eq!(kvm, Ok(()), "{mode:?} {call:?} is legal"),
            Err(illegal) => match illegal.why {
                Why::Refused(errno) => assert_eq!(kvm, Err(errno.raw()), "{illegal}"),
                Why::Harmful(harm) => assert!(harm::shown(mode, call, harm), "{illegal}"),
            },
        }
    }
}

#[test]
fn rte_7_a_legal_call_does_no_harm() {
    // The same observations as for the harmful cells, in the modes where the call works.
    for (mode, call) in cells() {
        let harm = match call {
            Call::RequestInterruptWindow => Harm::NoExit,
            Call::RunCr8 | Call::SetTscDeadline => Harm::NoEffect,
            Call::IrqLine => Harm::Lost,
            Call::InterruptWhilePending => Harm::Overwrites,
            _ => continue,
        };
        if mode.check(call).is_ok() {
            assert!(!harm::shown(mode, call, harm), "{mode:?} {call:?}");
        }
    }
}

#[test]
fn rte_7_split_kvm_interrupt_has_one_slot() {
    let mut rig = Rig::new(IrqchipMode::Split);
    assert_eq!(rig.interrupt(Rig::VECTOR), Ok(()));
    assert_eq!(rig.interrupt(Rig::VECTOR + 1), Err(libc::EEXIST));
    assert_eq!(rig.delivered_vector(), Some(Rig::VECTOR), "the first one is untouched");
    assert_eq!(rig.delivered_vector(), None, "and the second did not get in");
}

#[test]
fn rte_7_user_kvm_interrupt_overwrites_its_slot() {
    let mut rig = Rig::new(IrqchipMode::User);
    rig.interrupt(0x50).unwrap();
    rig.interrupt(0x51).unwrap();
    assert_eq!(rig.delivered_vector(), Some(0x51), "the second took its place");
    assert_eq!(rig.delivered_vector(), None, "the first is lost");
}

#[test]
fn rte_7_kernel_kvm_interrupt_is_enxio() {
    let mut rig = Rig::new(IrqchipMode::Kernel);
    assert_eq!(attempt(&mut rig, Call::Interrupt), Err(libc::ENXIO));
    assert_eq!(rig.delivered_vector(), None);
}

#[test]
fn rte_8_kvm_takes_our_table_and_routes_by_it() {
    let rig = Rig::new(IrqchipMode::Kernel);
    let legacy = RouteTable::legacy(24);
    let mut edit = legacy.edit();
    edit.set(Gsi(30), &[Target::Msi(Msi { address: 0xfee0_0000, data: 0x41 })]).unwrap();
    let table = edit.build().unwrap();
    rig.set_routes(&table).unwrap();
    for gsi in 0..24 {
        let before = rig.pins();
        let _ = rig.irq_line_status(gsi, true).unwrap();
        let risen: Vec<_> = rig.pins().into_iter().filter(|pin| !before.contains(pin)).collect();
        let expected: Vec<_> = table.targets(Gsi(gsi)).collect();
        assert_eq!(risen, expected, "GSI {gsi}");
    }
    assert!(rig.irq_line_status(30, true).unwrap() >= 0, "the message has a target");
    assert!(rig.irq_line_status(31, true).unwrap() < 0, "no route");
}

#[test]
fn rte_8_kvm_refuses_the_tables_that_we_refuse() {
    // Two pins of one chip, and a pin beside a message: handed to KVM past our own check.
    let pin = |pin| Route { gsi: Gsi(5), target: Target::IoApic(pin) };
    let msi = Route { gsi: Gsi(5), target: Target::Msi(Msi { address: 0xfee0_0000, data: 0x41 }) };
    for routes in [[pin(5), pin(6)], [pin(5), msi]] {
        let rig = Rig::new(IrqchipMode::Kernel);
        let kvm = routes.map(|route| route.to_kvm(MsiFormat::Xapic).unwrap());
        assert_eq!(rig.set_entries(&kvm), Err(libc::EINVAL));
        assert_eq!(RouteTable::from_routes(routes), Err(RouteError::Conflict(Gsi(5))));
    }
    // One pin of each of the three chips is fine.
    let three = [Target::Pic(5), Target::Pic(9), Target::IoApic(5)];
    let table = RouteTable::from_routes(three.map(|target| Route { gsi: Gsi(5), target })).unwrap();
    assert_eq!(Rig::new(IrqchipMode::Kernel).set_routes(&table), Ok(()));
}

#[test]
fn rte_8_kvm_refuses_the_32_bit_addresses_that_we_refuse() {
    let rig = Rig::new(IrqchipMode::Split);
    rig.enable_x2apic_ids();
    for bit in 32..64 {
        let msi = Msi { address: 0xfee0_0000 | 1 << bit, data: 0x41 };
        let hi = (msi.address >> 32) as u32;
        let kvm =
            kvm_msi { address_lo: 0xfee0_0000, address_hi: hi, data: 0x41, ..Default::default() };
        let refused = rig.vm.signal_msi(kvm).map_err(|error| error.errno()) == Err(libc::EINVAL);
        assert_eq!(refused, msi.to_kvm(MsiFormat::X2apic32).is_err(), "address bit {bit}");
    }
}
