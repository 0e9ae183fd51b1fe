// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! ACPI fixed hardware: PM1a event and control registers, and the PM timer.
//!
//! Follows the ACPI specification 6.5, 4.8.3.1 "PM1 Event Grouping", 4.8.3.2 "PM1 Control
//! Registers" and 4.8.2.1 "Power Management Timer". The machine has no SMI command port, so it is in
//! ACPI mode always and `SCI_EN` reads 1.
//!
//! **Not** supported: sleep states but S5, bus mastering, the sleep button, the RTC's wake event,
//! general-purpose events.

use vm_device::bus::{PioAddress, PioAddressOffset};
use vm_device::MutDevicePio;

use super::clock::{DeadlineNotifier, DeadlineWatch, SharedClock};
use super::event::{MachineEvent, SharedEventSink};
use super::irq::SharedIrqLine;
use crate::layout;

/// The port ranges (first port, number of ports) at which to register an [`AcpiPmDevice`].
pub const PORT_RANGES: [(u16, u16); 2] = [
    (layout::PM1A_EVENT, layout::PM1A_EVENT_LEN as u16 + layout::PM1A_CONTROL_LEN as u16),
    (layout::PM_TIMER, layout::PM_TIMER_LEN as u16),
];

/// PM timer frequency in Hz.
pub const PM_TIMER_HZ: u64 = 3_579_545;

/// PM1 status and enable bit 0: the timer's most significant bit changed.
const TIMER: u16 = 1 << 0;
/// PM1 status and enable bit 5: the global lock was released. Writable, never set here.
const GLOBAL: u16 = 1 << 5;
/// PM1 status and enable bit 8: the power button was pressed.
const POWER_BUTTON: u16 = 1 << 8;
/// PM1 status and enable bit 10: the RTC's alarm. Writable, since Linux complains where it cannot
/// be enabled; never set here: there is no sleep that an alarm could end.
const RTC: u16 = 1 << 10;
/// The enable bits that hold what is written.
const ENABLE_WRITABLE: u16 = TIMER | GLOBAL | POWER_BUTTON | RTC;

/// PM1 control bit 0: power management events raise the SCI. Always set.
const SCI_EN: u16 = 1 << 0;
/// PM1 control bits 12:10: the sleep state to enter.
const SLP_TYP_SHIFT: u16 = 10;
const SLP_TYP: u16 = 0b111 << SLP_TYP_SHIFT;
/// PM1 control bit 13: enter it. Reads 0.
const SLP_EN: u16 = 1 << 13;
/// The control bits that hold what is written: BM_RLD and SLP_TYP.
const CONTROL_STORED: u16 = 1 << 1 | SLP_TYP;

const LAST_EVENT: u16 = layout::PM1A_EVENT + layout::PM1A_EVENT_LEN as u16 - 1;
const LAST_CONTROL: u16 = layout::PM1A_CONTROL + layout::PM1A_CONTROL_LEN as u16 - 1;
const LAST_TIMER: u16 = layout::PM_TIMER + layout::PM_TIMER_LEN as u16 - 1;

/// The registers. Times are nanoseconds of a monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcpiPm {
    status: u16,
    enable: u16,
    control: u16,
    /// When the timer read 0.
    epoch: u64,
    /// Timer ticks, all of them, at the last look at the timer's carry.
    seen: u64,
}

impl AcpiPm {
    /// Registers after reset, the timer starting from 0 at `now`.
    pub fn new(now: u64) -> Self {
        Self { status: 0, enable: 0, control: 0, epoch: now, seen: 0 }
    }

    /// Reads the byte at `port`; 0xff where no register is.
    pub fn read(&mut self, port: u16, now: u64) -> u8 {
        self.advance(now);
        match port {
            layout::PM1A_EVENT..=LAST_EVENT => {
                let [s0, s1] = self.status.to_le_bytes();
                let [e0, e1] = self.enable.to_le_bytes();
                [s0, s1, e0, e1][usize::from(port - layout::PM1A_EVENT)]
            }
            layout::PM1A_CONTROL..=LAST_CONTROL => {
                let control = self.control | SCI_EN;
                control.to_le_bytes()[usize::from(port - layout::PM1A_CONTROL)]
            }
            layout::PM_TIMER..=LAST_TIMER => {
                self.timer(now).to_le_bytes()[usize::from(port - layout::PM_TIMER)]
            }
            _ => 0xff,
        }
    }

    /// Writes the byte at `port`; returns whether the guest asks for soft-off with it.
    #[must_use = "true ends the machine"]
    pub fn write(&mut self, port: u16, value: u8, now: u64) -> bool {
        self.advance(now);
        let high = port & 1 != 0;
        let bits = if high { u16::from(value) << 8 } else { u16::from(value) };
        let kept = if high { 0x00ff } else { 0xff00 };
        match port {
            layout::PM1A_EVENT..=LAST_EVENT if port - layout::PM1A_EVENT < 2 => {
                self.status &= !bits;
            }
            layout::PM1A_EVENT..=LAST_EVENT => {
                self.enable = (self.enable & kept | bits) & ENABLE_WRITABLE;
            }
            layout::PM1A_CONTROL..=LAST_CONTROL => {
                let control = self.control & kept | bits;
                self.control = control & CONTROL_STORED;
                let s5 = u16::from(layout::S5_SLEEP_TYPE) << SLP_TYP_SHIFT;
                return control & SLP_EN != 0 && control & SLP_TYP == s5;
            }
            _ => {}
        }
        false
    }

    /// The machine is reset: nothing is enabled or flagged; the timer runs on.
    pub fn reset(&mut self) {
        self.status = 0;
        self.enable = 0;
        self.control = 0;
    }

    /// Presses and releases the power button. An operating system that handles it shuts down.
    pub fn press_power_button(&mut self) {
        self.status |= POWER_BUTTON;
    }

    /// The level of the SCI.
    pub fn sci(&self) -> bool {
        self.status & self.enable != 0
    }

    /// The 32-bit timer at `now`.
    pub fn timer(&self, now: u64) -> u32 {
        let [b0, b1, b2, b3, ..] = self.ticks(now).to_le_bytes();
        u32::from_le_bytes([b0, b1, b2, b3])
    }

    /// Takes note of the time: the timer's carry sets its status bit.
    pub fn advance(&mut self, now: u64) {
        let ticks = self.ticks(now).max(self.seen);
        if ticks >> 31 != self.seen >> 31 {
            self.status |= TIMER;
        }
        self.seen = ticks;
    }

    /// When [`sci`](Self::sci) next changes by the passing of time.
    pub fn next_deadline(&self) -> Option<u64> {
        if self.enable & TIMER == 0 || self.sci() {
            return None;
        }
        let carry = ((self.seen >> 31) + 1) << 31;
        let ns = (u128::from(carry) * NS_PER_S).div_ceil(u128::from(PM_TIMER_HZ));
        u64::try_from(ns).ok()?.checked_add(self.epoch)
    }

    fn ticks(&self, now: u64) -> u64 {
        let ns = u128::from(now.saturating_sub(self.epoch));
        // The quotient is below 2^64: the frequency is below 1 GHz.
        u64::try_from(ns * u128::from(PM_TIMER_HZ) / NS_PER_S).unwrap_or(u64::MAX)
    }
}

const NS_PER_S: u128 = 1_000_000_000;

/// [`AcpiPm`] on the bus.
pub struct AcpiPmDevice {
    model: AcpiPm,
    clock: SharedClock,
    line: SharedIrqLine,
    asserted: bool,
    deadline: DeadlineWatch,
    events: SharedEventSink,
}

impl AcpiPmDevice {
    /// The registers after reset; `line` is the SCI, level-triggered.
    pub fn new(clock: SharedClock, line: SharedIrqLine, events: SharedEventSink) -> Self {
        let model = AcpiPm::new(clock.now());
        Self { model, clock, line, asserted: false, deadline: DeadlineWatch::default(), events }
    }

    /// The machine is reset: see [`AcpiPm::reset`].
    pub fn reset(&mut self) {
        self.model.reset();
        self.update();
    }

    /// Presses and releases the power button.
    pub fn press_power_button(&mut self) {
        self.model.press_power_button();
        self.update();
    }

    /// Calls `notifier` whenever an access changes [`next_deadline`](Self::next_deadline).
    pub fn notify_deadline(&mut self, notifier: DeadlineNotifier) {
        self.deadline.notify(notifier);
    }

    /// When [`advance`](Self::advance) must be called next: see [`AcpiPm::next_deadline`].
    pub fn next_deadline(&self) -> Option<u64> {
        self.model.next_deadline()
    }

    /// Does what is due at `now`.
    pub fn advance(&mut self, now: u64) {
        self.model.advance(now);
        self.update();
    }

    fn update(&mut self) {
        let sci = self.model.sci();
        if sci != self.asserted {
            self.asserted = sci;
            self.line.set(sci);
        }
        self.deadline.set(self.model.next_deadline());
    }
}

impl MutDevicePio for AcpiPmDevice {
    fn pio_read(&mut self, base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        // One time for all bytes: a timer read is a snapshot.
        let now = self.clock.now();
        for (byte, port) in data.iter_mut().zip(super::ports(base, offset)) {
            *byte = self.model.read(port, now);
        }
        self.update();
    }

    fn pio_write(&mut self, base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        let now = self.clock.now();
        let mut off = false;
        for (byte, port) in data.iter().zip(super::ports(base, offset)) {
            off |= self.model.write(port, *byte, now);
        }
        self.update();
        if off {
            self.events.event(MachineEvent::Shutdown);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::clock::{Clock, ManualClock};
    use super::super::event::RecordedEvents;
    use super::super::irq::RecordedLine;
    use super::*;

    const STATUS: u16 = layout::PM1A_EVENT;
    const ENABLE: u16 = layout::PM1A_EVENT + 2;
    const CONTROL: u16 = layout::PM1A_CONTROL;
    const S: u64 = 1_000_000_000;

    struct Rig {
        device: AcpiPmDevice,
        clock: Arc<ManualClock>,
        sci: Arc<RecordedLine>,
        events: Arc<RecordedEvents>,
    }

    fn rig() -> Rig {
        let (clock, sci) = (ManualClock::at(1234), RecordedLine::new());
        let events = RecordedEvents::new();
        let device = AcpiPmDevice::new(clock.clone(), sci.clone(), events.clone());
        Rig { device, clock, sci, events }
    }

    impl Rig {
        fn inw(&mut self, port: u16) -> u16 {
            let mut data = [0; 2];
            self.device.pio_read(PioAddress(port), 0, &mut data);
            u16::from_le_bytes(data)
        }

        fn outw(&mut self, port: u16, value: u16) {
            // As the bus hands it down: the range's first port and an offset.
            let base = PioAddress(layout::PM1A_EVENT);
            self.device.pio_write(base, port - layout::PM1A_EVENT, &value.to_le_bytes());
        }

        fn timer(&mut self) -> u32 {
            let mut data = [0; 4];
            self.device.pio_read(PioAddress(layout::PM_TIMER), 0, &mut data);
            u32::from_le_bytes(data)
        }
    }

    #[test]
    fn soft_off_needs_the_sleep_type_and_the_enable_bit() {
        let mut rig = rig();
        let s5 = u16::from(layout::S5_SLEEP_TYPE) << SLP_TYP_SHIFT;
        for typ in 0..8 {
            let value = typ << SLP_TYP_SHIFT;
            rig.outw(CONTROL, value);
            assert_eq!(rig.inw(CONTROL), value | SCI_EN);
            assert_eq!(rig.events.take(), [], "without SLP_EN");
            rig.outw(CONTROL, value | SLP_EN | SCI_EN);
            assert_eq!(!rig.events.take().is_empty(), value == s5, "SLP_TYP {typ}");
        }
        rig.outw(CONTROL, s5 | SLP_EN);
        assert_eq!(rig.events.take(), [MachineEvent::Shutdown]);
        assert_eq!(rig.inw(CONTROL) & SLP_EN, 0, "SLP_EN reads 0");
    }

    #[test]
    fn the_machine_is_in_acpi_mode_always() {
        let mut rig = rig();
        rig.outw(CONTROL, 0);
        assert_eq!(rig.inw(CONTROL), SCI_EN);
    }

    #[test]
    fn the_timer_counts_at_its_frequency_without_drift() {
        let mut rig = rig();
        assert_eq!(rig.timer(), 0);
        rig.clock.advance(S);
        assert_eq!(rig.timer(), 3_579_545);
        rig.clock.advance(999 * S);
        assert_eq!(rig.timer(), 3_579_545_000);
    }

    #[test]
    fn the_timer_wraps_at_32_bits_and_is_read_as_one_snapshot_or_by_bytes() {
        let mut rig = rig();
        rig.clock.advance(1200 * S);
        let expected = (1200 * PM_TIMER_HZ) as u32;
        assert_eq!(rig.timer(), expected);
        let mut byte = [0];
        rig.device.pio_read(PioAddress(layout::PM_TIMER), 2, &mut byte);
        assert_eq!(byte[0], expected.to_le_bytes()[2]);
    }

    #[test]
    fn the_timers_carry_raises_the_sci_at_its_deadline_until_it_is_acknowledged() {
        let mut rig = rig();
        assert_eq!(rig.device.next_deadline(), None);
        rig.outw(ENABLE, TIMER);
        let deadline = rig.device.next_deadline().unwrap();
        rig.device.advance(deadline - 1);
        assert!(!rig.sci.level());
        rig.device.advance(deadline);
        assert!(rig.sci.level());
        rig.clock.advance(deadline - rig.clock.now());
        assert_eq!((rig.timer(), rig.inw(STATUS)), (1 << 31, TIMER));
        rig.outw(STATUS, TIMER);
        assert_eq!((rig.sci.levels(), rig.inw(STATUS)), (vec![true, false], 0));
        assert!(rig.device.next_deadline().unwrap() > deadline);
    }

    #[test]
    fn the_power_button_raises_the_sci_if_enabled_and_a_status_bit_is_cleared_by_writing_1() {
        let mut rig = rig();
        rig.device.press_power_button();
        assert_eq!((rig.inw(STATUS), rig.sci.level()), (POWER_BUTTON, false));
        rig.outw(ENABLE, 0xffff);
        assert_eq!((rig.inw(ENABLE), rig.sci.level()), (ENABLE_WRITABLE, true));
        rig.outw(STATUS, !POWER_BUTTON);
        assert!(rig.sci.level());
        rig.outw(STATUS, POWER_BUTTON);
        assert_eq!((rig.inw(STATUS), rig.sci.level()), (0, false));
    }

    #[test]
    fn a_machine_reset_lowers_the_sci_and_forgets_the_enables() {
        let mut rig = rig();
        rig.outw(ENABLE, POWER_BUTTON);
        rig.device.press_power_button();
        rig.device.reset();
        assert_eq!((rig.inw(STATUS), rig.inw(ENABLE), rig.sci.levels()), (0, 0, vec![true, false]));
    }
}
