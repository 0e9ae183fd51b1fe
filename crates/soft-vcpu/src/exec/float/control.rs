// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Instructions on the control and status words and the stack's order. They leave the instruction
//! and data pointers alone.

use crate::cpu::Cpu;
use crate::int::{reg, Int};
use crate::op::{Flow, Op, Step};
use crate::x87::status;

/// WAIT.
pub(super) fn wait(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.x87_ready()?;
    Ok(Flow::Next)
}

/// FNINIT.
pub(super) fn init(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.x87.init();
    Ok(Flow::Next)
}

/// FNCLEX.
pub(super) fn clear_exceptions(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.x87.status &= !(status::EXCEPTIONS | status::SF | status::ES | status::B);
    Ok(Flow::Next)
}

/// FLDCW.
pub(super) fn load_control(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.x87_ready()?;
    let control: u16 = cpu.load(op)?;
    cpu.x87.set_control(control);
    Ok(Flow::Next)
}

/// FNSTCW.
pub(super) fn store_control(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.store(op, cpu.x87.control)?;
    Ok(Flow::Next)
}

/// FNSTSW to memory.
pub(super) fn store_status(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.store(op, cpu.x87.status)?;
    Ok(Flow::Next)
}

/// FNSTSW AX.
pub(super) fn store_status_ax(cpu: &mut Cpu, _: &Op) -> Step {
    u16::set(&mut cpu.gpr, reg::RAX, cpu.x87.status);
    Ok(Flow::Next)
}

/// FNOP.
pub(super) fn nop(cpu: &mut Cpu, _: &Op) -> Step {
    stack(cpu, |_| {})
}

/// FFREE, FFREEP.
pub(super) fn free<const POP: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    stack(cpu, |cpu| {
        cpu.x87.free(op.dst);
        cpu.x87.status &= !status::C1;
        if POP {
            cpu.x87.pop();
        }
    })
}

/// FINCSTP (1) and FDECSTP (7).
pub(super) fn rotate<const BY: u8>(cpu: &mut Cpu, _: &Op) -> Step {
    stack(cpu, |cpu| {
        let top = cpu.x87.top();
        cpu.x87.set_top(top.wrapping_add(BY));
        cpu.x87.status &= !status::C1;
    })
}

#[inline(always)]
fn stack(cpu: &mut Cpu, change: impl FnOnce(&mut Cpu)) -> Step {
    cpu.x87_ready()?;
    change(cpu);
    Ok(Flow::Next)
}
