// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Saved state.

use alloc::vec;
use alloc::vec::Vec;

use irq_routing::Line;

use crate::ioapic::Pin;
use crate::spec::DEFAULT_PINS;
use crate::{Config, ConfigError, IoApic, Rte};

/// Everything that the guest, or a source, has changed since reset. What the machine was built with
/// ([`Config`]), the counters and the storm guard's memory are not part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct IoApicState {
    /// IOREGSEL, 8 bits (9 with more than 120 pins).
    pub ioregsel: u16,
    /// IOAPICID, 4 bits.
    pub id: u8,
    /// One for each pin.
    pub pins: Vec<PinState>,
}

/// One pin's saved state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PinState {
    /// The redirection table entry's guest-writable bits; all others 0.
    pub entry: u64,
    /// Remote IRR, and the vector under which it was set (not always the entry's).
    pub in_service: Option<u8>,
    /// The sources that drive the line high.
    pub line: Line,
}

impl Default for IoApicState {
    /// 24 pins after reset.
    fn default() -> Self {
        let pins = vec![PinState::default(); usize::from(DEFAULT_PINS)];
        IoApicState { ioregsel: 0, id: 0, pins }
    }
}

impl Default for PinState {
    /// Masked, low.
    fn default() -> Self {
        PinState { entry: Rte::RESET.into_bits(), in_service: None, line: Line::default() }
    }
}

/// Why a state cannot be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The configuration is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state is that of an IOAPIC with another number of pins.
    #[error("the state has {found} pins, the IOAPIC {expected}")]
    Pins {
        /// Pins of the configuration.
        expected: u8,
        /// Pins of the state.
        found: usize,
    },
    /// IOREGSEL has bits that do not exist.
    #[error("IOREGSEL {0:#x} has bits that do not exist")]
    Ioregsel(u16),
    /// The id does not fit its 4 bits.
    #[error("IOAPIC id {0} does not fit 4 bits")]
    Id(u8),
    /// An entry has bits that a guest cannot write.
    #[error("the entry {entry:#018x} of pin {pin} has bits that no guest can write")]
    Entry {
        /// The pin.
        pin: u8,
        /// The entry's 64 bits.
        entry: u64,
    },
    /// An edge entry has remote IRR set, which writing edge would have cleared.
    #[error("pin {0} is edge-triggered with remote IRR set")]
    RemoteIrr(u8),
}

impl IoApic {
    /// Saves the state. Take it when no EOI is between its two steps, or call
    /// [`service`](Self::service) with `PinSet::ALL` after the restore, which is right in any case.
    pub fn state(&self) -> IoApicState {
        let save = |(pin, wired): (u8, &Pin)| PinState {
            entry: wired.rte.into_bits(),
            in_service: self.remote_irr.contains(pin).then_some(wired.in_service_vector),
            line: wired.line,
        };
        IoApicState {
            ioregsel: self.ioregsel,
            id: self.id,
            pins: (0u8..).zip(self.pins.iter()).map(save).collect(),
        }
    }

    /// An IOAPIC in a saved state; nothing is sent.
    ///
    /// Then call [`service`](Self::service) with `PinSet::ALL` and compute the EOI-exit bitmap.
    /// A source that asserts its line again after the restore counts once.
    ///
    /// # Errors
    /// [`StateError`] where no IOAPIC of this configuration can be in this state.
    pub fn from_state(config: Config, state: &IoApicState) -> Result<Self, StateError> {
        let mut ioapic = IoApic::new(config)?;
        if state.pins.len() != ioapic.pins.len() {
            return Err(StateError::Pins { expected: config.pins, found: state.pins.len() });
        }
        if state.ioregsel & !config.ioregsel_mask() != 0 {
            return Err(StateError::Ioregsel(state.ioregsel));
        }
        if state.id > 0xf {
            return Err(StateError::Id(state.id));
        }
        ioapic.ioregsel = state.ioregsel;
        ioapic.id = state.id;
        for (pin, saved) in (0u8..).zip(state.pins.iter()) {
            ioapic.restore_pin(pin, saved)?;
        }
        Ok(ioapic)
    }

    fn restore_pin(&mut self, pin: u8, saved: &PinState) -> Result<(), StateError> {
        if saved.entry & !Rte::writable(self.config.extended_destination) != 0 {
            return Err(StateError::Entry { pin, entry: saved.entry });
        }
        let rte = Rte::from_bits(saved.entry);
        if saved.in_service.is_some() && !rte.level() {
            return Err(StateError::RemoteIrr(pin));
        }
        if saved.in_service.is_some() {
            self.remote_irr.insert(pin);
        }
        let wired = &mut self.pins[usize::from(pin)];
        *wired = Pin { rte, line: saved.line, ..Pin::RESET };
        wired.in_service_vector = saved.in_service.unwrap_or_default();
        Ok(())
    }
}
