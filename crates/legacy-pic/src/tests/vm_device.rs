// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! PIC-1 through vm-device's bus.

use ::vm_device::bus::{PioAddress, PioRange};
use ::vm_device::device_manager::{IoManager, PioManager};
use std::sync::{Arc, Mutex};

use super::*;

#[test]
fn pic_1_answers_on_a_vm_device_bus() {
    let pic = Arc::new(Mutex::new(PicPair::new()));
    let mut bus = IoManager::new();
    for base in [0x20, 0xa0, 0x4d0] {
        bus.register_pio(PioRange::new(PioAddress(base), 2).unwrap(), pic.clone()).unwrap();
    }
    for (port, value) in [(0x20, 0x11), (0x21, 0x30), (0x21, 0x04), (0x21, 0x01)] {
        bus.pio_write(PioAddress(port), &[value]).unwrap();
    }
    bus.pio_write(PioAddress(0x4d1), &[0xff]).unwrap();
    bus.pio_write(PioAddress(0x21), &[0x5a]).unwrap();
    let read = |port, width: usize| {
        let mut data = [0; 4];
        bus.pio_read(PioAddress(port), &mut data[..width]).unwrap();
        data
    };
    assert_eq!(read(0x21, 1), [0x5a, 0, 0, 0]);
    assert_eq!(read(0x4d1, 1), [0xde, 0, 0, 0]);
    assert_eq!(read(0x20, 2), [0xff, 0xff, 0, 0], "nobody answers a wide read");
    bus.pio_write(PioAddress(0x20), &[0x5a, 0x5a]).unwrap();
    assert_eq!(read(0x21, 1), [0x5a, 0, 0, 0]);
}
