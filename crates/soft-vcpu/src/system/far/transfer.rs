// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Far JMP and CALL, direct and through call gates (SDM vol. 2, "JMP-Jump", "CALL-Call Procedure";
//! vol. 3, "Privilege Level Checking When Transferring Program Control Between Code Segments").

use iced_x86::{Code, Instruction};

use super::descriptor::{is_null, kind, rpl, Descriptor, Fault, Gate};
use crate::cpu::{Cause, Cpu};
use crate::decode::{Chosen, Form};
use crate::flags::bit;
use crate::int::{reg, Int};
use crate::op::{Flow, Op, Step, Trap};
use crate::segment::{Segment, CS, SS};
use crate::system::frame::Frame;

const RSP: usize = reg::RSP as usize;

pub(crate) fn select(instruction: &Instruction, _: &Form) -> Option<Chosen> {
    let run = match instruction.code() {
        Code::Jmp_ptr1616 | Code::Jmp_ptr1632 => jmp_direct,
        Code::Jmp_m1616 => jmp_indirect::<u16>,
        Code::Jmp_m1632 => jmp_indirect::<u32>,
        Code::Jmp_m1664 => jmp_indirect::<u64>,
        Code::Call_ptr1616 => call_direct::<u16>,
        Code::Call_ptr1632 => call_direct::<u32>,
        Code::Call_m1616 => call_indirect::<u16>,
        Code::Call_m1632 => call_indirect::<u32>,
        Code::Call_m1664 => call_indirect::<u64>,
        _ => return None,
    };
    Some(Chosen::ends(run))
}

fn jmp_direct(cpu: &mut Cpu, op: &Op) -> Step {
    jmp(cpu, (op.imm >> 32) as u16, op.imm & 0xffff_ffff)
}

fn jmp_indirect<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let (offset, selector) = cpu.load_pointer::<T>(op)?;
    jmp(cpu, selector, offset.zx())
}

fn call_direct<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    call(cpu, op, T::BYTES as u8, (op.imm >> 32) as u16, op.imm & 0xffff_ffff)
}

fn call_indirect<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let (offset, selector) = cpu.load_pointer::<T>(op)?;
    call(cpu, op, T::BYTES as u8, selector, offset.zx())
}

fn jmp(cpu: &mut Cpu, selector: u16, offset: u64) -> Step {
    if cpu.real_mode() {
        return enter_real(cpu, selector, offset);
    }
    let (code, offset) = match cpu.destination(selector)? {
        Destination::Direct(code) => (code, offset),
        Destination::Gate(gate, code) => {
            // A jump never changes the privilege level.
            if !code.rights.is_conforming() && code.rights.dpl() != cpu.cpl() {
                return Err(cpu.selector_fault(Fault::Gp, gate.selector, 0));
            }
            (code, gate.offset)
        }
    };
    cpu.check_target(&code, offset, 0)?;
    cpu.enter(code, cpu.cpl(), offset);
    Ok(done(cpu))
}

fn enter_real(cpu: &mut Cpu, selector: u16, offset: u64) -> Step {
    let code = cpu.real_segment(CS, selector);
    cpu.check_target(&code, offset, 0)?;
    cpu.set_segment(CS, code);
    cpu.rip = offset;
    Ok(done(cpu))
}

fn done(cpu: &mut Cpu) -> Flow {
    cpu.flags.put(bit::RF, false);
    Flow::Far
}

fn call(cpu: &mut Cpu, op: &Op, size: u8, selector: u16, offset: u64) -> Step {
    let mut frame = Frame::present(cpu, 0);
    if cpu.real_mode() {
        let code = cpu.real_segment(CS, selector);
        cpu.check_target(&code, offset, 0)?;
        push_return(cpu, &mut frame, size, op)?;
        cpu.set_sp(frame.sp);
        return enter_real(cpu, selector, offset);
    }
    match cpu.destination(selector)? {
        Destination::Direct(code) => {
            cpu.check_target(&code, offset, 0)?;
            push_return(cpu, &mut frame, size, op)?;
            cpu.set_sp(frame.sp);
            cpu.enter(code, cpu.cpl(), offset);
        }
        Destination::Gate(gate, code) => {
            cpu.check_target(&code, gate.offset, 0)?;
            if !code.rights.is_conforming() && code.rights.dpl() < cpu.cpl() {
                call_inner(cpu, op, &gate, code)?;
                return Ok(done(cpu));
            }
            if gate.size == 8 {
                frame = Frame::flat(cpu.gpr[RSP], cpu.cpl(), 0);
            }
            push_return(cpu, &mut frame, gate.size, op)?;
            cpu.enter(code, cpu.cpl(), gate.offset);
            cpu.set_sp(frame.sp);
        }
    }
    Ok(done(cpu))
}

fn push_return(cpu: &mut Cpu, frame: &mut Frame, size: u8, op: &Op) -> Result<(), Trap> {
    let selector = cpu.segment(CS).selector;
    frame.push(cpu, size, u64::from(selector))?;
    frame.push(cpu, size, op.next())
}

/// Through a call gate to more privilege: the TSS tells the stack, the gate how many parameters
/// are copied there.
fn call_inner(cpu: &mut Cpu, op: &Op, gate: &Gate, code: Segment) -> Result<(), Trap> {
    let cpl = code.rights.dpl();
    let (stack, mut frame) = match gate.size {
        8 => {
            let rsp = cpu.inner_rsp(cpl, 0)?;
            (Cpu::null_stack_segment(cpl), Frame::flat(rsp, cpl, 0))
        }
        _ => {
            let (stack, sp) = cpu.inner_stack(cpl, 0)?;
            (stack, Frame::inner(stack, sp, cpl, 0))
        }
    };
    frame.push(cpu, gate.size, u64::from(cpu.segment(SS).selector))?;
    frame.push(cpu, gate.size, cpu.gpr[RSP])?;
    if gate.size != 8 {
        for n in (0..u64::from(gate.parameters)).rev() {
            let parameter = match gate.size {
                2 => u64::from(cpu.peek::<u16>(n * 2)?),
                _ => u64::from(cpu.peek::<u32>(n * 4)?),
            };
            frame.push(cpu, gate.size, parameter)?;
        }
    }
    push_return(cpu, &mut frame, gate.size, op)?;
    cpu.enter(code, cpl, gate.offset);
    cpu.set_segment(SS, stack);
    cpu.set_sp(frame.sp);
    Ok(())
}

/// Where a far pointer leads in protected and IA-32e mode.
enum Destination {
    /// Into a code segment.
    Direct(Segment),
    /// Through a call gate, whose code segment is the second one.
    Gate(Gate, Segment),
}

impl Cpu {
    fn destination(&mut self, selector: u16) -> Result<Destination, Trap> {
        if is_null(selector) {
            return Err(self.gp());
        }
        let descriptor = self.descriptor(selector, Fault::Gp, 0)?;
        let rights = descriptor.rights();
        if !rights.s() {
            return self.through_gate(descriptor);
        }
        let privilege = match rights.is_conforming() {
            true => rights.dpl() <= self.cpl(),
            false => rights.dpl() == self.cpl() && rpl(selector) <= self.cpl(),
        };
        if !rights.is_code() || !privilege || self.is_long_and_default(rights) {
            return Err(self.selector_fault(Fault::Gp, selector, 0));
        }
        if !rights.present() {
            return Err(self.selector_fault(Fault::Np, selector, 0));
        }
        Ok(Destination::Direct(self.accessed(&descriptor)?))
    }

    fn through_gate(&mut self, descriptor: Descriptor) -> Result<Destination, Trap> {
        let (selector, rights) = (descriptor.selector, descriptor.rights());
        let task = matches!(rights.kind(), kind::TASK_GATE | kind::TSS16 | kind::TSS);
        let size = match (rights.kind(), self.long_mode()) {
            (kind::CALL, true) => 8,
            (kind::CALL, false) => 4,
            (kind::CALL16, false) => 2,
            (_, false) if task => 0,
            _ => return Err(self.selector_fault(Fault::Gp, selector, 0)),
        };
        if rights.dpl() < self.cpl().max(rpl(selector)) {
            return Err(self.selector_fault(Fault::Gp, selector, 0));
        }
        let descriptor = self.widen(descriptor)?;
        if descriptor.extended_type() != 0 {
            return Err(self.selector_fault(Fault::Gp, selector, 0));
        }
        if !rights.present() {
            return Err(self.selector_fault(Fault::Np, selector, 0));
        }
        if task {
            return Err(self.stop(Cause::Unsupported("task switch")));
        }
        let gate = descriptor.gate(size);
        Ok(Destination::Gate(gate, self.gate_segment(&gate)?))
    }

    fn gate_segment(&mut self, gate: &Gate) -> Result<Segment, Trap> {
        if is_null(gate.selector) {
            return Err(self.gp());
        }
        let descriptor = self.descriptor(gate.selector, Fault::Gp, 0)?;
        let rights = descriptor.rights();
        let fits = gate.size != 8 || rights.long() && !rights.db();
        if !rights.is_code() || rights.dpl() > self.cpl() || !fits {
            return Err(self.selector_fault(Fault::Gp, gate.selector, 0));
        }
        if !rights.present() {
            return Err(self.selector_fault(Fault::Np, gate.selector, 0));
        }
        self.accessed(&descriptor)
    }
}
