// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Segment registers: MOV, PUSH, POP, LDS and its like (SDM vol. 2, "MOV-Move", "POP-Pop a Value
//! From the Stack", "LDS/LES/LFS/LGS/LSS-Load Far Pointer"; vol. 3, "Privilege Level Checking When
//! Accessing Data Segments").

use iced_x86::{Instruction, Mnemonic};

use super::descriptor::{is_null, rpl, Fault};
use crate::cpu::Cpu;
use crate::decode::{Chosen, Form, Kind};
use crate::exec::sized;
use crate::int::Int;
use crate::op::{flag, Flow, Op, Step, Trap};
use crate::segment::{Segment, CS, DS, ES, FS, GS, SS};

pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    let segment =
        |n: u32| n < instruction.op_count() && instruction.op_register(n).is_segment_register();
    let slot = instruction.stack_pointer_increment().unsigned_abs();
    match (instruction.mnemonic(), form.kinds[0]) {
        (Mnemonic::Mov, _) if segment(0) => match form.kinds[1] {
            Kind::Mem => Some(Chosen::ends(mov_sm)),
            _ => Some(Chosen::ends(mov_sr)),
        },
        (Mnemonic::Mov, Kind::Mem) if segment(1) => Some(Chosen::plain(mov_ms)),
        (Mnemonic::Mov, _) if segment(1) => sized!(form.size, mov_rs).map(Chosen::plain),
        (Mnemonic::Push, _) if segment(0) => sized!(slot, push).map(Chosen::plain),
        (Mnemonic::Pop, _) if segment(0) => sized!(slot, pop).map(Chosen::ends),
        (Mnemonic::Lds, _) => far_pointer(form, DS),
        (Mnemonic::Les, _) => far_pointer(form, ES),
        (Mnemonic::Lfs, _) => far_pointer(form, FS),
        (Mnemonic::Lgs, _) => far_pointer(form, GS),
        (Mnemonic::Lss, _) => far_pointer(form, SS),
        _ => None,
    }
}

fn far_pointer(form: &Form, segment: u8) -> Option<Chosen> {
    sized!(form.size, load_far).map(|run| Chosen::ends(run).with_aux(segment))
}

fn mov_sr(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = u16::get(&cpu.gpr, op.src);
    mov(cpu, op, selector)
}

fn mov_sm(cpu: &mut Cpu, op: &Op) -> Step {
    if op.dst == CS {
        return Err(cpu.ud());
    }
    let selector = cpu.load(op)?;
    mov(cpu, op, selector)
}

fn mov(cpu: &mut Cpu, op: &Op, selector: u16) -> Step {
    let segment = match op.dst {
        CS => return Err(cpu.ud()),
        index => cpu.loaded_segment(index, selector)?,
    };
    cpu.set_segment(op.dst, segment);
    Ok(after_load(cpu, op.dst))
}

/// The stack must not be used by a handler before its pointer is loaded, too.
fn after_load(cpu: &mut Cpu, index: u8) -> Flow {
    if index != SS {
        return Flow::Next;
    }
    cpu.shadow.mov_ss = true;
    Flow::Sync
}

fn mov_rs<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = cpu.segment(op.src).selector;
    T::set(&mut cpu.gpr, op.dst, T::from_u64(u64::from(selector)));
    Ok(Flow::Next)
}

fn mov_ms(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = cpu.segment(op.src).selector;
    cpu.store(op, selector)?;
    Ok(Flow::Next)
}

fn push<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = cpu.segment(op.dst).selector;
    if T::BITS != 32 {
        cpu.push(T::from_u64(u64::from(selector)))?;
        return Ok(Flow::Next);
    }
    // With a 32-bit operand current processors write 16 bits and leave the rest of the slot.
    let sp = cpu.stack_below(T::BYTES);
    cpu.stack_write(sp, selector)?;
    cpu.set_sp(sp);
    Ok(Flow::Next)
}

fn pop<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = cpu.peek::<T>(0)?.zx() as u16;
    let segment = cpu.loaded_segment(op.dst, selector)?;
    // By the old stack's width.
    cpu.drop_bytes(T::BYTES);
    cpu.set_segment(op.dst, segment);
    Ok(after_load(cpu, op.dst))
}

fn load_far<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let (offset, selector) = cpu.load_pointer::<T>(op)?;
    let segment = cpu.loaded_segment(op.aux, selector)?;
    T::set(&mut cpu.gpr, op.dst, offset);
    cpu.set_segment(op.aux, segment);
    // LSS loads both: no shadow.
    Ok(if op.aux == SS { Flow::Sync } else { Flow::Next })
}

impl Cpu {
    /// Reads a far pointer: an offset of `T`, then the selector.
    pub(super) fn load_pointer<T: Int>(&mut self, op: &Op) -> Result<(T, u16), Trap> {
        let at = self.read_address(op, T::BYTES + 2)?;
        let mut second = at.wrapping_add(T::BYTES);
        if op.flags & flag::SEGMENTED != 0 {
            second &= 0xffff_ffff;
        }
        let offset = self.read(op.seg, at)?;
        Ok((offset, self.read(op.seg, second)?))
    }

    /// What a segment register other than CS becomes when `selector` is loaded into it; all that
    /// can fail is behind it.
    pub(super) fn loaded_segment(&mut self, index: u8, selector: u16) -> Result<Segment, Trap> {
        if self.real_mode() {
            return Ok(self.real_segment(index, selector));
        }
        if index == SS {
            let code64 = self.code64();
            return self.stack_segment(selector, self.cpl(), code64);
        }
        if is_null(selector) {
            return Ok(Segment::null(selector));
        }
        let descriptor = self.descriptor(selector, Fault::Gp, 0)?;
        let rights = descriptor.rights();
        let privileged = rights.dpl() < rpl(selector).max(self.cpl());
        if !rights.is_readable() || privileged && !rights.is_conforming() {
            return Err(self.selector_fault(Fault::Gp, selector, 0));
        }
        if !rights.present() {
            return Err(self.selector_fault(Fault::Np, selector, 0));
        }
        self.accessed(&descriptor)
    }

    /// What SS becomes for code of privilege `cpl`. A null selector is good in 64-bit mode outside
    /// of level 3.
    pub(super) fn stack_segment(
        &mut self,
        selector: u16,
        cpl: u8,
        code64: bool,
    ) -> Result<Segment, Trap> {
        if is_null(selector) {
            return match code64 && cpl < 3 && rpl(selector) == cpl {
                true => Ok(Cpu::null_stack_segment(cpl)),
                false => Err(self.gp()),
            };
        }
        let descriptor = self.descriptor(selector, Fault::Gp, 0)?;
        let rights = descriptor.rights();
        if rpl(selector) != cpl || rights.dpl() != cpl || !rights.is_writable() {
            return Err(self.selector_fault(Fault::Gp, selector, 0));
        }
        if !rights.present() {
            return Err(self.selector_fault(Fault::Ss, selector, 0));
        }
        self.accessed(&descriptor)
    }
}
