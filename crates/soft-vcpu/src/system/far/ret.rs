// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RETF, and what it shares with IRET: returns to the same and to an outer privilege level (SDM
//! vol. 2, "RET-Return from Procedure"; vol. 3, "Returning from a Called Procedure").

use iced_x86::{Code, Instruction};

use super::descriptor::{is_null, rpl, Fault};
use crate::cpu::Cpu;
use crate::decode::{Chosen, Form};
use crate::flags::bit;
use crate::int::Int;
use crate::op::{Flow, Op, Step, Trap};
use crate::segment::{Segment, CS, DS, ES, FS, GS, SS};

pub(crate) fn select(instruction: &Instruction, _: &Form) -> Option<Chosen> {
    let run = match instruction.code() {
        Code::Retfw | Code::Retfw_imm16 => retf::<u16>,
        Code::Retfd | Code::Retfd_imm16 => retf::<u32>,
        Code::Retfq | Code::Retfq_imm16 => retf::<u64>,
        _ => return None,
    };
    Some(Chosen::ends(run))
}

fn retf<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    // Without an immediate operand it is 0.
    let extra = op.imm & 0xffff;
    let rip = cpu.peek::<T>(0)?.zx();
    let selector = cpu.peek::<T>(T::BYTES)?.zx() as u16;
    let popped = 2 * T::BYTES + extra;
    if cpu.real_mode() {
        let code = cpu.real_segment(CS, selector);
        cpu.check_target(&code, rip, 0)?;
        cpu.drop_bytes(popped);
        cpu.set_segment(CS, code);
        cpu.rip = rip;
    } else {
        let code = cpu.return_segment(selector)?;
        cpu.check_target(&code, rip, 0)?;
        if rpl(selector) == cpu.cpl() {
            cpu.drop_bytes(popped);
            cpu.enter(code, cpu.cpl(), rip);
        } else {
            let sp = cpu.peek::<T>(popped)?.zx();
            let stack_selector = cpu.peek::<T>(popped + T::BYTES)?.zx() as u16;
            let code64 = cpu.is_code64(&code);
            let stack = cpu.stack_segment(stack_selector, rpl(selector), code64)?;
            cpu.return_outward(code, rip, stack, sp);
            cpu.drop_bytes(extra);
        }
    }
    cpu.flags.put(bit::RF, false);
    Ok(Flow::Far)
}

impl Cpu {
    /// The code segment that a return goes to, with its RPL as the privilege level.
    pub(super) fn return_segment(&mut self, selector: u16) -> Result<Segment, Trap> {
        if is_null(selector) {
            return Err(self.gp());
        }
        let descriptor = self.descriptor(selector, Fault::Gp, 0)?;
        let rights = descriptor.rights();
        let privilege = match rights.is_conforming() {
            true => rights.dpl() <= rpl(selector),
            false => rights.dpl() == rpl(selector),
        };
        let inward = rpl(selector) < self.cpl();
        if inward || !rights.is_code() || !privilege || self.is_long_and_default(rights) {
            return Err(self.selector_fault(Fault::Gp, selector, 0));
        }
        if !rights.present() {
            return Err(self.selector_fault(Fault::Np, selector, 0));
        }
        self.accessed(&descriptor)
    }

    /// Completes a return to less privilege: what that level must not see is taken from the
    /// segment registers.
    pub(super) fn return_outward(&mut self, code: Segment, rip: u64, stack: Segment, sp: u64) {
        let cpl = rpl(code.selector);
        self.enter(code, cpl, rip);
        self.set_segment(SS, stack);
        self.set_sp(sp);
        for index in [ES, DS, FS, GS] {
            let old = *self.segment(index);
            let rights = old.rights;
            if rights.unusable() || rights.is_conforming() || rights.dpl() >= cpl {
                continue;
            }
            // A base of FS or GS that was written without a selector stays.
            let base = if is_null(old.selector) { old.base } else { 0 };
            self.set_segment(index, Segment { base, ..Segment::null(0) });
        }
    }
}
