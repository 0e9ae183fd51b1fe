// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Port I/O and MMIO: vm-device's manager, and what an unclaimed address answers.

use std::sync::{Arc, Mutex};

use vm_device::bus::{self, MmioAddress, MmioRange, PioAddress, PioRange};
use vm_device::device_manager::{IoManager, MmioManager, PioManager};
use vm_device::{DeviceMmio, DevicePio, MutDevicePio};

/// The machine's buses. Filled before the vCPUs start, then only read.
#[derive(Default)]
pub struct Bus {
    manager: IoManager,
}

impl Bus {
    /// Puts a device at `count` ports from `first` on.
    ///
    /// # Errors
    /// If another device is there.
    pub fn add_ports(
        &mut self,
        first: u16,
        count: u16,
        device: Arc<dyn DevicePio + Send + Sync>,
    ) -> Result<(), bus::Error> {
        self.manager.register_pio(PioRange::new(PioAddress(first), count)?, device)
    }

    /// As [`Bus::add_ports`], for a device that wants a lock around it.
    ///
    /// # Errors
    /// If another device is there.
    pub fn add_locked<D: MutDevicePio + Send + 'static>(
        &mut self,
        first: u16,
        count: u16,
        device: &Arc<Mutex<D>>,
    ) -> Result<(), bus::Error> {
        self.add_ports(first, count, device.clone())
    }

    /// Puts a device at `size` bytes from `address` on.
    ///
    /// # Errors
    /// If another device is there.
    pub fn add_mmio(
        &mut self,
        address: u64,
        size: u64,
        device: Arc<dyn DeviceMmio + Send + Sync>,
    ) -> Result<(), bus::Error> {
        self.manager.register_mmio(MmioRange::new(MmioAddress(address), size)?, device)
    }

    /// IN; nobody there reads as all ones.
    pub fn port_read(&self, port: u16, data: &mut [u8]) {
        if self.manager.pio_read(PioAddress(port), data).is_err() {
            log::trace!("read of unclaimed port {port:#x}");
            data.fill(0xff);
        }
    }

    /// OUT; nobody there takes it.
    pub fn port_write(&self, port: u16, data: &[u8]) {
        if self.manager.pio_write(PioAddress(port), data).is_err() {
            log::trace!("write of {data:x?} to unclaimed port {port:#x}");
        }
    }

    /// A load; nobody there reads as all ones.
    pub fn mmio_read(&self, address: u64, data: &mut [u8]) {
        if self.manager.mmio_read(MmioAddress(address), data).is_err() {
            log::trace!("read of unclaimed address {address:#x}");
            data.fill(0xff);
        }
    }

    /// A store; nobody there takes it.
    pub fn mmio_write(&self, address: u64, data: &[u8]) {
        if self.manager.mmio_write(MmioAddress(address), data).is_err() {
            log::trace!("write of {data:x?} to unclaimed address {address:#x}");
        }
    }
}
