// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Routes and messages in KVM's form (KVM API, `KVM_SET_GSI_ROUTING` and `KVM_SIGNAL_MSI`).
//!
//! KVM's messages have the destination's bits 31:8 in `address_hi`, which it reads only after
//! `KVM_CAP_X2APIC_API` with `KVM_X2APIC_API_USE_32BIT_IDS`. The extended 15-bit form, which has
//! bits 14:8 in address bits 11:5, is unknown to KVM and is rewritten to that.

use alloc::vec::Vec;

use kvm_bindings::{
    kvm_irq_routing_entry, kvm_irq_routing_entry__bindgen_ty_1 as Union, kvm_irq_routing_irqchip,
    kvm_irq_routing_msi, kvm_msi, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE, KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI,
};
use zerocopy::IntoBytes;

use crate::{Gsi, InvalidMsi, Msi, MsiFormat, Route, RouteError, RouteTable, Target};

/// Where the union begins in `kvm_irq_routing_entry`, behind gsi, type, flags and padding.
const UNION: usize = 16;

/// Why a KVM route is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvmRouteError {
    /// A routing type other than irqchip and MSI: an s390 adapter, a Hyper-V SINT, a Xen event
    /// channel.
    #[error("KVM routing type {0} is neither a pin nor an MSI")]
    Type(u32),
    /// Flags that no route of ours has, such as a device id.
    #[error("KVM routing flags {0:#x} are not supported")]
    Flags(u32),
    /// An irqchip that a PC does not have.
    #[error("KVM irqchip {0} does not exist")]
    Irqchip(u32),
    /// A pin that the irqchip does not have.
    #[error("KVM irqchip {irqchip} has no pin {pin}")]
    Pin {
        /// 0 and 1: the 8259As, 2: the IOAPIC.
        irqchip: u32,
        /// The pin.
        pin: u32,
    },
    /// Routes that exclude each other, or too many.
    #[error(transparent)]
    Route(#[from] RouteError),
}

impl Route {
    /// The route in KVM's form.
    ///
    /// # Errors
    /// [`InvalidMsi`] for a message that means no interrupt.
    pub fn to_kvm(self, format: MsiFormat) -> Result<kvm_irq_routing_entry, InvalidMsi> {
        let irqchip = |irqchip, pin: u8| {
            let irqchip = kvm_irq_routing_irqchip { irqchip, pin: pin.into() };
            (KVM_IRQ_ROUTING_IRQCHIP, Union { irqchip })
        };
        let (type_, u) = match self.target {
            Target::Pic(pin) if pin < 8 => irqchip(KVM_IRQCHIP_PIC_MASTER, pin),
            Target::Pic(pin) => irqchip(KVM_IRQCHIP_PIC_SLAVE, pin - 8),
            Target::IoApic(pin) => irqchip(KVM_IRQCHIP_IOAPIC, pin),
            Target::Msi(msi) => {
                let kvm_msi { address_lo, address_hi, data, .. } = msi.to_kvm(format)?;
                let msi =
                    kvm_irq_routing_msi { address_lo, address_hi, data, ..Default::default() };
                (KVM_IRQ_ROUTING_MSI, Union { msi })
            }
        };
        Ok(kvm_irq_routing_entry { gsi: self.gsi.0, type_, flags: 0, pad: 0, u })
    }

    /// The route that KVM's entry means. Its message is in the form [`MsiFormat::X2apic32`].
    ///
    /// # Errors
    /// [`KvmRouteError`].
    pub fn from_kvm(entry: &kvm_irq_routing_entry) -> Result<Self, KvmRouteError> {
        if entry.flags != 0 {
            return Err(KvmRouteError::Flags(entry.flags));
        }
        let target = match entry.type_ {
            KVM_IRQ_ROUTING_IRQCHIP => pin(field(entry, 0), field(entry, 1))?,
            KVM_IRQ_ROUTING_MSI => {
                let address = u64::from(field(entry, 1)) << 32 | u64::from(field(entry, 0));
                Target::Msi(Msi { address, data: field(entry, 2) })
            }
            other => return Err(KvmRouteError::Type(other)),
        };
        Ok(Route { gsi: Gsi(entry.gsi), target })
    }
}

impl RouteTable {
    /// All routes in KVM's form, for `KVM_SET_GSI_ROUTING`.
    ///
    /// # Errors
    /// [`InvalidMsi`] for a message that means no interrupt.
    pub fn to_kvm(&self, format: MsiFormat) -> Result<Vec<kvm_irq_routing_entry>, InvalidMsi> {
        self.iter().map(|route| route.to_kvm(format)).collect()
    }

    /// The table that KVM's entries mean, all of them or none.
    ///
    /// # Errors
    /// [`KvmRouteError`].
    pub fn from_kvm(entries: &[kvm_irq_routing_entry]) -> Result<Self, KvmRouteError> {
        let routes: Result<Vec<_>, _> = entries.iter().map(Route::from_kvm).collect();
        Ok(Self::from_routes(routes?)?)
    }
}

impl Msi {
    /// The message in KVM's form, for `KVM_SIGNAL_MSI`.
    ///
    /// # Errors
    /// [`InvalidMsi`] for a message that means no interrupt.
    pub fn to_kvm(self, format: MsiFormat) -> Result<kvm_msi, InvalidMsi> {
        self.decode(format)?;
        let low = self.address as u32;
        let (address_lo, address_hi) = match format {
            MsiFormat::Xapic => (low, 0),
            MsiFormat::Extended15 => (low & !0xfe0, (low & 0xfe0) << 3),
            MsiFormat::X2apic32 => (low, (self.address >> 32) as u32),
        };
        Ok(kvm_msi { address_lo, address_hi, data: self.data, ..Default::default() })
    }

    /// The message that KVM's means, in the form [`MsiFormat::X2apic32`].
    ///
    /// # Errors
    /// [`KvmRouteError::Flags`] for a message with a device id or unknown flags.
    pub fn from_kvm(msi: &kvm_msi) -> Result<Self, KvmRouteError> {
        let kvm_msi { address_lo, address_hi, data, flags, .. } = *msi;
        if flags != 0 {
            return Err(KvmRouteError::Flags(flags));
        }
        let address = u64::from(address_hi) << 32 | u64::from(address_lo);
        Ok(Msi { address, data })
    }
}

fn pin(irqchip: u32, pin: u32) -> Result<Target, KvmRouteError> {
    let invalid = KvmRouteError::Pin { irqchip, pin };
    let below = |end: u8| u8::try_from(pin).ok().filter(|pin| *pin < end).ok_or(invalid);
    match irqchip {
        KVM_IRQCHIP_PIC_MASTER => Ok(Target::Pic(below(8)?)),
        KVM_IRQCHIP_PIC_SLAVE => Ok(Target::Pic(below(8)? + 8)),
        KVM_IRQCHIP_IOAPIC => Ok(Target::IoApic(below(crate::route::IOAPIC_PINS)?)),
        other => Err(KvmRouteError::Irqchip(other)),
    }
}

/// Dword `index` of the entry's union, whichever member it holds.
fn field(entry: &kvm_irq_routing_entry, index: usize) -> u32 {
    let bytes = entry.as_bytes().get(UNION + 4 * index..).and_then(|bytes| bytes.first_chunk());
    u32::from_ne_bytes(bytes.copied().unwrap_or_default())
}
