// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Real mode: four bytes a vector (SDM vol. 3, "Interrupt and Exception Handling" of "8086
//! Emulation").

use super::{Delivery, IDT};
use crate::cpu::Cpu;
use crate::flags::bit;
use crate::op::Trap;
use crate::segment::{CS, FLAT};
use crate::system::far::descriptor::Fault;
use crate::system::frame::Frame;

impl Cpu {
    pub(super) fn deliver_real(&mut self, delivery: &Delivery) -> Result<(), Trap> {
        let entry = u64::from(delivery.vector) * 4;
        if entry + 3 > u64::from(self.idtr.limit) {
            let index = u16::from(delivery.vector) * 8;
            return Err(self.selector_fault(Fault::Gp, index, IDT | delivery.ext));
        }
        let at = self.idtr.base.wrapping_add(entry) & 0xffff_ffff;
        let vector: u32 = self.read(FLAT, at)?;
        let mut frame = Frame::present(self, 0);
        frame.push(self, 2, delivery.flags)?;
        frame.push(self, 2, u64::from(self.segment(CS).selector))?;
        frame.push(self, 2, delivery.rip)?;
        self.set_sp(frame.sp);
        self.flags.put(bit::IF | bit::TF | bit::AC | bit::RF, false);
        let code = self.real_segment(CS, (vector >> 16) as u16);
        self.set_segment(CS, code);
        self.rip = u64::from(vector & 0xffff);
        Ok(())
    }
}
