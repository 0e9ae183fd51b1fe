// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Registers of the MC146818A real-time clock and of the PC's CMOS RAM behind it.
//!
//! Motorola MC146818A data sheet, "Address Map" and "Registers"; Intel 82371AB (PIIX4) data sheet,
//! "Real Time Clock Module" for the PC's divider and for the ports. The CMOS RAM bytes are those
//! that PC firmware keeps there.

/// Time and alarm registers.
pub(super) const SECONDS: u8 = 0x00;
pub(super) const SECONDS_ALARM: u8 = 0x01;
pub(super) const MINUTES: u8 = 0x02;
pub(super) const MINUTES_ALARM: u8 = 0x03;
pub(super) const HOURS: u8 = 0x04;
pub(super) const HOURS_ALARM: u8 = 0x05;
pub(super) const DAY_OF_WEEK: u8 = 0x06;
pub(super) const DAY: u8 = 0x07;
pub(super) const MONTH: u8 = 0x08;
pub(super) const YEAR: u8 = 0x09;
pub(super) const CENTURY: u8 = crate::layout::CMOS_CENTURY;

/// Hours register bit 7 in 12-hour mode: afternoon.
pub(super) const HOUR_PM: u8 = 1 << 7;
/// An alarm register of this or more matches always.
pub(super) const HOUR_DONT_CARE: u8 = 0b1100_0000;

/// Register A: UIP, the divider and the periodic rate.
pub(super) const REGISTER_A: u8 = 0x0a;
/// Bit 7, update in progress: an update comes within 244 us. Read-only.
pub(super) const A_UIP: u8 = 1 << 7;
/// Bits 6:4, the divider: 11x holds it in reset, 010 runs from a 32 768 Hz crystal.
pub(super) const A_DIVIDER_RESET: u8 = 0b0110_0000;
pub(super) const A_DIVIDER_RUN: u8 = 0b0010_0000;
/// Bits 3:0, the periodic rate.
pub(super) const A_RATE: u8 = 0b0000_1111;
/// The rate that firmware leaves there: 1024 Hz.
pub(super) const A_RATE_1024: u8 = 0b0110;

/// Register B: enables and formats.
pub(super) const REGISTER_B: u8 = 0x0b;
/// Bit 7: updates are halted, the time registers can be set.
pub(super) const B_SET: u8 = 1 << 7;
/// Bits 6:4: periodic, alarm and update-ended interrupt enable, as their flags in register C.
pub(super) const B_ENABLES: u8 = 0b0111_0000;
/// Bit 4: update-ended interrupt enable.
pub(super) const B_UIE: u8 = 1 << 4;
/// Bit 3: square wave enable. Stored, nothing more.
pub(super) const B_SQUARE_WAVE: u8 = 1 << 3;
/// Bit 2: binary, otherwise BCD.
pub(super) const B_BINARY: u8 = 1 << 2;
/// Bit 1: 24 hours, otherwise 12.
pub(super) const B_HOURS_24: u8 = 1 << 1;

/// Register C: the interrupt flags, cleared by reading.
pub(super) const REGISTER_C: u8 = 0x0c;
/// Bit 7: an enabled flag is set, the IRQ output is asserted.
pub(super) const C_IRQF: u8 = 1 << 7;
/// Bit 6: a period has passed.
pub(super) const C_PERIODIC: u8 = 1 << 6;
/// Bit 5: the time was the alarm's.
pub(super) const C_ALARM: u8 = 1 << 5;
/// Bit 4: an update has ended.
pub(super) const C_UPDATE: u8 = 1 << 4;

/// Register D: bit 7 says that RAM and time are valid. Read-only.
pub(super) const REGISTER_D: u8 = 0x0d;
pub(super) const D_VALID: u8 = 1 << 7;

/// Equipment byte: bit 1, a coprocessor.
pub(super) const EQUIPMENT: u8 = 0x14;
pub(super) const EQUIPMENT_FPU: u8 = 1 << 1;
/// Base memory in KiB, 2 bytes.
pub(super) const BASE_MEMORY: u8 = 0x15;
/// Memory above 1 MiB in KiB, at most 0xffff; twice.
pub(super) const EXTENDED_MEMORY: [u8; 2] = [0x17, 0x30];
/// Sum of the bytes 0x10..=0x2d, high byte first.
pub(super) const CHECKSUM: u8 = 0x2e;
pub(super) const CHECKSUM_RANGE: std::ops::RangeInclusive<u8> = 0x10..=0x2d;
/// Memory between 16 MiB and 4 GiB in units of 64 KiB, 2 bytes.
pub(super) const MEMORY_ABOVE_16M: u8 = 0x34;
/// Memory above 4 GiB in units of 64 KiB, 3 bytes.
pub(super) const MEMORY_ABOVE_4G: u8 = 0x5b;

/// Bytes that the 7-bit index reaches.
pub(super) const SIZE: usize = 128;
/// Index port bit 7: NMI is masked.
pub(super) const INDEX_NMI_MASK: u8 = 1 << 7;

/// The divider's input in Hz: a second is 2^15 ticks.
pub(super) const TICKS_PER_SECOND_LOG2: u32 = 15;
/// UIP goes high 244 us before the update: 8 ticks.
pub(super) const UIP_TICKS: u64 = 8;

/// The period of a rate (register A bits 3:0) in ticks, as a power of two.
pub(super) fn period_log2(rate: u8) -> Option<u32> {
    match rate & A_RATE {
        0 => None,
        // 3.90625 and 7.8125 ms, as rates 8 and 9.
        rate @ (1 | 2) => Some(u32::from(rate) + 6),
        rate => Some(u32::from(rate) - 1),
    }
}
