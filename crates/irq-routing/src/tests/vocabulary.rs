// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The shared words: deliveries, lines, messages, MSIs.

use std::vec::Vec;

use super::msi;
use crate::Delivery::{Coalesced, Delivered, Ignored};
use crate::{
    Delivery, DeliveryMode, DestinationMode, InterruptMessage, InvalidMsi, InvalidSource, Line,
    LineChange, MessageSink, Msi, MsiFormat, ReservedDeliveryMode, SourceId, TriggerMode,
    Unencodable, BROADCAST,
};

const FORMATS: [MsiFormat; 3] = [MsiFormat::Xapic, MsiFormat::Extended15, MsiFormat::X2apic32];

fn message(destination: u32) -> InterruptMessage {
    InterruptMessage {
        destination,
        destination_mode: DestinationMode::Physical,
        delivery_mode: DeliveryMode::Fixed,
        trigger_mode: TriggerMode::Edge,
        vector: 0x41,
    }
}

#[test]
fn rte_2_deliveries_add_up() {
    assert_eq!(Delivered(1) + Delivered(2), Delivered(3));
    assert_eq!(Delivered(u32::MAX) + Delivered(1), Delivered(u32::MAX));
    assert_eq!(Coalesced + Delivered(1), Delivered(1));
    assert_eq!(Ignored + Coalesced, Coalesced);
    assert_eq!(Ignored + Ignored, Ignored);
    assert_eq!([0, 1, 7].map(Delivery::from_count), [Ignored, Delivered(1), Delivered(7)]);
}

#[test]
fn rte_2_a_line_is_the_or_of_its_sources() {
    let (a, b) = (SourceId::FIRST, SourceId::new(63).unwrap());
    let mut line = Line::default();
    assert_eq!(line.set(a, true), LineChange::Rising);
    assert_eq!(line.set(a, true), LineChange::None);
    assert_eq!(line.set(b, true), LineChange::None);
    assert_eq!(line.set(a, false), LineChange::None);
    assert!(line.level());
    assert_eq!(line.set(b, false), LineChange::Falling);
    assert_eq!(line.set(b, false), LineChange::None);
    assert!(!line.level());
}

#[test]
fn rte_2_a_line_has_64_sources() {
    assert_eq!(SourceId::new(64), None);
    assert_eq!(SourceId::try_from(64), Err(InvalidSource(64)));
    assert_eq!(SourceId::try_from(63).map(u8::from), Ok(63));
}

#[test]
fn rte_8_delivery_modes_have_the_manuals_encoding() {
    use DeliveryMode::{ExtInt, Fixed, Init, LowestPriority, Nmi, Smi, StartUp};
    let modes = [Fixed, LowestPriority, Smi, Nmi, Init, StartUp, ExtInt];
    assert_eq!(modes.map(DeliveryMode::bits), [0, 1, 2, 4, 5, 6, 7]);
    for mode in modes {
        assert_eq!(DeliveryMode::from_bits(mode.bits() | 0xf8), Ok(mode), "low 3 bits only");
    }
    assert_eq!(DeliveryMode::from_bits(3), Err(ReservedDeliveryMode));
    assert!(TriggerMode::from_bit(true).is_level() && !TriggerMode::from_bit(false).is_level());
    assert!(DestinationMode::from_bit(true).is_logical());
    assert!(!DestinationMode::from_bit(false).is_logical());
}

#[test]
fn rte_8_every_closure_is_a_sink() {
    let mut seen = Vec::new();
    let mut sink = |message: InterruptMessage| {
        seen.push(message);
        Delivered(1)
    };
    assert_eq!(sink.send(message(3)), Delivered(1));
    assert_eq!(seen, [message(3)]);
}

#[test]
fn rte_8_an_msi_is_decoded_field_by_field() {
    let level_nmi_logical = Msi { address: 0xfee1_2004 | 1 << 3, data: 0xc4_7f | 0xffff_0000 };
    let expected = InterruptMessage {
        destination: 0x12,
        destination_mode: DestinationMode::Logical,
        delivery_mode: DeliveryMode::Nmi,
        trigger_mode: TriggerMode::Level,
        vector: 0x7f,
    };
    assert_eq!(level_nmi_logical.decode(MsiFormat::Xapic), Ok(expected));
}

#[test]
fn rte_8_destinations_by_format() {
    let decode = |address, format| Msi { address, data: 0x41 }.decode(format).unwrap().destination;
    // 8 bits; 0xff is everyone.
    assert_eq!(decode(0xfee0_7000, MsiFormat::Xapic), 7);
    assert_eq!(decode(0xfeef_f000, MsiFormat::Xapic), BROADCAST);
    assert_eq!(decode(0xfee0_7fe0, MsiFormat::Xapic), 7, "bits 11:5 mean nothing here");
    // 15 bits; 0xff is an id like any other.
    assert_eq!(decode(0xfee0_7fe0, MsiFormat::Extended15), 0x7f07);
    assert_eq!(decode(0xfeef_f000, MsiFormat::Extended15), 0xff);
    // 32 bits.
    assert_eq!(decode(0x1234_5600_fee7_8000, MsiFormat::X2apic32), 0x1234_5678);
    assert_eq!(decode(0xffff_ff00_feef_f000, MsiFormat::X2apic32), BROADCAST);
    assert_eq!(decode(0xfeef_f000, MsiFormat::X2apic32), 0xff);
}

#[test]
fn rte_8_messages_that_are_no_interrupts() {
    for format in FORMATS {
        for address in [0, 0xfed0_0000, 0xfef0_0000, 0x1_fee0_0000, 0x80_fee0_0000] {
            let msi = Msi { address, data: 0x41 };
            assert_eq!(msi.decode(format), Err(InvalidMsi::Address(address)));
        }
        for data in [0x341, 0x641] {
            let msi = Msi { address: 0xfee0_0000, data };
            assert_eq!(msi.decode(format), Err(InvalidMsi::DeliveryMode(data)));
        }
    }
}

#[test]
fn rte_8_encode_is_the_inverse_of_decode() {
    for (destination, formats) in [
        (0, &FORMATS[..]),
        (0xfe, &FORMATS),
        (0xff, &FORMATS[1..]),
        (0x7fff, &FORMATS[1..]),
        (0x1234_5678, &FORMATS[2..]),
        (BROADCAST, &[MsiFormat::Xapic, MsiFormat::X2apic32]),
    ] {
        for format in FORMATS {
            let encoded = Msi::encode(&message(destination), format);
            if formats.contains(&format) {
                assert_eq!(encoded.unwrap().decode(format), Ok(message(destination)), "{format:?}");
            } else {
                assert_eq!(encoded, Err(Unencodable::Destination { destination, format }));
            }
        }
    }
    let odd = InterruptMessage {
        destination_mode: DestinationMode::Logical,
        delivery_mode: DeliveryMode::ExtInt,
        trigger_mode: TriggerMode::Level,
        ..message(1)
    };
    let encoded = Msi::encode(&odd, MsiFormat::Xapic).unwrap();
    assert_eq!(encoded, Msi { address: 0xfee0_1004, data: 0xc741 }, "level messages are asserted");
    assert_eq!(encoded.decode(MsiFormat::Xapic), Ok(odd));
    let sipi = InterruptMessage { delivery_mode: DeliveryMode::StartUp, ..message(1) };
    assert_eq!(Msi::encode(&sipi, MsiFormat::Xapic), Err(Unencodable::StartUp));
}

#[test]
fn rte_8_packing_keeps_all_that_a_message_means() {
    for format in FORMATS {
        for bit in 0..64 {
            let address = 0xfee0_0000 ^ 1u64 << bit;
            let before = Msi { address, data: 0x41 };
            let after = crate::packed::message(crate::packed::with_message(0, before));
            let meaning = after.map(|msi| msi.decode(format).unwrap());
            assert_eq!(meaning, before.decode(format).ok(), "address bit {bit}");
        }
        for bit in 0..32 {
            let before = Msi { data: 1 << bit, ..msi(0) };
            let after = crate::packed::message(crate::packed::with_message(!0, before)).unwrap();
            assert_eq!(after.decode(format), before.decode(format), "data bit {bit}");
        }
    }
}
