// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The controllers on the machine's buses.

use std::sync::Arc;

use vm_device::bus::{MmioAddress, MmioAddressOffset, PioAddress, PioAddressOffset};
use vm_device::{DeviceMmio, DevicePio};

use super::Interrupts;

/// The 8259A pair's ports: 0x20, 0x21, 0xa0, 0xa1, and ELCR at 0x4d0, 0x4d1.
pub struct PicPorts(pub Arc<Interrupts>);

impl DevicePio for PicPorts {
    fn pio_read(&self, base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        self.0.pic_read(base.0.wrapping_add(offset), data);
    }

    fn pio_write(&self, base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        self.0.pic_write(base.0.wrapping_add(offset), data);
    }
}

/// The IOAPIC's page.
pub struct IoApicPage(pub Arc<Interrupts>);

impl DeviceMmio for IoApicPage {
    fn mmio_read(&self, _: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        self.0.ioapic_read(offset, data);
    }

    fn mmio_write(&self, _: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        self.0.ioapic_write(offset, data);
    }
}
