// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! IOA-2 (destination) and IOA-7: what a message says.

use irq_routing::{
    Delivery, DeliveryMode, DestinationMode, InterruptMessage, TriggerMode, BROADCAST,
};

use super::{edge, level, mode, Bench, A};
use crate::{Config, IoApic, Rte};

fn message_of(config: Config, rte: Rte) -> Option<InterruptMessage> {
    let mut bench = Bench::new(config);
    bench.program(1, rte);
    let _ = bench.set(1, A, true);
    let sent = bench.sent();
    assert!(sent.len() <= 1);
    sent.first().copied()
}

#[test]
fn ioa_7_every_field_of_an_entry_reaches_the_message() {
    let rte = level(0xa5).with_logical(true).with_delivery_mode_bits(1).with_destination_low(0x3c);
    assert_eq!(
        message_of(Config::default(), rte),
        Some(InterruptMessage {
            destination: 0x3c,
            destination_mode: DestinationMode::Logical,
            delivery_mode: DeliveryMode::LowestPriority,
            trigger_mode: TriggerMode::Level,
            vector: 0xa5,
        })
    );
    assert_eq!(
        message_of(Config::default(), edge(0x20)),
        Some(InterruptMessage {
            destination: 0,
            destination_mode: DestinationMode::Physical,
            delivery_mode: DeliveryMode::Fixed,
            trigger_mode: TriggerMode::Edge,
            vector: 0x20,
        })
    );
}

#[test]
fn ioa_7_each_delivery_mode_is_carried() {
    use DeliveryMode::{ExtInt, Fixed, Init, LowestPriority, Nmi, Smi};
    for kind in [Fixed, LowestPriority, Smi, Nmi, Init, ExtInt] {
        let sent = message_of(Config::default(), mode(kind)).unwrap();
        assert_eq!(sent.delivery_mode, kind);
        let sent = message_of(Config::default(), mode(kind).with_level(true)).unwrap();
        let level = matches!(kind, Fixed | LowestPriority);
        assert_eq!(sent.trigger_mode.is_level(), level, "{kind:?}");
    }
}

#[test]
fn ioa_7_reserved_and_start_up_modes_send_nothing() {
    for bits in [3, 6] {
        for trigger in [false, true] {
            let rte = edge(0x40).with_delivery_mode_bits(bits).with_level(trigger);
            let mut bench = Bench::programmed(1, rte);
            assert_eq!(bench.set(1, A, true), Delivery::Ignored);
            assert_eq!(bench.sent(), []);
            assert!(!bench.entry(1).remote_irr() && !bench.entry(1).delivery_status());
            assert_eq!(bench.entry(1).delivery_mode_bits(), bits, "stored all the same");
            assert_eq!(bench.ioapic.counters(1).unwrap().masked, 1);
        }
    }
}

#[test]
fn ioa_7_the_virtual_wire_pin_is_known() {
    let extint = mode(DeliveryMode::ExtInt);
    let mut bench = Bench::new(Config::default());
    assert!(!bench.ioapic.extint_pin(0), "masked after reset");
    bench.program(0, extint);
    assert!(bench.ioapic.extint_pin(0));
    assert!(!bench.ioapic.extint_pin(1));
    bench.program(0, extint.with_masked(true));
    assert!(!bench.ioapic.extint_pin(0));
    bench.program(0, edge(0x30));
    assert!(!bench.ioapic.extint_pin(0));
    bench.program(5, extint);
    assert!(bench.ioapic.extint_pin(5), "any pin can be wired to the 8259A pair");
}

#[test]
fn ioa_7_the_pic_s_request_becomes_an_extint_message_for_each_rise() {
    let mut bench = Bench::programmed(0, mode(DeliveryMode::ExtInt));
    for _ in 0..3 {
        let _ = bench.set(0, A, true);
        let _ = bench.set(0, A, false);
    }
    let sent = bench.sent();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|message| message.delivery_mode == DeliveryMode::ExtInt));
}

#[test]
fn ioa_2_an_8_bit_destination_of_0xff_is_everyone() {
    for logical in [false, true] {
        let rte = edge(0x30).with_destination_low(0xff).with_logical(logical);
        assert_eq!(message_of(Config::default(), rte).unwrap().destination, BROADCAST);
    }
    let rte = edge(0x30).with_destination_low(0xfe);
    assert_eq!(message_of(Config::default(), rte).unwrap().destination, 0xfe);
}

#[test]
fn ioa_2_an_extended_destination_has_15_bits() {
    let config = Config { extended_destination: true, ..Config::default() };
    let rte = edge(0x30).with_destination_low(0x34).with_destination_high(0x52);
    assert_eq!(message_of(config, rte).unwrap().destination, 0x5234);
    assert_eq!(message_of(Config::default(), rte).unwrap().destination, 0x34);
    let rte = edge(0x30).with_destination_low(0xff);
    assert_eq!(message_of(config, rte).unwrap().destination, 0xff, "an id like any other");
}

#[test]
fn ioa_2_the_destination_is_that_of_the_moment_of_sending() {
    let mut bench = Bench::programmed(1, level(0x30).with_destination_low(1));
    let _ = bench.set(1, A, true);
    bench.program(1, level(0x30).with_destination_low(2));
    let _ = bench.eoi(0x30);
    let to: [u32; 2] = [1, 2];
    assert!(bench.sent().iter().map(|message| message.destination).eq(to));
}

#[test]
fn ioa_7_a_closure_is_enough_for_events() {
    let mut ioapic = IoApic::new(Config::default()).unwrap();
    let mut count = 0;
    let mut events = |_: InterruptMessage| {
        count += 1;
        Delivery::Delivered(1)
    };
    let _ = ioapic.write(crate::spec::IOREGSEL, &[0x10], &mut events);
    let _ = ioapic.write(crate::spec::IOWIN, &[0x30, 0, 0, 0], &mut events);
    let dynamic: &mut dyn crate::IoApicEvents = &mut events;
    assert_eq!(ioapic.set_irq(0, A, true, dynamic), Ok(Delivery::Delivered(1)));
    assert_eq!(count, 1);
}
