// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Seconds since 1970 as the clock's registers show them, and back.

use super::spec::{HOUR_DONT_CARE, HOUR_PM};

/// Seconds in a day.
pub(super) const DAY: i64 = 86_400;

/// How the time registers are written: register B's DM and 24/12 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// Binary; otherwise BCD.
    pub binary: bool,
    /// Hours 0..=23; otherwise 1..=12 with bit 7 for the afternoon.
    pub hours_24: bool,
}

/// The registers that hold the time, raw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Registers {
    pub seconds: u8,
    pub minutes: u8,
    pub hours: u8,
    /// 1 (Sunday) to 7.
    pub day_of_week: u8,
    pub day: u8,
    pub month: u8,
    pub year: u8,
    pub century: u8,
}

impl Format {
    /// A number 0..=99 as a register holds it.
    fn encode(self, value: i64) -> u8 {
        let value = u8::try_from(value.rem_euclid(100)).unwrap_or(0);
        if self.binary {
            value
        } else {
            ((value / 10) << 4) | (value % 10)
        }
    }

    /// What a register says, forced into `range`: a register can hold any byte.
    fn decode(self, raw: u8, range: std::ops::RangeInclusive<i64>) -> i64 {
        self.number(raw).clamp(*range.start(), *range.end())
    }

    fn number(self, raw: u8) -> i64 {
        if self.binary {
            i64::from(raw)
        } else {
            i64::from(raw >> 4) * 10 + i64::from(raw & 0xf)
        }
    }

    fn encode_hour(self, hour: i64) -> u8 {
        match (self.hours_24, hour) {
            (true, _) => self.encode(hour),
            (false, 0) => self.encode(12),
            (false, 1..=12) => self.encode(hour) | if hour == 12 { HOUR_PM } else { 0 },
            (false, _) => self.encode(hour - 12) | HOUR_PM,
        }
    }

    fn decode_hour(self, raw: u8) -> i64 {
        if self.hours_24 {
            self.decode(raw, 0..=23)
        } else {
            let hour = self.decode(raw & !HOUR_PM, 1..=12) % 12;
            hour + if raw & HOUR_PM != 0 { 12 } else { 0 }
        }
    }

    /// The registers at `time`, seconds since 1970; `day_of_week_offset` is what the guest added to
    /// the true day of the week.
    pub(super) fn registers(self, time: i64, day_of_week_offset: i64) -> Registers {
        let (days, second) = (time.div_euclid(DAY), time.rem_euclid(DAY));
        let (year, month, day) = civil_from_days(days);
        Registers {
            seconds: self.encode(second % 60),
            minutes: self.encode(second / 60 % 60),
            hours: self.encode_hour(second / 3600),
            day_of_week: self.encode((day_of_week(days) + day_of_week_offset).rem_euclid(7) + 1),
            day: self.encode(day),
            month: self.encode(month),
            year: self.encode(year),
            century: self.encode(year.div_euclid(100)),
        }
    }

    /// The time and the day-of-week offset that `registers` say. Bytes that are no time of day or
    /// date are forced to the nearest one.
    pub(super) fn time(self, registers: &Registers) -> (i64, i64) {
        let year =
            self.decode(registers.century, 0..=99) * 100 + self.decode(registers.year, 0..=99);
        let month = self.decode(registers.month, 1..=12);
        let day = self.decode(registers.day, 1..=days_in_month(year, month));
        let days = days_from_civil(year, month, day);
        let second = self.decode_hour(registers.hours) * 3600
            + self.decode(registers.minutes, 0..=59) * 60
            + self.decode(registers.seconds, 0..=59);
        let offset = self.decode(registers.day_of_week, 1..=7) - 1 - day_of_week(days);
        (days * DAY + second, offset.rem_euclid(7))
    }
}

/// A time of day that the alarm waits for; `None` is "any".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alarm {
    hour: Option<i64>,
    minute: Option<i64>,
    second: Option<i64>,
}

/// What no time register shows.
const NEVER: i64 = -1;

impl Alarm {
    /// The alarm registers' meaning. A register with its two high bits set matches always; one
    /// that is no time matches never.
    pub(super) fn new(format: Format, seconds: u8, minutes: u8, hours: u8) -> Self {
        // The chip compares bytes, so only the byte that the time register would hold matches.
        let wanted = |raw: u8, encode: fn(Format, i64) -> u8, decode: fn(Format, u8) -> i64| {
            let value = decode(format, raw);
            let exact = encode(format, value) == raw;
            (raw < HOUR_DONT_CARE).then_some(if exact { value } else { NEVER })
        };
        let field = |raw: u8| wanted(raw, Format::encode, Format::number);
        let hour = wanted(hours, Format::encode_hour, Format::decode_hour);
        Self { hour, minute: field(minutes), second: field(seconds) }
    }

    /// Seconds from `time` to the next match after it: 1..=86400.
    pub(super) fn seconds_after(&self, time: i64) -> Option<u64> {
        let now = time.rem_euclid(DAY);
        let mut at = now + 1;
        // Steps by hours, then minutes, then seconds: some 300 steps at most.
        while at <= now + DAY {
            let (hour, minute, second) = (at / 3600 % 24, at / 60 % 60, at % 60);
            if self.hour.is_some_and(|wanted| wanted != hour) {
                at = (at / 3600 + 1) * 3600;
            } else if self.minute.is_some_and(|wanted| wanted != minute) {
                at = (at / 60 + 1) * 60;
            } else if self.second.is_some_and(|wanted| wanted != second) {
                at += 1;
            } else {
                return u64::try_from(at - now).ok();
            }
        }
        None
    }
}

/// 0 (Sunday) to 6; 1970-01-01 was a Thursday.
fn day_of_week(days: i64) -> i64 {
    (days + 4).rem_euclid(7)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days before the first of March of `year`, counted from 0000-03-01: leap days fall at the end
/// of a year that starts in March.
fn days_before_march_year(year: i64) -> i64 {
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400)
}

/// Days before month `index` (0 = March) of a year that starts in March: months of 31, 30, 31, 30,
/// 31 days repeat, which (153 n + 2) / 5 counts.
fn days_before_march_month(index: i64) -> i64 {
    (153 * index + 2) / 5
}

/// 1970-01-01 counted from 0000-03-01.
const EPOCH_DAYS: i64 = 719_468;

/// Days since 1970-01-01 of a date of the Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let (year, index) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    days_before_march_year(year) + days_before_march_month(index) + day - 1 - EPOCH_DAYS
}

/// Year, month and day of a day since 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    // The average year's length finds the year or the one beside it.
    let mut year = (days * 400).div_euclid(146_097);
    while days_before_march_year(year) > days {
        year -= 1;
    }
    while days_before_march_year(year + 1) <= days {
        year += 1;
    }
    let day_of_year = days - days_before_march_year(year);
    let index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - days_before_march_month(index) + 1;
    if index < 10 {
        (year, index + 3, day)
    } else {
        (year + 1, index - 9, day)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BCD_24: Format = Format { binary: false, hours_24: true };
    const FORMATS: [Format; 4] = [
        BCD_24,
        Format { binary: false, hours_24: false },
        Format { binary: true, hours_24: true },
        Format { binary: true, hours_24: false },
    ];

    #[test]
    fn known_dates_have_their_day_numbers() {
        // From `date -u -d DATE +%s`.
        for (date, seconds) in [
            ((1970, 1, 1), 0),
            ((2000, 2, 29), 951_782_400),
            ((2000, 3, 1), 951_868_800),
            ((2038, 1, 19), 2_147_472_000),
            ((2100, 2, 28), 4_107_456_000_i64),
            ((2100, 3, 1), 4_107_542_400),
        ] {
            assert_eq!(days_from_civil(date.0, date.1, date.2) * DAY, seconds, "{date:?}");
            assert_eq!(civil_from_days(seconds / DAY), date);
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut date = (1900, 1, 1);
        for days in days_from_civil(1900, 1, 1)..=days_from_civil(2300, 12, 31) {
            assert_eq!(civil_from_days(days), date);
            assert_eq!(days_from_civil(date.0, date.1, date.2), days);
            date = match date {
                (y, 12, 31) => (y + 1, 1, 1),
                (y, m, d) if d == days_in_month(y, m) => (y, m + 1, 1),
                (y, m, d) => (y, m, d + 1),
            };
        }
    }

    #[test]
    fn noon_and_midnight_in_twelve_hours() {
        let format = Format { binary: false, hours_24: false };
        let hours = [0, 1, 11, 12, 13, 23].map(|hour| format.registers(hour * 3600, 0).hours);
        assert_eq!(hours, [0x12, 0x01, 0x11, 0x92, 0x81, 0x91]);
    }

    #[test]
    fn a_register_set_that_is_no_date_is_forced_to_the_nearest() {
        let raw =
            Registers { seconds: 0xff, month: 0, day: 0x99, century: 0x20, ..Default::default() };
        assert_eq!(BCD_24.time(&raw).0, days_from_civil(2000, 1, 31) * DAY + 59);
    }

    proptest! {
        // The slow search looks at a whole day.
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn registers_and_back_is_the_same_time(
            time in days_from_civil(0, 1, 1) * DAY..days_from_civil(9999, 12, 31) * DAY,
            offset in 0..7_i64,
            format in prop::sample::select(&FORMATS[..]),
        ) {
            prop_assert_eq!(format.time(&format.registers(time, offset)), (time, offset));
        }

        #[test]
        fn the_alarm_finds_what_a_search_by_seconds_finds(
            now in 0..DAY,
            second in 0..=0xff_u8, minute in 0..=0xff_u8, hour in 0..=0xff_u8,
            format in prop::sample::select(&FORMATS[..]),
        ) {
            let alarm = Alarm::new(format, second, minute, hour);
            let hits = |raw: u8, now: u8| raw >= 0xc0 || raw == now;
            let slow = (1..=DAY).find(|after| {
                let registers = format.registers(now + after, 0);
                hits(second, registers.seconds)
                    && hits(minute, registers.minutes)
                    && hits(hour, registers.hours)
            });
            prop_assert_eq!(alarm.seconds_after(now), slow.map(|after| after as u64));
        }
    }
}
