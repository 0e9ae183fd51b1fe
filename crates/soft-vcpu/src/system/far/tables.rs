// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LLDT, LTR, SLDT and STR (SDM vol. 2).

use iced_x86::{Instruction, Mnemonic};

use super::descriptor::{is_canonical, is_null, kind, Descriptor, Fault};
use crate::cpu::Cpu;
use crate::decode::{Chosen, Form, Kind};
use crate::exec::sized;
use crate::int::Int;
use crate::op::{Flow, Op, Step, Trap};
use crate::segment::{Segment, LDTR, TR};
use crate::spec::cr4;

pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    let memory = form.kinds[0] == Kind::Mem;
    let index = match instruction.mnemonic() {
        Mnemonic::Lldt | Mnemonic::Sldt => LDTR,
        Mnemonic::Ltr | Mnemonic::Str => TR,
        _ => return None,
    };
    let run = match instruction.mnemonic() {
        Mnemonic::Lldt if memory => Some(lldt::<true> as crate::op::Handler),
        Mnemonic::Lldt => Some(lldt::<false> as crate::op::Handler),
        Mnemonic::Ltr if memory => Some(ltr::<true> as crate::op::Handler),
        Mnemonic::Ltr => Some(ltr::<false> as crate::op::Handler),
        _ if memory => Some(store_memory as crate::op::Handler),
        _ => sized!(form.size, store_register),
    };
    run.map(|run| Chosen::plain(run).with_aux(index))
}

/// The 16-bit operand of an instruction of these and of `verify`.
pub(super) fn selector<const MEMORY: bool>(
    cpu: &mut Cpu,
    op: &Op,
    register: u8,
) -> Result<u16, Trap> {
    match MEMORY {
        true => cpu.load(op),
        false => Ok(u16::get(&cpu.gpr, register)),
    }
}

fn check_mode(cpu: &mut Cpu) -> Result<(), Trap> {
    match (cpu.real_mode(), cpu.cpl()) {
        (true, _) => Err(cpu.ud()),
        (false, 0) => Ok(()),
        _ => Err(cpu.gp()),
    }
}

/// A system descriptor of the GDT that is of one of `kinds` and present.
fn system_descriptor(cpu: &mut Cpu, selector: u16, kinds: &[u8]) -> Result<Descriptor, Trap> {
    if selector & 4 != 0 {
        return Err(cpu.selector_fault(Fault::Gp, selector, 0));
    }
    let descriptor = cpu.descriptor(selector, Fault::Gp, 0)?;
    let descriptor = cpu.widen(descriptor)?;
    let rights = descriptor.rights();
    let base = descriptor.system_segment().base;
    let good = !rights.s() && kinds.contains(&rights.kind()) && descriptor.extended_type() == 0;
    if !good || !is_canonical(base) {
        return Err(cpu.selector_fault(Fault::Gp, selector, 0));
    }
    match rights.present() {
        true => Ok(descriptor),
        false => Err(cpu.selector_fault(Fault::Np, selector, 0)),
    }
}

fn lldt<const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    check_mode(cpu)?;
    let selector = selector::<MEMORY>(cpu, op, op.dst)?;
    let segment = match is_null(selector) {
        true => Segment::null(selector),
        false => system_descriptor(cpu, selector, &[kind::LDT])?.system_segment(),
    };
    cpu.set_segment(LDTR, segment);
    Ok(Flow::Next)
}

fn ltr<const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    check_mode(cpu)?;
    let selector = selector::<MEMORY>(cpu, op, op.dst)?;
    if is_null(selector) {
        return Err(cpu.gp());
    }
    let kinds: &[u8] = if cpu.long_mode() { &[kind::TSS] } else { &[kind::TSS16, kind::TSS] };
    let descriptor = system_descriptor(cpu, selector, kinds)?;
    cpu.make_busy(&descriptor)?;
    let segment = descriptor.system_segment();
    let busy = segment.rights.with_kind(segment.rights.kind() | 2);
    cpu.set_segment(TR, Segment { rights: busy, ..segment });
    Ok(Flow::Next)
}

/// SLDT and STR; [`Op::aux`] is the register.
fn stored(cpu: &mut Cpu, op: &Op) -> Result<u16, Trap> {
    if cpu.real_mode() {
        return Err(cpu.ud());
    }
    if cpu.cr4 & cr4::UMIP != 0 && cpu.cpl() != 0 {
        return Err(cpu.gp());
    }
    Ok(cpu.segment(op.aux).selector)
}

fn store_memory(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = stored(cpu, op)?;
    cpu.store(op, selector)?;
    Ok(Flow::Next)
}

fn store_register<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = stored(cpu, op)?;
    T::set(&mut cpu.gpr, op.dst, T::from_u64(u64::from(selector)));
    Ok(Flow::Next)
}
