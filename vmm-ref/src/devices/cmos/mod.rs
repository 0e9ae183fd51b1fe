// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The real-time clock and its CMOS RAM: an MC146818A at 0x70/0x71 on IRQ 8.
//!
//! [`Cmos`] is the chip without a clock of its own: time goes in, the level of its IRQ output and
//! the time of its next change come out. [`CmosDevice`] puts it on the bus.
//!
//! Interrupts: periodic (all 15 rates), alarm (with "don't care"), update-ended. A flag in register
//! C is set whether or not it is enabled; IRQ is asserted from an enabled flag on until register C is
//! read. Updates halt while SET is 1 or the divider is held in reset; a released divider makes its
//! first update half a second later. Register A's UIP goes high 244 us before an update, which
//! itself takes no time here.
//!
//! **Not** supported: daylight saving (the bit is stored), the square wave, the 128 bytes of a
//! second bank, a crystal of another frequency than 32 768 Hz.

mod bus;
mod calendar;
mod ram;
mod spec;
#[cfg(test)]
mod tests;

pub use bus::CmosDevice;

use calendar::{Alarm, Format, Registers};

/// What the machine tells the chip when it is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CmosConfig {
    /// RAM below 4 GiB in bytes, the first 1 MiB included.
    pub memory_below_4g: u64,
    /// RAM above 4 GiB in bytes.
    pub memory_above_4g: u64,
    /// The wall clock in nanoseconds since 1970-01-01, in the time zone that the guest shall see
    /// (UTC for Linux).
    pub wall_ns: u64,
}

/// The chip. Times are nanoseconds of a monotonic clock; one that goes back counts as standing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cmos {
    index: u8,
    ram: [u8; spec::SIZE],
    a: u8,
    b: u8,
    /// Register C without IRQF.
    flags: u8,
    /// Seconds since 1970 as the guest has set them.
    time: i64,
    day_of_week_offset: i64,
    /// The time registers while SET halts the updates.
    held: Option<Registers>,
    divider: Divider,
}

/// The chain that divides 32 768 Hz down to a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Divider {
    /// When it was last started.
    start: u64,
    /// How far into a second it was then, in nanoseconds.
    phase: u64,
    /// Ticks at the last look.
    ticks: u64,
}

impl Cmos {
    /// A chip whose clock runs from the configured wall time on: BCD, 24 hours, no interrupt
    /// enabled.
    pub fn new(config: &CmosConfig, now: u64) -> Self {
        let (seconds, phase) = (config.wall_ns / NS_PER_S, config.wall_ns % NS_PER_S);
        Self {
            index: 0,
            ram: ram::initial(config.memory_below_4g, config.memory_above_4g),
            a: spec::A_DIVIDER_RUN | spec::A_RATE_1024,
            b: spec::B_HOURS_24,
            flags: 0,
            time: i64::try_from(seconds).unwrap_or(0),
            day_of_week_offset: 0,
            held: None,
            divider: Divider::new(now, phase),
        }
    }

    /// The machine is reset: no interrupt is enabled or flagged. The battery keeps time, formats and
    /// RAM (data sheet, "RESET").
    pub fn reset(&mut self) {
        self.index = 0;
        self.flags = 0;
        self.b &= !(spec::B_ENABLES | spec::B_SQUARE_WAVE);
    }

    /// Writes the index port (0x70).
    pub fn select(&mut self, index: u8) {
        self.index = index;
    }

    /// Whether the guest has masked NMI with the index port's bit 7.
    pub fn nmi_masked(&self) -> bool {
        self.index & spec::INDEX_NMI_MASK != 0
    }

    /// Reads the data port (0x71). Register C is cleared by it.
    pub fn read(&mut self, now: u64) -> u8 {
        self.advance(now);
        let index = self.index & !spec::INDEX_NMI_MASK;
        match index {
            spec::REGISTER_A => self.a | self.update_in_progress(now),
            spec::REGISTER_B => self.b,
            spec::REGISTER_C => {
                let irqf = if self.irq() { spec::C_IRQF } else { 0 };
                std::mem::take(&mut self.flags) | irqf
            }
            spec::REGISTER_D => spec::D_VALID,
            _ => match field(&mut self.registers(), index) {
                Some(register) => *register,
                None => self.ram[usize::from(index)],
            },
        }
    }

    /// Writes the data port (0x71). Registers C and D ignore it.
    pub fn write(&mut self, value: u8, now: u64) {
        self.advance(now);
        let index = self.index & !spec::INDEX_NMI_MASK;
        match index {
            spec::REGISTER_A => self.write_a(value & !spec::A_UIP, now),
            spec::REGISTER_B => self.write_b(value),
            spec::REGISTER_C | spec::REGISTER_D => {}
            _ => {
                let mut registers = self.registers();
                match field(&mut registers, index) {
                    Some(register) => {
                        *register = value;
                        self.set_registers(registers);
                    }
                    None => self.ram[usize::from(index)] = value,
                }
            }
        }
    }

    /// The IRQ output: asserted from an enabled flag on until register C is read.
    pub fn irq(&self) -> bool {
        self.flags & self.b & spec::B_ENABLES != 0
    }

    /// Does what is due at `now`: sets the flags, moves the time on.
    pub fn advance(&mut self, now: u64) {
        if self.divider_reset() {
            return;
        }
        let before = self.divider.ticks;
        let ticks = self.divider.ticks_at(now).max(before);
        self.divider.ticks = ticks;
        if spec::period_log2(self.a).is_some_and(|period| ticks >> period != before >> period) {
            self.flags |= spec::C_PERIODIC;
        }
        let seconds =
            (ticks >> spec::TICKS_PER_SECOND_LOG2) - (before >> spec::TICKS_PER_SECOND_LOG2);
        if seconds != 0 && self.held.is_none() {
            self.update(seconds);
        }
    }

    /// When [`irq`](Self::irq) next changes by the passing of time; never, while it is asserted.
    pub fn next_deadline(&self) -> Option<u64> {
        if self.irq() || self.divider_reset() {
            return None;
        }
        let enabled = |flag: u8| self.b & flag != 0;
        let ticks = self.divider.ticks;
        let second = ticks >> spec::TICKS_PER_SECOND_LOG2;
        let periodic = spec::period_log2(self.a)
            .filter(|_| enabled(spec::C_PERIODIC))
            .map(|period| ((ticks >> period) + 1) << period);
        let updates = self.held.is_none();
        let update = (updates && enabled(spec::C_UPDATE)).then_some(1);
        let alarm = self.alarm().seconds_after(self.time);
        let alarm = alarm.filter(|_| updates && enabled(spec::C_ALARM));
        let boundary = update.into_iter().chain(alarm).min();
        let boundary = boundary.map(|after| (second + after) << spec::TICKS_PER_SECOND_LOG2);
        periodic.into_iter().chain(boundary).min().and_then(|tick| self.divider.when(tick))
    }

    /// The time moves on by some seconds: what an update does, once for all of them.
    fn update(&mut self, seconds: u64) {
        self.flags |= spec::C_UPDATE;
        if self.alarm().seconds_after(self.time).is_some_and(|after| after <= seconds) {
            self.flags |= spec::C_ALARM;
        }
        self.time = self.time.saturating_add_unsigned(seconds);
    }

    fn write_a(&mut self, value: u8, now: u64) {
        let was_reset = self.divider_reset();
        self.a = value;
        if was_reset && !self.divider_reset() {
            self.divider = Divider::new(now, NS_PER_S / 2);
        }
    }

    fn write_b(&mut self, mut value: u8) {
        if value & spec::B_SET != 0 {
            // "UIE is cleared by SET going high."
            value &= !spec::B_UIE;
            self.held = Some(self.registers());
            self.b = value;
        } else {
            self.b = value;
            if let Some(held) = self.held.take() {
                self.set_registers(held);
            }
        }
    }

    fn registers(&self) -> Registers {
        self.held.unwrap_or_else(|| self.format().registers(self.time, self.day_of_week_offset))
    }

    fn set_registers(&mut self, registers: Registers) {
        match &mut self.held {
            Some(held) => *held = registers,
            None => (self.time, self.day_of_week_offset) = self.format().time(&registers),
        }
    }

    fn update_in_progress(&self, now: u64) -> u8 {
        let second = 1 << spec::TICKS_PER_SECOND_LOG2;
        let left = second - self.divider.ticks_at(now).max(self.divider.ticks) % second;
        let updates = self.held.is_none() && !self.divider_reset();
        if updates && left <= spec::UIP_TICKS {
            spec::A_UIP
        } else {
            0
        }
    }

    fn divider_reset(&self) -> bool {
        self.a & spec::A_DIVIDER_RESET == spec::A_DIVIDER_RESET
    }

    fn format(&self) -> Format {
        Format { binary: self.b & spec::B_BINARY != 0, hours_24: self.b & spec::B_HOURS_24 != 0 }
    }

    fn alarm(&self) -> Alarm {
        let [seconds, minutes, hours] =
            [spec::SECONDS_ALARM, spec::MINUTES_ALARM, spec::HOURS_ALARM]
                .map(|register| self.ram[usize::from(register)]);
        Alarm::new(self.format(), seconds, minutes, hours)
    }
}

/// The time register at `index`, if there is one.
fn field(registers: &mut Registers, index: u8) -> Option<&mut u8> {
    match index {
        spec::SECONDS => Some(&mut registers.seconds),
        spec::MINUTES => Some(&mut registers.minutes),
        spec::HOURS => Some(&mut registers.hours),
        spec::DAY_OF_WEEK => Some(&mut registers.day_of_week),
        spec::DAY => Some(&mut registers.day),
        spec::MONTH => Some(&mut registers.month),
        spec::YEAR => Some(&mut registers.year),
        spec::CENTURY => Some(&mut registers.century),
        _ => None,
    }
}

const NS_PER_S: u64 = 1_000_000_000;

impl Divider {
    /// Started at `now`, `phase` nanoseconds (below a second) after an update.
    fn new(now: u64, phase: u64) -> Self {
        let mut divider = Self { start: now, phase, ticks: 0 };
        divider.ticks = divider.ticks_at(now);
        divider
    }

    /// Whole ticks at `now`. Exact: no error adds up over time.
    fn ticks_at(&self, now: u64) -> u64 {
        let ns = u128::from(now.saturating_sub(self.start)) + u128::from(self.phase);
        let ticks = (ns << spec::TICKS_PER_SECOND_LOG2) / u128::from(NS_PER_S);
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// The first nanosecond at which `tick` has come.
    fn when(&self, tick: u64) -> Option<u64> {
        let ns =
            (u128::from(tick) * u128::from(NS_PER_S)).div_ceil(1 << spec::TICKS_PER_SECOND_LOG2);
        let ns = (ns + u128::from(self.start)).saturating_sub(u128::from(self.phase));
        u64::try_from(ns).ok()
    }
}
