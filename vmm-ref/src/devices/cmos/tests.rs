// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The chip as a driver sees it, with the time in the test's hand.

use proptest::prelude::*;
use vm_device::bus::PioAddress;
use vm_device::MutDevicePio;

use super::spec::*;
use super::*;
use crate::devices::clock::ManualClock;
use crate::devices::irq::RecordedLine;

const S: u64 = NS_PER_S;
const MS: u64 = 1_000_000;
const US: u64 = 1_000;
/// 2026-11-21 02:37:45 UTC, a Saturday.
const WALL: u64 = 1_795_228_665;

/// A chip and the time.
struct Rig {
    chip: Cmos,
    now: u64,
}

fn rig_at(wall_ns: u64) -> Rig {
    // The monotonic clock has nothing to do with the wall clock.
    let now = 77_777;
    let config = CmosConfig { wall_ns, memory_below_4g: 3 << 30, memory_above_4g: 5 << 30 };
    Rig { chip: Cmos::new(&config, now), now }
}

fn rig() -> Rig {
    rig_at(WALL * S)
}

impl Rig {
    fn get(&mut self, index: u8) -> u8 {
        self.chip.select(index);
        self.chip.read(self.now)
    }

    fn set(&mut self, index: u8, value: u8) {
        self.chip.select(index);
        self.chip.write(value, self.now);
    }

    fn get_all<const N: usize>(&mut self, indices: [u8; N]) -> [u8; N] {
        indices.map(|index| self.get(index))
    }

    fn wait(&mut self, ns: u64) {
        self.now += ns;
        self.chip.advance(self.now);
    }

    /// Sleeps as the main loop does: until the chip's own deadline.
    fn sleep(&mut self) -> u64 {
        let before = self.now;
        self.now = self.chip.next_deadline().expect("nothing will ever happen");
        self.chip.advance(self.now);
        self.now - before
    }
}

const TIME: [u8; 3] = [HOURS, MINUTES, SECONDS];
const DATE: [u8; 5] = [CENTURY, YEAR, MONTH, DAY, DAY_OF_WEEK];

// --- Time of day ---

#[test]
fn the_clock_starts_at_the_wall_time_in_bcd_and_24_hours() {
    let mut rig = rig();
    assert_eq!(rig.get_all(TIME), [0x02, 0x37, 0x45]);
    assert_eq!(rig.get_all(DATE), [0x20, 0x26, 0x11, 0x21, 7]);
    assert_eq!(
        rig.get_all([REGISTER_A, REGISTER_B, REGISTER_C, REGISTER_D]),
        [0x26, 0x02, 0, 0x80]
    );
}

#[test]
fn seconds_carry_up_to_the_century() {
    let mut rig = rig_at(4_102_444_799 * S);
    assert_eq!(rig.get_all(DATE), [0x20, 0x99, 0x12, 0x31, 5]);
    assert_eq!(rig.get_all(TIME), [0x23, 0x59, 0x59]);
    rig.wait(S);
    assert_eq!(rig.get_all(DATE), [0x21, 0x00, 0x01, 0x01, 6]);
    assert_eq!(rig.get_all(TIME), [0, 0, 0]);
}

#[test]
fn updates_come_with_the_wall_clocks_seconds() {
    let mut rig = rig_at(WALL * S + 999 * MS);
    rig.wait(MS - 1);
    assert_eq!(rig.get(SECONDS), 0x45);
    rig.wait(1);
    assert_eq!(rig.get(SECONDS), 0x46);
}

#[test]
fn the_formats_are_those_of_register_b() {
    let mut rig = rig();
    rig.wait(12 * 3600 * S);
    rig.set(REGISTER_B, B_BINARY | B_HOURS_24);
    assert_eq!(rig.get_all(TIME), [14, 37, 45]);
    rig.set(REGISTER_B, B_BINARY);
    assert_eq!(rig.get_all(TIME), [0x80 | 2, 37, 45]);
    rig.set(REGISTER_B, 0);
    assert_eq!(rig.get_all(TIME), [0x82, 0x37, 0x45]);
}

#[test]
fn the_time_can_be_set_while_updates_are_halted() {
    let mut rig = rig_at(WALL * S + 300 * MS);
    rig.set(REGISTER_B, B_SET | B_HOURS_24);
    rig.wait(10 * S);
    assert_eq!(rig.get_all(TIME), [0x02, 0x37, 0x45], "halted");
    for (register, value) in [
        (SECONDS, 0x58),
        (MINUTES, 0x59),
        (HOURS, 0x23),
        (DAY, 0x28),
        (MONTH, 0x02),
        (YEAR, 0x24),
        (DAY_OF_WEEK, 2),
    ] {
        rig.set(register, value);
    }
    assert_eq!(rig.get(DAY), 0x28);
    rig.set(REGISTER_B, B_HOURS_24);
    assert_eq!(rig.get_all(TIME), [0x23, 0x59, 0x58]);
    // The divider ran on: the next second is complete 700 ms later.
    rig.wait(700 * MS);
    assert_eq!(rig.get(SECONDS), 0x59);
    rig.wait(S);
    assert_eq!((rig.get_all(TIME), rig.get_all(DATE)), ([0, 0, 0], [0x20, 0x24, 0x02, 0x29, 3]));
}

#[test]
fn the_time_can_be_set_without_halting_a_field_at_a_time() {
    let mut rig = rig_at(1_801_439_999 * S); // 2027-01-31
    rig.set(MONTH, 0x02);
    rig.set(DAY, 0x15);
    assert_eq!(rig.get_all(DATE)[..4], [0x20, 0x27, 0x02, 0x15]);
}

#[test]
fn any_byte_can_be_read_back_while_updates_are_halted() {
    let mut rig = rig();
    rig.set(REGISTER_B, B_SET);
    for register in [SECONDS, MINUTES, HOURS, DAY_OF_WEEK, DAY, MONTH, YEAR, CENTURY] {
        rig.set(register, 0xee);
        assert_eq!(rig.get(register), 0xee);
    }
}

#[test]
fn a_divider_in_reset_stops_the_clock_and_starts_it_half_a_second_before_an_update() {
    let mut rig = rig();
    rig.set(REGISTER_A, 0x76);
    rig.wait(10 * S);
    assert_eq!((rig.get(SECONDS), rig.get(REGISTER_A)), (0x45, 0x76));
    rig.set(REGISTER_A, 0x26);
    rig.wait(S / 2 - 1);
    assert_eq!(rig.get(SECONDS), 0x45);
    rig.wait(1);
    assert_eq!(rig.get(SECONDS), 0x46);
}

#[test]
fn update_in_progress_shows_244_us_before_the_update() {
    let mut rig = rig();
    let uip = |rig: &mut Rig| rig.get(REGISTER_A) & A_UIP != 0;
    assert!(!uip(&mut rig));
    rig.wait(S - 245 * US);
    assert!(!uip(&mut rig));
    rig.wait(US);
    assert!(uip(&mut rig), "244 us before");
    rig.wait(244 * US - 1);
    assert!(uip(&mut rig));
    assert_eq!(rig.get(SECONDS), 0x45);
    rig.wait(1);
    assert_eq!((uip(&mut rig), rig.get(SECONDS)), (false, 0x46));
    rig.wait(S - 1);
    rig.set(REGISTER_B, B_SET);
    assert!(!uip(&mut rig), "no update is to come");
}

// --- Interrupts ---

#[test]
fn all_fifteen_periodic_rates() {
    // Data sheet, table "Periodic Interrupt Rate", 32.768 kHz: ticks of 1/32768 s.
    let ticks = [128_u128, 256, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];
    for (rate, ticks) in (1..).zip(ticks) {
        let mut rig = rig();
        rig.set(REGISTER_A, A_DIVIDER_RUN | rate);
        rig.set(REGISTER_B, C_PERIODIC | B_HOURS_24);
        // From the first one on; its distance depends on the moment of the enable.
        rig.sleep();
        let start = rig.now;
        for n in 1..=100 {
            assert!(rig.chip.irq());
            assert_eq!(rig.get(REGISTER_C) & (C_IRQF | C_PERIODIC), C_IRQF | C_PERIODIC);
            assert!(!rig.chip.irq());
            rig.sleep();
            let exact = ticks * n * 1_000_000_000 / 32768;
            assert!(u128::from(rig.now - start).abs_diff(exact) <= 1, "rate {rate}, period {n}");
        }
    }
}

#[test]
fn rate_zero_has_no_periodic_interrupt() {
    let mut rig = rig();
    rig.set(REGISTER_A, A_DIVIDER_RUN);
    rig.set(REGISTER_B, C_PERIODIC);
    assert_eq!(rig.chip.next_deadline(), None);
    rig.wait(10 * S);
    assert!(!rig.chip.irq());
}

#[test]
fn periods_do_not_drift_over_a_day() {
    let mut rig = rig();
    rig.set(REGISTER_A, A_DIVIDER_RUN | 3);
    rig.set(REGISTER_B, C_PERIODIC);
    let start = rig.now;
    rig.wait(86_400 * S - 1);
    rig.get(REGISTER_C);
    rig.sleep();
    assert_eq!(rig.now - start, 86_400 * S);
}

#[test]
fn the_line_stays_asserted_until_register_c_is_read_and_no_deadline_is_asked_for() {
    let mut rig = rig();
    rig.set(REGISTER_B, C_UPDATE);
    rig.sleep();
    assert!(rig.chip.irq());
    assert_eq!(rig.chip.next_deadline(), None);
    rig.wait(10 * S);
    assert!(rig.chip.irq());
    assert_eq!(rig.get(REGISTER_C), C_IRQF | C_UPDATE | C_PERIODIC);
    assert!(!rig.chip.irq());
    assert_eq!(rig.get(REGISTER_C), 0);
    assert_eq!(rig.sleep(), S);
}

#[test]
fn flags_are_set_without_being_enabled_and_do_not_assert() {
    let mut rig = rig();
    rig.wait(S);
    assert!(!rig.chip.irq());
    // Enabling a flag that is set asserts at once.
    rig.set(REGISTER_B, C_UPDATE);
    assert!(rig.chip.irq());
    rig.set(REGISTER_B, 0);
    assert!(!rig.chip.irq());
    assert_eq!(rig.get(REGISTER_C), C_PERIODIC | C_UPDATE, "IRQF only with an enable");
}

#[test]
fn the_alarm_comes_at_its_time_and_again_a_day_later() {
    let mut rig = rig();
    for (register, value) in [(SECONDS_ALARM, 0x50), (MINUTES_ALARM, 0x37), (HOURS_ALARM, 0x02)] {
        rig.set(register, value);
    }
    rig.set(REGISTER_B, C_ALARM | B_HOURS_24);
    assert_eq!(rig.sleep(), 5 * S);
    assert_eq!(rig.get(REGISTER_C) & (C_IRQF | C_ALARM), C_IRQF | C_ALARM);
    assert_eq!(rig.get_all(TIME), [0x02, 0x37, 0x50]);
    assert_eq!(rig.sleep(), 86_400 * S);
}

#[test]
fn alarm_registers_with_both_high_bits_match_always() {
    let mut rig = rig();
    for register in [SECONDS_ALARM, MINUTES_ALARM, HOURS_ALARM] {
        rig.set(register, 0xff);
    }
    rig.set(REGISTER_B, C_ALARM | B_HOURS_24);
    for _ in 0..3 {
        assert_eq!(rig.sleep(), S);
        rig.get(REGISTER_C);
    }
    rig.set(SECONDS_ALARM, 0x00);
    rig.sleep();
    assert_eq!(rig.get_all(TIME), [0x02, 0x38, 0x00]);
}

#[test]
fn an_alarm_that_is_no_time_never_comes() {
    let mut rig = rig();
    rig.set(SECONDS_ALARM, 0x75);
    rig.set(REGISTER_B, C_ALARM | B_HOURS_24);
    assert_eq!(rig.chip.next_deadline(), None);
    rig.wait(86_400 * S);
    assert_eq!(rig.get(REGISTER_C) & C_ALARM, 0);
}

#[test]
fn an_alarm_is_not_missed_by_a_clock_that_is_looked_at_late() {
    let mut rig = rig();
    rig.set(SECONDS_ALARM, 0x50);
    rig.set(MINUTES_ALARM, 0x37);
    rig.set(HOURS_ALARM, 0x02);
    rig.wait(4 * S);
    assert_eq!(rig.get(REGISTER_C) & C_ALARM, 0);
    rig.wait(1000 * S);
    assert_eq!(rig.get(REGISTER_C) & C_ALARM, C_ALARM);
}

#[test]
fn halting_updates_clears_the_update_interrupt_enable_and_the_period_goes_on() {
    let mut rig = rig();
    rig.set(REGISTER_B, B_SET | C_UPDATE | C_PERIODIC);
    assert_eq!(rig.get(REGISTER_B), B_SET | C_PERIODIC);
    rig.sleep();
    assert_eq!(rig.get(REGISTER_C), C_IRQF | C_PERIODIC);
    rig.wait(3 * S);
    assert_eq!(rig.get(REGISTER_C) & C_UPDATE, 0);
}

#[test]
fn a_divider_in_reset_has_no_deadline() {
    let mut rig = rig();
    rig.set(REGISTER_B, C_PERIODIC | C_UPDATE);
    rig.set(REGISTER_A, 0x66);
    assert_eq!(rig.chip.next_deadline(), None);
    rig.wait(10 * S);
    assert!(!rig.chip.irq());
}

#[test]
fn a_machine_reset_disables_interrupts_and_keeps_the_time() {
    let mut rig = rig();
    rig.set(REGISTER_B, C_UPDATE | C_ALARM | C_PERIODIC | B_BINARY | B_HOURS_24);
    rig.wait(S);
    rig.chip.reset();
    assert!(!rig.chip.irq());
    assert_eq!(rig.get_all([REGISTER_B, REGISTER_C, SECONDS]), [B_BINARY | B_HOURS_24, 0, 46]);
}

// --- RAM ---

#[test]
fn memory_sizes_are_where_firmware_keeps_them() {
    let mut rig = rig();
    let word = |rig: &mut Rig, at: u8| u16::from_le_bytes(rig.get_all([at, at + 1]));
    assert_eq!(word(&mut rig, BASE_MEMORY), 640);
    assert_eq!(word(&mut rig, 0x17), 0xffff);
    assert_eq!(word(&mut rig, 0x30), 0xffff);
    assert_eq!(word(&mut rig, MEMORY_ABOVE_16M), (((3 << 30) - (16 << 20)) >> 16) as u16);
    assert_eq!(rig.get_all([0x5b, 0x5c, 0x5d]), [0, 0x40, 0x01]);
    let sum: u16 = (0x10..=0x2d).map(|at| u16::from(rig.get(at))).sum();
    assert_eq!(rig.get_all([0x2e, 0x2f]), sum.to_be_bytes());
}

#[test]
fn a_small_machines_memory_does_not_saturate() {
    let config = CmosConfig { memory_below_4g: 17 << 20, ..Default::default() };
    let mut rig = Rig { chip: Cmos::new(&config, 0), now: 0 };
    assert_eq!(rig.get_all([0x17, 0x18, 0x34, 0x35, 0x5b, 0x5c, 0x5d]), [0, 0x40, 16, 0, 0, 0, 0]);
    let config = CmosConfig { memory_above_4g: u64::MAX, ..Default::default() };
    let mut rig = Rig { chip: Cmos::new(&config, 0), now: 0 };
    assert_eq!(rig.get_all([0x15, 0x17, 0x34, 0x5b, 0x5c, 0x5d]), [0, 0, 0, 0xff, 0xff, 0xff]);
}

#[test]
fn the_rest_is_memory_and_the_index_has_seven_bits() {
    let mut rig = rig();
    // The shutdown status byte: operating systems start CPUs through it.
    rig.set(0x0f, 0x0a);
    rig.set(0x7f, 0x5a);
    assert_eq!(rig.get_all([0x8f, 0xff]), [0x0a, 0x5a]);
    assert!(rig.chip.nmi_masked());
    rig.chip.select(0x0f);
    assert!(!rig.chip.nmi_masked());
}

#[test]
fn status_registers_cannot_be_written() {
    let mut rig = rig();
    rig.set(REGISTER_A, !0x60);
    rig.set(REGISTER_C, 0xff);
    rig.set(REGISTER_D, 0);
    assert_eq!(rig.get_all([REGISTER_A, REGISTER_C, REGISTER_D]), [0x1f, 0, 0x80]);
}

// --- On the bus ---

#[test]
fn on_the_bus_the_line_and_the_deadline_follow_each_access() {
    let (clock, line) = (ManualClock::at(5), RecordedLine::new());
    let mut device = CmosDevice::new(&CmosConfig::default(), clock.clone(), line.clone());
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    device.notify_deadline(Box::new({
        let told = told.clone();
        move |deadline| told.lock().unwrap().push(deadline)
    }));
    let base = PioAddress(0x70);
    // One word write: index, then data.
    device.pio_write(base, 0, &[REGISTER_B, C_UPDATE | B_HOURS_24]);
    assert_eq!(*told.lock().unwrap(), [None, Some(S + 5)]);
    clock.advance(S);
    device.advance(clock.now());
    assert_eq!((line.levels(), device.next_deadline()), (vec![true], None));
    device.pio_write(base, 0, &[REGISTER_C]);
    let mut data = [0; 3];
    device.pio_read(base, 0, &mut data);
    assert_eq!(data, [0xff, C_IRQF | C_UPDATE | C_PERIODIC, 0xff]);
    assert_eq!(line.levels(), [true, false]);
    assert_eq!(*told.lock().unwrap(), [None, Some(S + 5), None, Some(2 * S + 5)]);
}

use crate::devices::clock::Clock;

proptest! {
    #[test]
    fn any_access_at_any_time_has_a_result(
        wall_ns: u64,
        start: u64,
        steps in prop::collection::vec(
            (any::<u8>(), any::<u8>(), prop_oneof![0..3 * S, any::<u64>()], any::<bool>()),
            0..60,
        ),
    ) {
        let config = CmosConfig { wall_ns, memory_below_4g: wall_ns, memory_above_4g: start };
        let mut rig = Rig { chip: Cmos::new(&config, start), now: start };
        for (index, value, wait, write) in steps {
            // The low indices have all the behaviour.
            let index = if value & 1 == 0 { index & 0x0f } else { index };
            rig.now = rig.now.saturating_add(wait);
            if write {
                rig.set(index, value);
            } else {
                rig.get(index);
            }
            let (irq, deadline) = (rig.chip.irq(), rig.chip.next_deadline());
            prop_assert!(!(irq && deadline.is_some()));
            if let Some(deadline) = deadline {
                // Nothing happens before the deadline, and then the line changes.
                let mut early = rig.chip.clone();
                early.advance((deadline - 1).max(rig.now));
                prop_assert!(deadline > rig.now && !early.irq());
                let mut due = rig.chip.clone();
                due.advance(deadline);
                prop_assert!(due.irq());
            }
        }
    }

    #[test]
    fn any_width_on_the_bus_has_a_result(offset: u16, len in 0..9_usize, value: u8) {
        let (clock, line) = (ManualClock::at(5), RecordedLine::new());
        let mut device = CmosDevice::new(&CmosConfig::default(), clock, line);
        device.pio_write(PioAddress(0x70), offset, &vec![value; len]);
        device.pio_read(PioAddress(0x70), offset, &mut vec![0; len]);
    }
}
