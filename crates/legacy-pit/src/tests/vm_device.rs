// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! PIT-1 through vm-device's bus.

use ::vm_device::bus::{PioAddress, PioRange};
use ::vm_device::device_manager::{IoManager, PioManager};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::PitDevice;

#[test]
fn pit_1_answers_on_a_vm_device_bus() {
    let clock = Arc::new(AtomicU64::new(0));
    let ticks = clock.clone();
    let device = PitDevice { pit: Pit::new(0), clock: move || ns(ticks.load(Ordering::Relaxed)) };
    let device = Arc::new(Mutex::new(device));
    let mut bus = IoManager::new();
    for (base, size) in [(0x40, 4), (0x61, 1)] {
        bus.register_pio(PioRange::new(PioAddress(base), size).unwrap(), device.clone()).unwrap();
    }
    for (port, value) in [(0x61, 0x01), (0x43, 0xb0), (0x42, 10), (0x42, 0)] {
        bus.pio_write(PioAddress(port), &[value]).unwrap();
    }
    let read = |port, width: usize| {
        let mut data = [0; 4];
        bus.pio_read(PioAddress(port), &mut data[..width]).unwrap();
        data
    };
    clock.store(10, Ordering::Relaxed);
    assert_eq!(read(0x61, 1), [0x01, 0, 0, 0]);
    clock.store(11, Ordering::Relaxed);
    assert_eq!(read(0x61, 1), [0x21, 0, 0, 0]);
    assert_eq!(read(0x40, 2), [0xff, 0xff, 0, 0], "nobody answers a wide read");
    bus.pio_write(PioAddress(0x42), &[9, 9]).unwrap();
    assert_eq!(read(0x61, 1), [0x21, 0, 0, 0]);
}
