// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Tests, by behaviour id.

#[cfg(feature = "vm-device")]
mod bus;
mod destination;
mod eoi;
mod error;
mod init;
mod ipi;
#[cfg(feature = "kvm")]
mod kvm;
mod lvt;
mod modes;
mod posted;
mod priority;
mod properties;
mod state;
mod timer;
mod virtual_delivery;
mod x2apic;

use std::vec::Vec;

use irq_routing::{DeliveryMode, DestinationMode, InterruptMessage, TriggerMode};

use crate::spec::{reg, MSR_APIC_BASE};
use crate::{Config, GeneralProtection, Ipi, Lapic, LapicEvents, Now, PostedInterrupts, Synced};

/// What the APIC told the machine, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Ipi(Ipi),
    Eoi(u8),
    Map,
}

#[derive(Debug, Default)]
pub(super) struct Recorder(pub(super) Vec<Event>);

impl LapicEvents for Recorder {
    fn ipi(&mut self, ipi: Ipi) {
        self.0.push(Event::Ipi(ipi));
    }
    fn eoi_broadcast(&mut self, vector: u8) {
        self.0.push(Event::Eoi(vector));
    }
    fn map_changed(&mut self) {
        self.0.push(Event::Map);
    }
}

/// One local APIC with its descriptor, a clock of 1 ns bus cycles and a TSC of 3 GHz.
pub(super) struct Rig {
    pub(super) lapic: Lapic,
    pub(super) posted: PostedInterrupts,
    pub(super) events: Recorder,
    pub(super) now: Now,
}

pub(super) const TSC_HZ: u64 = 3_000_000_000;

pub(super) fn config() -> Config {
    Config { tsc_hz: TSC_HZ, directed_eoi: true, cmci: true, ..Config::default() }
}

impl Rig {
    /// As after power-up.
    pub(super) fn with(config: Config) -> Self {
        Rig {
            lapic: Lapic::new(config).expect("a legal configuration"),
            posted: PostedInterrupts::new(),
            events: Recorder::default(),
            now: Now { ns: 1_000, tsc: 3_000 },
        }
    }

    /// A BSP, software-enabled, in xAPIC mode.
    pub(super) fn xapic() -> Self {
        let mut rig = Rig::with(config());
        rig.write(reg::SVR, 0x1ff);
        rig.take_events();
        rig
    }

    /// A BSP, software-enabled, in x2APIC mode.
    pub(super) fn x2apic() -> Self {
        let mut rig = Rig::with(config());
        rig.wrmsr(MSR_APIC_BASE, 0xfee0_0d00).expect("xAPIC to x2APIC");
        rig.wrmsr(0x80f, 0x1ff).expect("software enable");
        rig.take_events();
        rig
    }

    pub(super) fn write(&mut self, offset: u16, value: u32) {
        self.lapic.mmio_write(offset.into(), &value.to_le_bytes(), self.now, &mut self.events);
    }

    pub(super) fn read(&mut self, offset: u16) -> u32 {
        let mut data = [0; 4];
        self.lapic.mmio_read(offset.into(), &mut data, self.now);
        u32::from_le_bytes(data)
    }

    pub(super) fn wrmsr(&mut self, msr: u32, value: u64) -> Result<(), GeneralProtection> {
        self.lapic.msr_write(msr, value, self.now, &mut self.events)
    }

    pub(super) fn rdmsr(&self, msr: u32) -> Result<u64, GeneralProtection> {
        self.lapic.msr_read(msr, self.now)
    }

    /// Lets time pass and the timer see it; returns the expiries.
    pub(super) fn pass(&mut self, ns: u64) -> u64 {
        self.now.ns += ns;
        self.now.tsc += ns * (TSC_HZ / 1_000_000_000);
        self.lapic.advance(self.now)
    }

    pub(super) fn post(&mut self, message: InterruptMessage) {
        let _ = self.posted.post(&message);
    }

    pub(super) fn sync(&mut self) -> Synced {
        self.lapic.sync(&self.posted)
    }

    /// Another CPU or a device sends `vector`, and the owner looks.
    pub(super) fn receive(&mut self, vector: u8, trigger: TriggerMode) {
        let _ = self.posted.post_vector(vector, trigger);
        let _ = self.sync();
    }

    pub(super) fn edge(&mut self, vector: u8) {
        self.receive(vector, TriggerMode::Edge);
    }

    pub(super) fn level(&mut self, vector: u8) {
        self.receive(vector, TriggerMode::Level);
    }

    /// The CPU takes the pending interrupt.
    pub(super) fn take(&mut self) -> Option<u8> {
        let vector = self.lapic.pending()?;
        assert!(self.lapic.accept(vector), "a pending vector is requested");
        Some(vector)
    }

    pub(super) fn eoi(&mut self) -> Option<u8> {
        self.lapic.eoi(&mut self.events)
    }

    pub(super) fn take_events(&mut self) -> Vec<Event> {
        core::mem::take(&mut self.events.0)
    }

    /// The first and only IPI sent so far.
    pub(super) fn sent(&mut self) -> Option<Ipi> {
        match self.take_events().as_slice() {
            [Event::Ipi(ipi)] => Some(*ipi),
            [] => None,
            other => panic!("one IPI expected, got {other:?}"),
        }
    }
}

/// A physical, edge-triggered message.
pub(super) fn message(mode: DeliveryMode, destination: u32, vector: u8) -> InterruptMessage {
    InterruptMessage {
        destination,
        destination_mode: DestinationMode::Physical,
        delivery_mode: mode,
        trigger_mode: TriggerMode::Edge,
        vector,
    }
}

pub(super) fn logical(mode: DeliveryMode, destination: u32, vector: u8) -> InterruptMessage {
    InterruptMessage {
        destination_mode: DestinationMode::Logical,
        ..message(mode, destination, vector)
    }
}
