// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! By behaviour: each test's name starts with the id of the requirement that it shows.

use std::vec::Vec;

use irq_routing::{Delivery, DeliveryMode, InterruptMessage, SourceId};

use crate::spec::{INDEX_REDIRECTION_TABLE, IOREGSEL, IOWIN};
use crate::{Config, IoApic, IoApicEvents, PinSet, Rte};

#[cfg(feature = "vm-device")]
mod device;
mod diagram;
mod eoi;
#[cfg(feature = "kvm")]
mod kvm;
mod messages;
mod pin_set;
mod registers;
mod state;
mod storm;
mod totality;
mod trigger;

/// Sources of the tests.
pub const A: SourceId = source(0);
pub const B: SourceId = source(1);
pub const C: SourceId = source(63);

const fn source(index: u8) -> SourceId {
    match SourceId::new(index) {
        Some(source) => source,
        None => panic!("a source below 64"),
    }
}

/// Takes every message, until told otherwise.
#[derive(Clone, Debug)]
pub struct Log {
    pub sent: Vec<InterruptMessage>,
    pub answer: Delivery,
    pub routes_changed: u32,
}

impl IoApicEvents for Log {
    fn message(&mut self, message: InterruptMessage) -> Delivery {
        self.sent.push(message);
        self.answer
    }

    fn routes_changed(&mut self) {
        self.routes_changed += 1;
    }
}

/// An IOAPIC with what it sent.
#[derive(Clone, Debug)]
pub struct Bench {
    pub ioapic: IoApic,
    pub log: Log,
    pub now: u64,
}

impl Bench {
    pub fn new(config: Config) -> Self {
        Self::with(IoApic::new(config).unwrap())
    }

    pub fn with(ioapic: IoApic) -> Self {
        let log = Log { sent: Vec::new(), answer: Delivery::Delivered(1), routes_changed: 0 };
        Bench { ioapic, log, now: 0 }
    }

    /// The default IOAPIC with one entry.
    pub fn programmed(pin: u8, rte: Rte) -> Self {
        let mut bench = Self::new(Config::default());
        bench.program(pin, rte);
        bench
    }

    /// Writes both halves of an entry as a guest does, the low one last, and services.
    pub fn program(&mut self, pin: u8, rte: Rte) {
        let bits = rte.into_bits();
        let index = INDEX_REDIRECTION_TABLE + 2 * u16::from(pin);
        self.write_register(index + 1, (bits >> 32) as u32);
        self.write_register(index, bits as u32);
    }

    pub fn write_register(&mut self, index: u16, value: u32) {
        self.write(IOREGSEL, u32::from(index));
        self.write(IOWIN, value);
    }

    pub fn read_register(&mut self, index: u16) -> u32 {
        self.write(IOREGSEL, u32::from(index));
        self.read(IOWIN)
    }

    pub fn write(&mut self, offset: u64, value: u32) {
        let ready = self.ioapic.write(offset, &value.to_le_bytes(), &mut self.log);
        let _ = self.service(ready);
    }

    pub fn read(&self, offset: u64) -> u32 {
        let mut data = [0xaa; 4];
        self.ioapic.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    pub fn entry(&self, pin: u8) -> Rte {
        self.ioapic.entry(pin).unwrap()
    }

    pub fn set(&mut self, pin: u8, source: SourceId, level: bool) -> Delivery {
        self.ioapic.set_irq(pin, source, level, &mut self.log).unwrap()
    }

    /// The first step of an EOI.
    pub fn begin_eoi(&mut self, vector: u8) -> PinSet {
        self.ioapic.eoi(vector, &mut self.log)
    }

    /// The second.
    pub fn service(&mut self, pins: PinSet) -> Delivery {
        self.ioapic.service(pins, self.now, &mut self.log)
    }

    /// Both steps of an EOI, for sources that need not be asked.
    pub fn eoi(&mut self, vector: u8) -> Delivery {
        let pins = self.begin_eoi(vector);
        self.service(pins)
    }

    /// What was sent since the last call.
    pub fn sent(&mut self) -> Vec<InterruptMessage> {
        core::mem::take(&mut self.log.sent)
    }

    /// The vectors of what was sent since the last call.
    pub fn vectors(&mut self) -> Vec<u8> {
        self.sent().iter().map(|message| message.vector).collect()
    }
}

/// An unmasked edge entry.
pub const fn edge(vector: u8) -> Rte {
    Rte::new().with_vector(vector)
}

/// An unmasked level entry.
pub const fn level(vector: u8) -> Rte {
    edge(vector).with_level(true)
}

/// An unmasked edge entry of some delivery mode.
pub const fn mode(mode: DeliveryMode) -> Rte {
    edge(0x40).with_delivery_mode_bits(mode.bits())
}

/// The bits of `level_vectors` as a list.
pub fn vectors_of(bitmap: [u64; 4]) -> Vec<u8> {
    (0..=255u8).filter(|v| bitmap[usize::from(v >> 6)] >> (v & 63) & 1 != 0).collect()
}

/// No vector, no pin.
pub const NONE: [u8; 0] = [];
