// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The vm-device wrapper: on a real bus, and with sources that are asked at the EOI.

use std::sync::{Arc, Mutex};
use std::vec::Vec;

use irq_routing::{Delivery, InterruptMessage, Line};
use vm_device::bus::{MmioAddress, MmioRange};
use vm_device::device_manager::{IoManager, MmioManager};

use super::{edge, level, A, B, NONE};
use crate::spec::{EOI, IOREGSEL, IOWIN};
use crate::{Config, IoApic, IoApicDevice, IoApicEvents, IoApicHost, PinSet, StormGuard};

#[derive(Default)]
struct Host {
    sent: Vec<u8>,
    now: u64,
    /// Pins that were asked about, with what drove them.
    asked: Vec<(u8, u64)>,
    /// Sources that are done when asked.
    done: u64,
}

impl IoApicEvents for Host {
    fn message(&mut self, message: InterruptMessage) -> Delivery {
        self.sent.push(message.vector);
        Delivery::Delivered(1)
    }
}

impl IoApicHost for Host {
    fn now(&self) -> u64 {
        self.now
    }

    fn resample(&mut self, pin: u8, sources: Line) -> Line {
        self.asked.push((pin, sources.sources));
        Line { sources: sources.sources & !self.done }
    }
}

struct Bus {
    manager: IoManager,
    device: Arc<Mutex<IoApicDevice<Host>>>,
}

impl Bus {
    fn new(config: Config) -> Self {
        let ioapic = IoApic::new(config).unwrap();
        let device = Arc::new(Mutex::new(IoApicDevice::new(ioapic, Host::default())));
        let mut manager = IoManager::new();
        let window = MmioRange::new(MmioAddress(config.base), crate::spec::WINDOW_SIZE).unwrap();
        manager.register_mmio(window, device.clone()).unwrap();
        Bus { manager, device }
    }

    fn write(&self, offset: u64, value: u32) {
        let address = MmioAddress(0xfec0_0000 + offset);
        self.manager.mmio_write(address, &value.to_le_bytes()).unwrap();
    }

    fn read(&self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.manager.mmio_read(MmioAddress(0xfec0_0000 + offset), &mut data).unwrap();
        u32::from_le_bytes(data)
    }

    fn program(&self, pin: u8, entry: crate::Rte) {
        self.write(IOREGSEL, 0x10 + 2 * u32::from(pin));
        self.write(IOWIN, entry.into_bits() as u32);
    }

    fn device<R>(&self, f: impl FnOnce(&mut IoApicDevice<Host>) -> R) -> R {
        f(&mut self.device.lock().unwrap())
    }

    fn sent(&self) -> Vec<u8> {
        self.device(|device| core::mem::take(&mut device.host_mut().sent))
    }
}

#[test]
fn ioa_1_the_window_works_on_a_bus() {
    let bus = Bus::new(Config::default());
    bus.write(IOREGSEL, 1);
    assert_eq!(bus.read(IOWIN), 0x0017_0020);
    bus.program(2, edge(0x30));
    assert_eq!(bus.device(|device| device.set_irq(2, A, true)), Ok(Delivery::Delivered(1)));
    assert_eq!(bus.sent(), [0x30]);
}

#[test]
fn ioa_9_the_wrapper_asks_the_sources_before_it_sends_again() {
    let bus = Bus::new(Config::default());
    bus.program(2, level(0x30));
    bus.device(|device| {
        let _ = device.set_irq(2, A, true);
        let _ = device.set_irq(2, B, true);
        device.host_mut().done = 1 << A.index();
        device.eoi(0x30);
    });
    assert_eq!(bus.sent(), [0x30, 0x30], "B still asserts");
    bus.device(|device| device.host_mut().done = 1 << B.index());
    bus.write(EOI, 0x30);
    assert_eq!(bus.sent(), NONE, "both are done");
    let both = 1 << A.index() | 1 << B.index();
    let asked = bus.device(|device| device.host_mut().asked.clone());
    assert_eq!(asked, [(2, both), (2, 1 << B.index())]);
}

#[test]
fn ioa_10_the_wrapper_s_clock_ends_a_pause() {
    let storm_guard = StormGuard { limit: 1, pause_ns: 50 };
    let bus = Bus::new(Config { storm_guard, ..Config::default() });
    bus.program(2, level(0x30));
    bus.device(|device| {
        let _ = device.set_irq(2, A, true);
        device.host_mut().now = 100;
        device.eoi(0x30);
        assert_eq!(device.next_deadline(), Some(150));
        device.advance();
        assert_eq!(device.host_mut().sent, [0x30]);
        device.host_mut().now = 150;
        device.advance();
        assert_eq!(device.host_mut().sent, [0x30, 0x30]);
    });
}

#[test]
fn ioa_9_the_wrapper_releases_resets_and_comes_apart() {
    let bus = Bus::new(Config::default());
    bus.program(2, level(0x30));
    bus.device(|device| {
        let _ = device.set_irq(2, A, true);
        device.release(A);
        assert_eq!(device.ioapic().line(2), Some(Line::default()));
        device.reset();
        assert!(device.ioapic().entry(2).unwrap().masked());
        device.service(PinSet::ALL);
    });
    let Bus { manager, device } = bus;
    drop(manager);
    let device = Arc::try_unwrap(device).ok().unwrap().into_inner().unwrap();
    let (ioapic, host) = device.into_parts();
    assert_eq!(host.sent, [0x30]);
    assert_eq!(ioapic.counters(2).unwrap().sent, 1);
}
