// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The keyboard controller's one job here: resetting the machine.
//!
//! [`vm_superio::I8042Device`] on the bus. **Not** supported: keyboard, mouse, A20 (always on);
//! every register reads 0, which says "both buffers empty".

use std::convert::Infallible;

use vm_device::bus::{PioAddress, PioAddressOffset};
use vm_device::MutDevicePio;
use vm_superio::{I8042Device, Trigger};

use super::event::{MachineEvent, ResetCause, SharedEventSink};
use super::ports;
use crate::layout;

/// The i8042 at ports 0x60 and 0x64. Register it at both, one port each: 0x61 between them is the
/// timer's.
pub struct I8042(I8042Device<ResetTrigger>);

struct ResetTrigger(SharedEventSink);

impl Trigger for ResetTrigger {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        self.0.event(MachineEvent::Reset(ResetCause::KeyboardController));
        Ok(())
    }
}

impl I8042 {
    /// A controller that reports the reset command to `events`.
    pub fn new(events: SharedEventSink) -> Self {
        Self(I8042Device::new(ResetTrigger(events)))
    }

    /// The register offset of `port` in the controller, if the port is one of its two.
    fn register(port: u16) -> Option<u8> {
        match port {
            layout::I8042_DATA => Some(0),
            layout::I8042_COMMAND => Some(4),
            _ => None,
        }
    }
}

impl MutDevicePio for I8042 {
    fn pio_read(&mut self, base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        for (byte, port) in data.iter_mut().zip(ports(base, offset)) {
            *byte = Self::register(port).map_or(0xff, |register| self.0.read(register));
        }
    }

    fn pio_write(&mut self, base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        for (byte, port) in data.iter().zip(ports(base, offset)) {
            if let Some(register) = Self::register(port) {
                let Ok(()) = self.0.write(register, *byte);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::RecordedEvents;
    use super::*;

    const DATA: PioAddress = PioAddress(0x60);
    const COMMAND: PioAddress = PioAddress(0x64);
    const RESET: MachineEvent = MachineEvent::Reset(ResetCause::KeyboardController);

    #[test]
    fn the_reset_command_resets_once() {
        let events = RecordedEvents::new();
        let mut i8042 = I8042::new(events.clone());
        i8042.pio_write(COMMAND, 0, &[0xfe]);
        assert_eq!(events.take(), [RESET]);
    }

    #[test]
    fn other_commands_and_the_data_port_do_not_reset() {
        let events = RecordedEvents::new();
        let mut i8042 = I8042::new(events.clone());
        for command in 0..=0xfd {
            i8042.pio_write(COMMAND, 0, &[command]);
        }
        i8042.pio_write(DATA, 0, &[0xfe]);
        assert_eq!(events.take(), []);
    }

    #[test]
    fn status_reads_as_ready_for_a_command() {
        // Linux waits for the input-buffer-full bit (1) to clear before it sends the reset.
        let mut i8042 = I8042::new(RecordedEvents::new());
        let mut status = [0xff];
        i8042.pio_read(COMMAND, 0, &mut status);
        assert_eq!(status, [0]);
    }

    #[test]
    fn a_wide_access_reaches_the_controllers_ports_only() {
        let events = RecordedEvents::new();
        let mut i8042 = I8042::new(events.clone());
        let mut bytes = [0x55; 8];
        i8042.pio_read(DATA, 0, &mut bytes);
        assert_eq!(bytes, [0, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0xff]);
        i8042.pio_write(DATA, 0, &[0, 0, 0, 0, 0xfe, 0, 0, 0]);
        assert_eq!(events.take(), [RESET]);
    }
}
