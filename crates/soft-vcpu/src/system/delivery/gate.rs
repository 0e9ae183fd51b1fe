// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Protected and IA-32e mode: gates, stack switches and frames (SDM vol. 3, "Exception- or
//! Interrupt-Handler Procedures", "Exception and Interrupt Handling in 64-bit Mode").

use super::{Delivery, IDT};
use crate::cpu::{Cause, Cpu};
use crate::int::reg;
use crate::op::Trap;
use crate::segment::{Segment, CS, SS};
use crate::system::far::descriptor::{is_null, kind, Fault, Gate};
use crate::system::frame::Frame;

const RSP: usize = reg::RSP as usize;

impl Cpu {
    pub(super) fn deliver_protected(&mut self, delivery: &Delivery) -> Result<(), Trap> {
        let gate = self.idt_gate(delivery)?;
        let code = self.handler_segment(&gate, delivery.ext)?;
        let cpl = match code.rights.is_conforming() {
            true => self.cpl(),
            false => code.rights.dpl(),
        };
        let (stack, mut frame) = match self.long_mode() {
            true => self.long_stack(&gate, cpl, delivery.ext)?,
            false => self.legacy_stack(cpl, delivery.ext)?,
        };
        self.check_target(&code, gate.offset, delivery.ext)?;
        if stack.is_some() || gate.size == 8 {
            frame.push(self, gate.size, u64::from(self.segment(SS).selector))?;
            frame.push(self, gate.size, self.gpr[RSP])?;
        }
        frame.push(self, gate.size, delivery.flags)?;
        frame.push(self, gate.size, u64::from(self.segment(CS).selector))?;
        frame.push(self, gate.size, delivery.rip)?;
        if let Some(error_code) = delivery.error_code {
            frame.push(self, gate.size, u64::from(error_code))?;
        }
        self.enter_handler_flags(gate.interrupt);
        self.enter(code, cpl, gate.offset);
        if let Some(stack) = stack {
            self.set_segment(SS, stack);
        }
        self.set_sp(frame.sp);
        Ok(())
    }

    /// An error code that names the event's own gate.
    fn gate_fault(&mut self, fault: Fault, delivery: &Delivery) -> Trap {
        let index = u16::from(delivery.vector) * 8;
        self.selector_fault(fault, index, IDT | delivery.ext)
    }

    fn idt_gate(&mut self, delivery: &Delivery) -> Result<Gate, Trap> {
        let long = self.long_mode();
        let size = if long { 16 } else { 8 };
        let offset = u64::from(delivery.vector) * size;
        if offset + (size - 1) > u64::from(self.idtr.limit) {
            return Err(self.gate_fault(Fault::Gp, delivery));
        }
        let at = self.table_address(self.idtr.base, offset);
        let descriptor = self.idt_descriptor(at)?;
        let rights = descriptor.rights();
        let slot = match (rights.kind(), long) {
            _ if rights.s() => None,
            (kind::INTERRUPT | kind::TRAP, true) => Some(8),
            (kind::INTERRUPT | kind::TRAP, false) => Some(4),
            (kind::INTERRUPT16 | kind::TRAP16 | kind::TASK_GATE, false) => Some(2),
            _ => None,
        };
        let Some(slot) = slot else { return Err(self.gate_fault(Fault::Gp, delivery)) };
        if delivery.checks_dpl && rights.dpl() < self.cpl() {
            return Err(self.gate_fault(Fault::Gp, delivery));
        }
        if !rights.present() {
            return Err(self.gate_fault(Fault::Np, delivery));
        }
        if rights.kind() == kind::TASK_GATE {
            return Err(self.stop(Cause::Unsupported("task gate")));
        }
        Ok(descriptor.gate(slot))
    }

    fn handler_segment(&mut self, gate: &Gate, ext: u32) -> Result<Segment, Trap> {
        if is_null(gate.selector) {
            return Err(self.selector_fault(Fault::Gp, 0, ext));
        }
        let descriptor = self.descriptor(gate.selector, Fault::Gp, ext)?;
        let rights = descriptor.rights();
        let fits = gate.size != 8 || rights.long() && !rights.db();
        if !rights.is_code() || rights.dpl() > self.cpl() || !fits {
            return Err(self.selector_fault(Fault::Gp, gate.selector, ext));
        }
        if !rights.present() {
            return Err(self.selector_fault(Fault::Np, gate.selector, ext));
        }
        self.accessed(&descriptor)
    }

    /// The stack of a handler at `cpl` and its new SS, if it has one.
    fn legacy_stack(&mut self, cpl: u8, ext: u32) -> Result<(Option<Segment>, Frame), Trap> {
        if cpl == self.cpl() {
            return Ok((None, Frame::present(self, ext)));
        }
        let (segment, sp) = self.inner_stack(cpl, ext)?;
        Ok((Some(segment), Frame::inner(segment, sp, cpl, ext)))
    }

    /// In IA-32e mode every frame is aligned to 16 bytes.
    fn long_stack(
        &mut self,
        gate: &Gate,
        cpl: u8,
        ext: u32,
    ) -> Result<(Option<Segment>, Frame), Trap> {
        let inner = cpl != self.cpl();
        let rsp = match (gate.ist, inner) {
            (0, false) => self.gpr[RSP],
            (0, true) => self.inner_rsp(cpl, ext)?,
            (entry, _) => self.ist(entry, ext)?,
        };
        let segment = inner.then(|| Cpu::null_stack_segment(cpl));
        Ok((segment, Frame::flat(rsp & !15, cpl, ext)))
    }
}
