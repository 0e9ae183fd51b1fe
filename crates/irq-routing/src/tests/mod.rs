// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Tests by behaviour id.

mod groups_legacy;
mod groups_msi;
mod groups_msix;
mod irqchip;
mod isa;
#[cfg(feature = "kvm")]
mod kvm;
mod lines;
mod notifiers;
mod resample;
mod routes;
mod state;
mod totality;
mod vocabulary;
mod wire;

use std::sync::Mutex;
use std::vec::Vec;

use crate::{Delivery, Gsi, Msi, Pin, Resample, RouteTable, Router, SourceId, Targets};

/// What a chip saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Saw {
    High(Pin),
    Low(Pin),
    Message(Msi),
}

/// Chips that note what they see and answer `Delivered(1)` to whatever rises.
#[derive(Debug, Default)]
pub(crate) struct Chips {
    pub(crate) log: Vec<Saw>,
}

impl Chips {
    fn pin(&mut self, pin: Pin, level: bool) -> Delivery {
        self.log.push(if level { Saw::High(pin) } else { Saw::Low(pin) });
        Delivery::from_count(level.into())
    }
}

impl Targets for Chips {
    fn pic(&mut self, pin: u8, level: bool) -> Delivery {
        self.pin(Pin::Pic(pin), level)
    }

    fn ioapic(&mut self, pin: u8, level: bool) -> Delivery {
        self.pin(Pin::IoApic(pin), level)
    }

    fn msi(&mut self, msi: Msi) -> Delivery {
        self.log.push(Saw::Message(msi));
        Delivery::Delivered(1)
    }
}

/// A router with its chips: the tests' machine.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) router: Router,
    pub(crate) chips: Chips,
}

impl Board {
    pub(crate) fn new(table: RouteTable) -> Self {
        Board { router: Router::new(table), chips: Chips::default() }
    }

    /// A PC with 24 IOAPIC pins.
    pub(crate) fn pc() -> Self {
        Self::new(RouteTable::legacy(24))
    }

    pub(crate) fn connect(&mut self, gsi: u32) -> SourceId {
        self.router.connect(Gsi(gsi), Resample::Never).unwrap()
    }

    pub(crate) fn set(&mut self, source: SourceId, gsi: u32, level: bool) -> Delivery {
        self.router.set_irq(source, Gsi(gsi), level, &mut self.chips)
    }

    pub(crate) fn pulse(&mut self, source: SourceId, gsi: u32) -> Delivery {
        self.router.pulse(source, Gsi(gsi), &mut self.chips)
    }

    /// What the chips saw since the last call.
    pub(crate) fn saw(&mut self) -> Vec<Saw> {
        core::mem::take(&mut self.chips.log)
    }
}

pub(crate) fn high(pin: Pin) -> Saw {
    Saw::High(pin)
}

pub(crate) fn low(pin: Pin) -> Saw {
    Saw::Low(pin)
}

/// Fixed, to APIC id 0.
pub(crate) fn msi(vector: u8) -> Msi {
    Msi { address: 0xfee0_0000, data: vector.into() }
}

/// A list that backends append to.
#[derive(Debug, Default)]
pub(crate) struct Log<T>(Mutex<Vec<T>>);

impl<T> Log<T> {
    pub(crate) fn push(&self, item: T) {
        self.0.lock().unwrap().push(item);
    }

    /// What came since the last call.
    pub(crate) fn take(&self) -> Vec<T> {
        core::mem::take(&mut *self.0.lock().unwrap())
    }
}
