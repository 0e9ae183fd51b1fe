// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! IOA-1 and IOA-2: the window and the registers.

use super::{edge, level, Bench, A, NONE};
use crate::spec::{EOI, IOREGSEL, IOWIN};
use crate::{Config, ConfigError, IoApic, Rte, StormGuard, Version};

fn with_pins(pins: u8) -> Config {
    Config { pins, ..Config::default() }
}

#[test]
fn ioa_1_defaults_are_those_of_a_pc() {
    let config = Config::default();
    assert_eq!((config.base, config.pins), (0xfec0_0000, 24));
    assert_eq!((config.version, config.id), (Version::V20, 0));
    assert_eq!(IoApic::new(config).unwrap().config(), &config);
}

#[test]
fn ioa_1_the_version_register_tells_version_and_pins() {
    let mut bench = Bench::new(Config::default());
    assert_eq!(bench.read_register(1), 0x0017_0020);
    bench.write_register(1, 0xffff_ffff);
    assert_eq!(bench.read_register(1), 0x0017_0020, "read-only");
    let mut bench = Bench::new(Config { version: Version::V11, ..with_pins(48) });
    assert_eq!(bench.read_register(1), 0x002f_0011);
    let mut bench = Bench::new(with_pins(240));
    assert_eq!(bench.read_register(1), 0x00ef_0020);
}

#[test]
fn ioa_1_the_id_has_four_bits() {
    let mut bench = Bench::new(Config { id: 5, ..Config::default() });
    assert_eq!(bench.read_register(0), 0x0500_0000);
    bench.write_register(0, 0xffff_ffff);
    assert_eq!(bench.read_register(0), 0x0f00_0000);
    assert_eq!(bench.read_register(2), 0x0f00_0000, "the arbitration id follows");
    bench.write_register(2, 0);
    assert_eq!(bench.read_register(2), 0x0f00_0000, "read-only");
}

#[test]
fn ioa_1_ioregsel_reads_back_eight_bits() {
    let mut bench = Bench::new(Config::default());
    bench.write(IOREGSEL, 0xffff_ff12);
    assert_eq!(bench.read(IOREGSEL), 0x12);
    for (pins, mask) in [(1, 0xff), (120, 0xff), (121, 0x1ff), (240, 0x1ff)] {
        let mut bench = Bench::new(with_pins(pins));
        bench.write(IOREGSEL, 0xffff_ffff);
        assert_eq!(bench.read(IOREGSEL), mask, "{pins} pins");
    }
}

#[test]
fn ioa_1_more_than_120_pins_are_reached_with_nine_bits() {
    for pins in [1, 24, 48, 120, 121, 240] {
        let mut bench = Bench::new(with_pins(pins));
        for pin in 0..pins {
            bench.program(pin, edge(pin));
        }
        for pin in 0..pins {
            assert_eq!(bench.entry(pin), edge(pin), "pin {pin} of {pins}");
            assert_eq!(bench.read_register(0x10 + 2 * u16::from(pin)), u32::from(pin));
        }
    }
}

#[test]
fn ioa_1_reserved_registers_read_zero_and_ignore_writes() {
    let mut bench = Bench::new(Config::default());
    let before = bench.ioapic.state();
    for index in (3..0x10).chain(0x40..0x100) {
        bench.write_register(index, 0xffff_ffff);
        assert_eq!(bench.read_register(index), 0, "register {index:#x}");
    }
    bench.write(IOREGSEL, 0);
    assert_eq!(bench.ioapic.state(), before);
    for offset in [0x20, 0x30, 0x50, 0x100, 0x110, 0xff0, 0x1000, !0xf] {
        bench.write(offset, 0xffff_ffff);
        assert_eq!(bench.read(offset), 0, "offset {offset:#x}");
    }
    assert_eq!(bench.ioapic.state(), before);
}

#[test]
fn ioa_1_reads_of_other_sizes_get_the_bytes_they_cover() {
    let mut bench = Bench::new(Config::default());
    bench.program(0, Rte::from_bits(0x1234_a5c3).with_masked(true));
    bench.write(IOREGSEL, 0x10);
    let value = bench.read(IOWIN).to_le_bytes();
    let read = |offset, size| {
        let mut data = std::vec![0xee; size];
        bench.ioapic.read(offset, &mut data);
        data
    };
    assert_eq!(read(IOWIN, 1), value[..1]);
    assert_eq!(read(IOWIN, 2), value[..2]);
    assert_eq!(read(IOWIN, 8), [value[0], value[1], value[2], value[3], 0, 0, 0, 0]);
    assert_eq!(read(IOWIN + 1, 1), value[1..2]);
    assert_eq!(read(IOWIN + 2, 4), [value[2], value[3], 0, 0]);
    assert_eq!(read(IOWIN + 4, 4), [0; 4]);
    assert_eq!(read(IOREGSEL, 1), [0x10]);
    assert_eq!(read(IOREGSEL, 0), NONE);
    assert_eq!(read(IOREGSEL, 64)[1..], [0; 63]);
}

#[test]
fn ioa_1_writes_of_other_sizes_are_defined() {
    let mut bench = Bench::new(Config::default());
    let mut write = |offset, data: &[u8]| {
        assert!(bench.ioapic.write(offset, data, &mut bench.log).is_empty());
        (bench.ioapic.state().ioregsel, bench.ioapic.state().pins[0].entry)
    };
    let reset = Rte::RESET.into_bits();
    assert_eq!(write(IOREGSEL, &[0x10]), (0x10, reset), "one byte selects");
    assert_eq!(write(IOREGSEL, &[0x11, 0xff]), (0x11, reset));
    assert_eq!(write(IOREGSEL, &[0x10; 8]), (0x10, reset));
    assert_eq!(write(IOREGSEL + 1, &[0x33]), (0x10, reset), "not at its offset");
    assert_eq!(write(IOREGSEL, &[]), (0x10, reset));
    for narrow in [&[][..], &[0x55], &[0x55; 2], &[0x55; 3]] {
        assert_eq!(write(IOWIN, narrow), (0x10, reset), "it would tear the entry");
    }
    assert_eq!(write(IOWIN + 4, &[0x55; 4]), (0x10, reset));
    assert_eq!(write(IOWIN, &[0x31, 0, 1, 0, 9, 9, 9, 9]), (0x10, 0x1_0031));
}

#[test]
fn ioa_1_the_eoi_register_takes_any_width() {
    for width in [1, 2, 4, 8] {
        let mut bench = Bench::programmed(4, level(0x31));
        let _ = bench.set(4, A, true);
        let data = [0x31, 0, 0, 0, 0, 0, 0, 0];
        assert!(bench.ioapic.write(EOI, &data[..width], &mut bench.log).contains(4), "{width}");
        assert!(bench.ioapic.write(EOI, &[], &mut bench.log).is_empty());
    }
}

#[test]
fn ioa_1_a_config_out_of_range_is_an_error() {
    let error = |config| IoApic::new(config).unwrap_err();
    assert_eq!(error(with_pins(0)), ConfigError::Pins(0));
    assert_eq!(error(with_pins(241)), ConfigError::Pins(241));
    assert_eq!(error(Config { id: 16, ..Config::default() }), ConfigError::Id(16));
    let base = 0xfec0_0800;
    assert_eq!(error(Config { base, ..Config::default() }), ConfigError::Base(base));
    let storm_guard = StormGuard { limit: 0, pause_ns: 1 };
    assert_eq!(error(Config { storm_guard, ..Config::default() }), ConfigError::StormLimit);
}

#[test]
fn ioa_2_entries_are_masked_after_reset() {
    let bench = Bench::new(Config::default());
    for pin in 0..24 {
        assert_eq!(bench.entry(pin).into_bits(), 0x1_0000, "pin {pin}");
    }
}

#[test]
fn ioa_2_reset_masks_and_keeps_the_wires() {
    let mut bench = Bench::programmed(4, level(0x31));
    bench.write_register(0, 0x0700_0000);
    let _ = bench.set(4, A, true);
    bench.write(IOREGSEL, 0x18);
    bench.ioapic.reset(&mut bench.log);
    assert_eq!(bench.read(IOREGSEL), 0);
    assert_eq!(bench.read(IOWIN), 0, "the configured id");
    assert_eq!(bench.entry(4), Rte::RESET, "no remote IRR either");
    let _ = bench.sent();
    bench.program(4, level(0x32));
    assert_eq!(bench.vectors(), [0x32], "the device still asserts its line");
}

#[test]
fn ioa_2_a_guest_writes_neither_delivery_status_nor_remote_irr() {
    let mut bench = Bench::new(Config::default());
    bench.program(4, Rte::from_bits(u64::MAX).with_masked(true));
    assert!(!bench.entry(4).remote_irr());
    assert!(!bench.entry(4).delivery_status());
    bench.program(4, level(0x31));
    let _ = bench.set(4, A, true);
    assert!(bench.entry(4).remote_irr());
    bench.program(4, level(0x31));
    assert!(bench.entry(4).remote_irr(), "nor does it clear it by writing 0");
}

#[test]
fn ioa_2_reserved_bits_read_zero() {
    let all = Rte::from_bits(u64::MAX);
    let mut bench = Bench::new(Config::default());
    bench.program(4, all);
    assert_eq!(bench.entry(4).into_bits(), 0xff00_0000_0001_afff);
    let mut bench = Bench::new(Config { extended_destination: true, ..Config::default() });
    bench.program(4, all);
    assert_eq!(bench.entry(4).into_bits(), 0xfffe_0000_0001_afff);
    assert_eq!(bench.read_register(0x19), 0xfffe_0000);
}

#[test]
fn ioa_2_the_halves_are_written_apart() {
    let mut bench = Bench::new(Config::default());
    bench.write_register(0x13, 0x2a00_0000);
    assert_eq!(bench.entry(1), Rte::RESET.with_destination_low(0x2a));
    bench.write_register(0x12, 0x31);
    assert_eq!(bench.entry(1), edge(0x31).with_destination_low(0x2a));
}

#[test]
fn ioa_2_fields_are_where_the_data_sheet_has_them() {
    assert_eq!(Rte::new().with_vector(0xff).into_bits(), 0xff);
    assert_eq!(Rte::new().with_delivery_mode_bits(7).into_bits(), 0x700);
    assert_eq!(Rte::new().with_logical(true).into_bits(), 1 << 11);
    assert_eq!(Rte::new().with_delivery_status(true).into_bits(), 1 << 12);
    assert_eq!(Rte::new().with_active_low(true).into_bits(), 1 << 13);
    assert_eq!(Rte::new().with_remote_irr(true).into_bits(), 1 << 14);
    assert_eq!(Rte::new().with_level(true).into_bits(), 1 << 15);
    assert_eq!(Rte::new().with_masked(true).into_bits(), 1 << 16);
    assert_eq!(Rte::new().with_destination_high(0x7f).into_bits(), 0x7f << 49);
    assert_eq!(Rte::new().with_destination_low(0xff).into_bits(), 0xff << 56);
}
