// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! An IOAPIC saved in the middle of a level interrupt: as serde data, and as KVM's structure.
//!
//! `cargo run -p ioapic --example save_restore_ioapic --features kvm,serde`

use ioapic::{Config, IoApic, IoApicState, PinSet, Rte};
use irq_routing::{Delivery, InterruptMessage, SourceId};

const PIN: u8 = 11;
const VECTOR: u8 = 0x61;
const DEVICE: SourceId = SourceId::FIRST;

/// Level, unmasked, in service, and its device still asserts the line.
fn in_service() -> Result<IoApic, Box<dyn std::error::Error>> {
    let mut events = |_: InterruptMessage| Delivery::Delivered(1);
    let mut ioapic = IoApic::new(Config::default())?;
    let entry = Rte::new().with_vector(VECTOR).with_level(true).into_bits() as u32;
    for (offset, value) in [(0x00, 0x10 + 2 * u32::from(PIN)), (0x10, entry)] {
        let nothing = ioapic.write(offset, &value.to_le_bytes(), &mut events);
        assert!(nothing.is_empty());
    }
    assert_eq!(ioapic.set_irq(PIN, DEVICE, true, &mut events)?, Delivery::Delivered(1));
    Ok(ioapic)
}

/// What has to happen on the other side, whatever form the state came in; returns how many
/// messages the guest gets from the restore, and from its EOI.
fn go_on(mut ioapic: IoApic) -> (u32, u32) {
    let mut sent = 0;
    let mut events = |_: InterruptMessage| {
        sent += 1;
        Delivery::Delivered(1)
    };
    // Level interrupts that nobody had taken yet, and EOIs that were between their two steps.
    let _ = ioapic.service(PinSet::ALL, 0, &mut events);
    // The device is restored too, and says again what it says: counted once.
    let _ = ioapic.set_irq(PIN, DEVICE, true, &mut events);
    let from_restore = core::mem::take(&mut sent);

    let mut events = |_: InterruptMessage| {
        sent += 1;
        Delivery::Delivered(1)
    };
    let ended = ioapic.eoi(VECTOR, &mut events);
    let _ = ioapic.service(ended, 0, &mut events);
    (from_restore, sent)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The crate's own state is complete: who drives which line included.
    let json = serde_json::to_string(&in_service()?.state())?;
    let state: IoApicState = serde_json::from_str(&json)?;
    let restored = IoApic::from_state(Config::default(), &state)?;
    assert_eq!(restored.state(), state);
    assert_eq!(go_on(restored), (0, 1));

    // KVM's structure knows levels, not sources: an importer holds them until the devices have
    // said theirs.
    let kvm = in_service()?.kvm_state()?;
    let importer = SourceId::new(63).expect("below 64");
    let mut restored = IoApic::from_kvm_state(Config::default(), &kvm, importer)?;
    let mut events = |_: InterruptMessage| Delivery::Delivered(1);
    let _ = restored.set_irq(PIN, DEVICE, true, &mut events)?;
    restored.release(importer, &mut events);
    assert_eq!(go_on(restored), (0, 1));

    // State is not trusted.
    let forged = IoApicState { id: 16, ..state };
    println!("a forged state: {}", IoApic::from_state(Config::default(), &forged).unwrap_err());
    println!("as JSON: {} bytes", json.len());
    Ok(())
}

#[test]
fn the_example_runs() {
    main().unwrap();
}
