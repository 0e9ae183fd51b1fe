// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What holds for every device on the port bus.

use proptest::prelude::*;
use vm_device::bus::{PioAddress, PioRange};
use vm_device::device_manager::{IoManager, PioManager};
use vm_device::MutDevicePio;

use std::sync::{Arc, Mutex};

use super::event::RecordedEvents;
use super::irq::RecordedLine;
use super::*;
use crate::layout;

type Boxed = Box<dyn MutDevicePio + Send>;

/// Every device with the ranges it is registered at.
fn all() -> Vec<(Boxed, Vec<(u16, u16)>)> {
    let (clock, line, events) =
        (clock::ManualClock::at(0), RecordedLine::new(), RecordedEvents::new());
    let lines = vec![line.clone() as SharedIrqLine; usize::from(testdev::LINE_COUNT)];
    let config = CmosConfig::default();
    vec![
        (
            Box::new(Serial::new(line.clone(), std::io::sink())) as Boxed,
            vec![(layout::COM1, serial::PORT_COUNT)],
        ),
        (
            Box::new(I8042::new(events.clone())),
            vec![(layout::I8042_DATA, 1), (layout::I8042_COMMAND, 1)],
        ),
        (Box::new(CmosDevice::new(&config, clock.clone(), line.clone())), vec![(layout::CMOS, 2)]),
        (Box::new(AcpiPmDevice::new(clock, line, events.clone())), acpi_pm::PORT_RANGES.into()),
        (
            Box::new(ResetControl::new(events.clone())),
            vec![(layout::RESET_PORT, 1), (reset::SYSTEM_CONTROL_PORT_A, 1)],
        ),
        (Box::new(TestDevice::new(lines, events)), testdev::PORT_RANGES.into()),
    ]
}

/// A device as the bus wants it.
struct OnBus(Boxed);

impl MutDevicePio for OnBus {
    fn pio_read(&mut self, base: PioAddress, offset: u16, data: &mut [u8]) {
        self.0.pio_read(base, offset, data);
    }

    fn pio_write(&mut self, base: PioAddress, offset: u16, data: &[u8]) {
        self.0.pio_write(base, offset, data);
    }
}

fn bus() -> IoManager {
    let mut bus = IoManager::new();
    for (device, ranges) in all() {
        let device = Arc::new(Mutex::new(OnBus(device)));
        for (first, len) in ranges {
            let range = PioRange::new(PioAddress(first), len).unwrap();
            bus.register_pio(range, device.clone()).unwrap();
        }
    }
    bus
}

#[test]
fn the_ranges_of_all_devices_fit_on_one_bus_beside_the_others_ports() {
    let bus = bus();
    for port in [0x20, 0x40, 0x43, 0x61, 0x80, 0xa0, 0x4d0, 0xcf8, 0xcfc] {
        assert!(bus.pio_device(PioAddress(port)).is_none(), "port {port:#x} is not ours");
    }
}

#[test]
fn a_pci_configuration_address_is_not_a_reset() {
    assert!(bus().pio_write(PioAddress(0xcf8), &[0, 6, 0, 0x80]).is_err());
}

proptest! {
    #[test]
    fn every_port_and_width_has_a_result_on_every_device(
        accesses in prop::collection::vec(
            (0..6_usize, 0..3_usize, any::<u16>(), prop::collection::vec(any::<u8>(), 0..9)),
            0..40,
        ),
    ) {
        let mut devices = all();
        for (device, range, offset, data) in accesses {
            let (device, ranges) = &mut devices[device];
            let (base, len) = ranges[range % ranges.len()];
            // Near the range, mostly; the bus would not let the others through.
            let offset = if offset & 7 == 0 { offset } else { offset % (len + 2) };
            device.pio_write(PioAddress(base), offset, &data);
            let mut read = data.clone();
            device.pio_read(PioAddress(base), offset, &mut read);
        }
    }
}
