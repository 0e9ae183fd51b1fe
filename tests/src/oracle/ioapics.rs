// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM's IOAPIC with one CPU and its local APIC.

use irq_routing::{Gsi, MsiFormat, Route, Target};
use kvm_bindings::{
    kvm_ioapic_state, kvm_irqchip, kvm_lapic_state, KvmIrqRouting, KVM_IRQCHIP_IOAPIC,
};
use kvm_ioctls::VmFd;

use super::ports::{irq_line, PortCpu};
use super::{kvm, machine};

/// An IOAPIC with pins 0 to 23 on GSIs 0 to 23.
pub struct KvmIoApic {
    /// Loads and stores its registers, and takes its interrupts.
    pub cpu: PortCpu,
    vm: VmFd,
}

impl Default for KvmIoApic {
    fn default() -> Self {
        Self::new()
    }
}

impl KvmIoApic {
    /// An IOAPIC in the state that KVM resets it to.
    ///
    /// # Panics
    /// Where KVM refuses.
    pub fn new() -> Self {
        let vm = machine(&kvm());
        let routes: Vec<_> = (0..24u8)
            .map(|pin| Route { gsi: Gsi(pin.into()), target: Target::IoApic(pin) })
            .map(|route| route.to_kvm(MsiFormat::Xapic).expect("a route to a pin"))
            .collect();
        let routes = KvmIrqRouting::from_entries(&routes).expect("24 routes");
        vm.set_gsi_routing(&routes).expect("KVM_SET_GSI_ROUTING");
        KvmIoApic { cpu: PortCpu::new(&vm), vm }
    }

    /// Drives a line; what KVM says became of it.
    pub fn line(&self, pin: u8, high: bool) -> i32 {
        irq_line(&self.vm, pin.into(), high)
    }

    /// `KVM_GET_IRQCHIP`.
    ///
    /// # Panics
    /// Where KVM refuses.
    pub fn state(&self) -> kvm_ioapic_state {
        let mut chip = kvm_irqchip { chip_id: KVM_IRQCHIP_IOAPIC, ..Default::default() };
        self.vm.get_irqchip(&mut chip).expect("KVM_GET_IRQCHIP");
        // SAFETY: the union is plain integers, and the kernel wrote this member of it.
        unsafe { chip.chip.ioapic }
    }

    /// `KVM_SET_IRQCHIP`.
    ///
    /// # Panics
    /// Where KVM refuses.
    pub fn set_state(&self, ioapic: kvm_ioapic_state) {
        let mut chip = kvm_irqchip { chip_id: KVM_IRQCHIP_IOAPIC, ..Default::default() };
        chip.chip.ioapic = ioapic;
        self.vm.set_irqchip(&chip).expect("KVM_SET_IRQCHIP");
    }

    /// The local APIC's page.
    ///
    /// # Panics
    /// Where KVM refuses.
    pub fn lapic(&self) -> kvm_lapic_state {
        self.cpu.vcpu().get_lapic().expect("KVM_GET_LAPIC")
    }

    /// Sets the local APIC's page.
    ///
    /// # Panics
    /// Where KVM refuses.
    pub fn set_lapic(&self, page: &kvm_lapic_state) {
        // Twice: KVM computes PPR from the number of in-service vectors that it had before.
        for _ in 0..2 {
            self.cpu.vcpu().set_lapic(page).expect("KVM_SET_LAPIC");
        }
    }
}

/// The entries of a state.
pub fn entries(state: &kvm_ioapic_state) -> [u64; 24] {
    // SAFETY: every member of the union is plain integers that fill its 64 bits.
    state.redirtbl.map(|entry| unsafe { entry.bits })
}
