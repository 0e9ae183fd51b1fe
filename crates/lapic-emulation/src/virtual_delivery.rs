// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The view for hardware that delivers virtual interrupts itself (LAP-15; Intel SDM vol. 3, "APIC
//! Virtualization and Virtual Interrupts").

use crate::lapic::{Lapic, LapicEvents};
use crate::vectors::{Vectors, ILLEGAL};

impl Lapic {
    /// Requesting virtual interrupt: the highest vector in IRR, or 0.
    pub fn rvi(&self) -> u8 {
        self.regs.irr.highest().unwrap_or(0)
    }

    /// Servicing virtual interrupt: the highest vector in ISR, or 0.
    pub fn svi(&self) -> u8 {
        self.regs.isr.highest().unwrap_or(0)
    }

    /// The guest interrupt status field: SVI in bits 15:8, RVI in bits 7:0.
    pub fn guest_interrupt_status(&self) -> u16 {
        u16::from(self.svi()) << 8 | u16::from(self.rvi())
    }

    /// The TPR threshold (4 bits): the CPU must exit when TPR\[7:4\] falls below it, since the
    /// highest request is then deliverable; 0 while the TPR holds nothing back.
    pub fn tpr_threshold(&self) -> u8 {
        let class = self.rvi() >> 4;
        if class != 0 && self.cr8() >= class {
            class
        } else {
            0
        }
    }

    /// The EOI-exit bitmap: the vectors whose EOI software must see. `level` are those that an
    /// IOAPIC routes as level-triggered; requested or in-service level vectors of this APIC and
    /// of LINT0 come on top.
    pub fn eoi_exit_bitmap(&self, level: [u64; 4]) -> [u64; 4] {
        let regs = &self.regs;
        core::array::from_fn(|word| {
            level[word] | ((regs.irr.0[word] | regs.isr.0[word]) & regs.tmr.0[word])
        })
    }

    /// Takes over IRR and ISR from the hardware's virtual-APIC page, after an exit. Vectors below
    /// 16 are dropped.
    pub fn load_virtual_apic(&mut self, irr: [u64; 4], isr: [u64; 4]) {
        let legal =
            |[low, rest @ ..]: [u64; 4]| Vectors([low & !ILLEGAL, rest[0], rest[1], rest[2]]);
        self.regs.irr = legal(irr);
        self.regs.isr = legal(isr);
    }

    /// An EOI-induced exit for `vector`: the hardware ended its service, the broadcast is left.
    /// Returns what was broadcast, as [`Lapic::eoi`] does.
    pub fn eoi_induced(&mut self, vector: u8, events: &mut impl LapicEvents) -> Option<u8> {
        self.regs.isr.remove(vector);
        self.end_of_interrupt(vector, events)
    }
}
