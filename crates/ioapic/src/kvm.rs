// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! To and from `kvm_ioapic_state` (KVM API, `KVM_GET_IRQCHIP`, `KVM_IRQCHIP_IOAPIC`).

use irq_routing::{Line, SourceId};
use kvm_bindings::{
    kvm_ioapic_state, kvm_ioapic_state__bindgen_ty_1 as kvm_ioapic_entry, KVM_IOAPIC_NUM_PINS,
};

use crate::{Config, IoApic, IoApicState, PinState, Rte, StateError};

/// Why a state is not one of KVM's, or the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvmStateError {
    /// KVM's IOAPIC has 24 pins, this one has another number.
    #[error("KVM's IOAPIC has 24 pins, this one {0}")]
    Pins(u8),
    /// KVM's IOAPIC sits at another address.
    #[error("KVM's IOAPIC is at {found:#x}, this one at {expected:#x}")]
    Base {
        /// Base of the configuration.
        expected: u64,
        /// Base of KVM's state.
        found: u64,
    },
    /// IOREGSEL does not fit.
    #[error("IOREGSEL {0:#x} has bits that do not exist")]
    Ioregsel(u32),
    /// The id does not fit its 4 bits.
    #[error("IOAPIC id {0} does not fit 4 bits")]
    Id(u32),
    /// Another value is out of range.
    #[error(transparent)]
    State(#[from] StateError),
}

const PINS: u8 = KVM_IOAPIC_NUM_PINS as u8;

impl IoApic {
    /// The state in KVM's form. It lacks what KVM does not know: which sources assert a line
    /// (`irr` has their OR, and nothing of unmasked edge pins, whose edge is over), and the vector
    /// of a stale in-service interrupt.
    ///
    /// # Errors
    /// [`KvmStateError::Pins`] unless there are 24 pins.
    pub fn kvm_state(&self) -> Result<kvm_ioapic_state, KvmStateError> {
        if self.config.pins != PINS {
            return Err(KvmStateError::Pins(self.config.pins));
        }
        let mut kvm = kvm_ioapic_state {
            base_address: self.config.base,
            ioregsel: u32::from(self.ioregsel),
            id: u32::from(self.id),
            irr: 0,
            pad: 0,
            redirtbl: [kvm_ioapic_entry { bits: 0 }; PINS as usize],
        };
        for (pin, (wired, entry)) in (0u8..).zip(self.pins.iter().zip(kvm.redirtbl.iter_mut())) {
            let remote_irr = self.remote_irr.contains(pin);
            entry.bits = wired.rte.with_remote_irr(remote_irr).into_bits();
            // KVM leaves out the edges that it has delivered, lest they are delivered again (until
            // a line that is up is asserted once more: then it lists, and repeats, that edge).
            let pending = wired.rte.trigger_mode().is_level() || wired.rte.masked();
            let active = wired.is_active(self.config.polarity);
            kvm.irr |= u32::from(active && pending) << pin;
        }
        Ok(kvm)
    }

    /// An IOAPIC in a state of KVM's form; nothing is sent, see [`from_state`](Self::from_state).
    ///
    /// KVM does not say which sources assert a line: `importer` asserts all of them. Give it an id of
    /// its own, let the devices assert their lines again after their own restore, then
    /// [`release`](Self::release) it.
    ///
    /// Bits that an IOAPIC does not have (reserved ones, which KVM stores) and remote IRR of edge
    /// entries (which means nothing) are dropped.
    ///
    /// # Errors
    /// [`KvmStateError`] where the configuration does not have 24 pins at KVM's address, or a value
    /// is out of range.
    pub fn from_kvm_state(
        config: Config,
        kvm: &kvm_ioapic_state,
        importer: SourceId,
    ) -> Result<Self, KvmStateError> {
        if config.pins != PINS {
            return Err(KvmStateError::Pins(config.pins));
        }
        if kvm.base_address != config.base {
            return Err(KvmStateError::Base { expected: config.base, found: kvm.base_address });
        }
        let ioregsel =
            u16::try_from(kvm.ioregsel).map_err(|_| KvmStateError::Ioregsel(kvm.ioregsel))?;
        let id = u8::try_from(kvm.id).map_err(|_| KvmStateError::Id(kvm.id))?;
        let pins = (0u8..)
            .zip(&kvm.redirtbl)
            .map(|(pin, entry)| import_pin(&config, *entry, kvm.irr & 1 << pin != 0, importer))
            .collect();
        Ok(IoApic::from_state(config, &IoApicState { ioregsel, id, pins })?)
    }
}

fn import_pin(
    config: &Config,
    entry: kvm_ioapic_entry,
    active: bool,
    importer: SourceId,
) -> PinState {
    let bits: u64 = zerocopy::transmute!(entry);
    let rte = Rte::from_bits(bits);
    let writable = Rte::from_bits(bits & Rte::writable(config.extended_destination));
    let mut line = Line::default();
    // KVM's `irr` says "active"; which level that is depends on the polarity.
    let _ = line.set(importer, config.polarity.convert(writable, active));
    PinState {
        entry: writable.into_bits(),
        in_service: (rte.level() && rte.remote_irr()).then_some(rte.vector()),
        line,
    }
}
