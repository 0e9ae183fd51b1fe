// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The register page on a vm-device bus.

use vm_device::bus::MmioAddress;
use vm_device::MutDeviceMmio;

use super::{Event, Recorder, Rig};
use crate::bus::BusLapic;
use crate::Now;

#[test]
fn lap_1_the_page_works_on_a_bus() {
    let mut ns = 0;
    let clock = move || {
        ns += 10;
        Now { ns, tsc: 0 }
    };
    let mut device = BusLapic { lapic: Rig::xapic().lapic, clock, events: Recorder::default() };
    let base = MmioAddress(0xfee0_0000);
    device.mmio_write(base, 0x3e0, &[0xb, 0, 0, 0]);
    device.mmio_write(base, 0x380, &[100, 0, 0, 0]); // at 20 ns
    let mut count = [0; 4];
    device.mmio_read(base, 0x390, &mut count); // at 30 ns
    assert_eq!(u32::from_le_bytes(count), 90);
    device.mmio_write(base, 0xd0, &[0, 0, 0, 1]);
    assert_eq!(device.events.0, [Event::Map]);
}
