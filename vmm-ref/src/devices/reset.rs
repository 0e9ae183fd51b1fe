// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The two chipset registers that reset the machine: 0xcf9 and 0x92.
//!
//! * 0xcf9, Reset Control Register (Intel 82371AB PIIX4 data sheet, "RC: Reset Control Register"):
//!   bit 1 selects hard or soft reset, a 0 to 1 change of bit 2 resets.
//! * 0x92, System Control Port A (Intel I/O Controller Hub data sheets, "PORT92: Fast A20 and Init
//!   Register"): a 0 to 1 change of bit 0 resets; bit 1 gates A20, which is always open here.
//!
//! Register it at each of the two ports, one byte each: 0xcf8 must stay free, a 4-byte access there
//! is a PCI configuration address and not a reset.

use vm_device::bus::{PioAddress, PioAddressOffset};
use vm_device::MutDevicePio;

use super::event::{MachineEvent, ResetCause, SharedEventSink};
use super::ports;
use crate::layout;

/// System Control Port A.
pub const SYSTEM_CONTROL_PORT_A: u16 = 0x92;

/// RC bit 1, "System Reset": a hard reset.
const SYS_RST: u8 = 1 << 1;
/// RC bit 2, "Reset CPU".
const RST_CPU: u8 = 1 << 2;
/// RC bit 3, "Full Reset" of the later chipsets: the power cycles.
const FULL_RST: u8 = 1 << 3;
/// Port A bit 0, "Alternate Reset" (INIT_NOW).
const INIT_NOW: u8 = 1 << 0;
/// Port A bit 1, "Alternate A20 Gate".
const ALT_A20: u8 = 1 << 1;

/// The reset registers of the chipset.
pub struct ResetControl {
    control: u8,
    port_a: u8,
    events: SharedEventSink,
}

impl ResetControl {
    /// Both registers as after power-on.
    pub fn new(events: SharedEventSink) -> Self {
        Self { control: 0, port_a: ALT_A20, events }
    }

    /// The machine is reset: both registers are as after power-on.
    pub fn reset(&mut self) {
        self.control = 0;
        self.port_a = ALT_A20;
    }

    fn read(&self, port: u16) -> u8 {
        match port {
            layout::RESET_PORT => self.control,
            SYSTEM_CONTROL_PORT_A => self.port_a,
            _ => 0xff,
        }
    }

    fn write(&mut self, port: u16, value: u8) {
        match port {
            layout::RESET_PORT => {
                self.control = value & (SYS_RST | FULL_RST);
                self.request(value & RST_CPU != 0, ResetCause::ResetRegister);
            }
            SYSTEM_CONTROL_PORT_A => {
                // A20 stays open whatever is written.
                self.port_a = ALT_A20;
                self.request(value & INIT_NOW != 0, ResetCause::SystemControlPortA);
            }
            _ => {}
        }
    }

    fn request(&mut self, reset: bool, cause: ResetCause) {
        if reset {
            // The request bits never read 1, so that the next request is a change again.
            self.reset();
            self.events.event(MachineEvent::Reset(cause));
        }
    }
}

impl MutDevicePio for ResetControl {
    fn pio_read(&mut self, base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        for (byte, port) in data.iter_mut().zip(ports(base, offset)) {
            *byte = self.read(port);
        }
    }

    fn pio_write(&mut self, base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        for (byte, port) in data.iter().zip(ports(base, offset)) {
            self.write(port, *byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::RecordedEvents;
    use super::*;

    const RC: PioAddress = PioAddress(layout::RESET_PORT);
    const PORT_A: PioAddress = PioAddress(SYSTEM_CONTROL_PORT_A);

    fn device() -> (ResetControl, std::sync::Arc<RecordedEvents>) {
        let events = RecordedEvents::new();
        (ResetControl::new(events.clone()), events)
    }

    #[test]
    fn the_value_that_acpi_announces_resets() {
        let (mut reset, events) = device();
        reset.pio_write(RC, 0, &[layout::RESET_VALUE]);
        assert_eq!(events.take(), [MachineEvent::Reset(ResetCause::ResetRegister)]);
    }

    #[test]
    fn the_two_step_reset_of_operating_systems_resets_once() {
        // First the kind, then the kind with the CPU bit; the kind alone reads back.
        let (mut reset, events) = device();
        reset.pio_write(RC, 0, &[SYS_RST]);
        let mut kind = [0];
        reset.pio_read(RC, 0, &mut kind);
        assert_eq!((kind, events.take()), ([SYS_RST], vec![]));
        reset.pio_write(RC, 0, &[SYS_RST | RST_CPU]);
        assert_eq!(events.take().len(), 1);
    }

    #[test]
    fn no_other_value_resets() {
        let (mut reset, events) = device();
        for value in (0..=0xff_u8).filter(|value| value & RST_CPU == 0) {
            reset.pio_write(RC, 0, &[value]);
            let mut kind = [0];
            reset.pio_read(RC, 0, &mut kind);
            assert_eq!(kind, [value & (SYS_RST | FULL_RST)]);
        }
        assert_eq!(events.take(), []);
    }

    #[test]
    fn opening_a20_through_port_a_does_not_reset() {
        let (mut reset, events) = device();
        let mut value = [0];
        reset.pio_read(PORT_A, 0, &mut value);
        assert_eq!(value, [ALT_A20]);
        reset.pio_write(PORT_A, 0, &[value[0] | ALT_A20]);
        assert_eq!(events.take(), []);
        reset.pio_write(PORT_A, 0, &[ALT_A20 | INIT_NOW]);
        assert_eq!(events.take(), [MachineEvent::Reset(ResetCause::SystemControlPortA)]);
    }

    #[test]
    fn a_wide_access_touches_no_neighbour() {
        let (mut reset, events) = device();
        // A PCI configuration address as a buggy bus might hand it down.
        reset.pio_write(PioAddress(0xcf8), 0, &[0x00, 0x00, 0x00, 0x80]);
        let mut bytes = [0; 4];
        reset.pio_read(PioAddress(0xcf8), 0, &mut bytes);
        assert_eq!(bytes, [0xff, 0x00, 0xff, 0xff]);
        assert_eq!(events.take(), []);
    }
}
