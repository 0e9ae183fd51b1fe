// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM's 8259A pair.

use irq_routing::{Gsi, MsiFormat, Route, Target};
use kvm_bindings::{
    kvm_irqchip, kvm_pic_state, KvmIrqRouting, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
};
use kvm_ioctls::VmFd;

use super::ports::{irq_line, PortCpu};
use super::{kvm, machine};

/// The pair, with lines 0 to 15 on GSIs 0 to 15, and the CPU that its INT goes to.
pub struct KvmPics {
    /// Reads and writes its ports.
    pub cpu: PortCpu,
    vm: VmFd,
}

impl Default for KvmPics {
    fn default() -> Self {
        Self::new()
    }
}

impl KvmPics {
    /// A pair in the state that KVM resets it to.
    ///
    /// # Panics
    /// Where KVM refuses.
    pub fn new() -> Self {
        let vm = machine(&kvm());
        let routes: Vec<_> = (0..16u8)
            .map(|pin| Route { gsi: Gsi(pin.into()), target: Target::Pic(pin) })
            .map(|route| route.to_kvm(MsiFormat::Xapic).expect("a route to a pin"))
            .collect();
        let routes = KvmIrqRouting::from_entries(&routes).expect("16 routes");
        vm.set_gsi_routing(&routes).expect("KVM_SET_GSI_ROUTING");
        KvmPics { cpu: PortCpu::new(&vm), vm }
    }

    /// Drives a line; what KVM says became of it.
    pub fn line(&self, pin: u8, high: bool) -> i32 {
        irq_line(&self.vm, pin.into(), high)
    }

    /// Master and slave.
    ///
    /// # Panics
    /// Where KVM refuses.
    pub fn state(&self) -> [kvm_pic_state; 2] {
        [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE].map(|chip_id| {
            let mut chip = kvm_irqchip { chip_id, ..Default::default() };
            self.vm.get_irqchip(&mut chip).expect("KVM_GET_IRQCHIP");
            // SAFETY: the union is plain integers, and the kernel wrote this member of it.
            unsafe { chip.chip.pic }
        })
    }

    /// Sets master and slave.
    ///
    /// # Panics
    /// Where KVM refuses.
    pub fn set_state(&self, [master, slave]: [kvm_pic_state; 2]) {
        // The slave first: setting a chip passes the slave's INT on to the master.
        for (chip_id, pic) in [(KVM_IRQCHIP_PIC_SLAVE, slave), (KVM_IRQCHIP_PIC_MASTER, master)] {
            let mut chip = kvm_irqchip { chip_id, ..Default::default() };
            chip.chip.pic = pic;
            self.vm.set_irqchip(&chip).expect("KVM_SET_IRQCHIP");
        }
    }
}
