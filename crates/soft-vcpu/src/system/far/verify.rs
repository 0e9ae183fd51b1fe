// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LAR, LSL, VERR, VERW and ARPL (SDM vol. 2; vol. 3, "Pointer Validation").

use iced_x86::{Instruction, Mnemonic};

use super::descriptor::{is_null, kind, rpl, Descriptor};
use super::tables::selector;
use crate::cpu::Cpu;
use crate::decode::{Chosen, Form, Kind};
use crate::int::Int;
use crate::op::{Flow, Handler, Op, Step, Trap};

pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    let [first, second, _] = form.kinds;
    let handler = match (instruction.mnemonic(), first, second) {
        (Mnemonic::Verr, Kind::Mem, _) => verr::<true>,
        (Mnemonic::Verr, ..) => verr::<false>,
        (Mnemonic::Verw, Kind::Mem, _) => verw::<true>,
        (Mnemonic::Verw, ..) => verw::<false>,
        (Mnemonic::Lar, _, Kind::Mem) => query::<true>(form, false)?,
        (Mnemonic::Lar, ..) => query::<false>(form, false)?,
        (Mnemonic::Lsl, _, Kind::Mem) => query::<true>(form, true)?,
        (Mnemonic::Lsl, ..) => query::<false>(form, true)?,
        (Mnemonic::Arpl, Kind::Mem, _) => arpl_mr,
        (Mnemonic::Arpl, ..) => arpl_rr,
        _ => return None,
    };
    Some(Chosen::plain(handler))
}

fn query<const MEMORY: bool>(form: &Form, limit: bool) -> Option<Handler> {
    match (form.size, limit) {
        (2, false) => Some(lar::<u16, MEMORY>),
        (4, false) => Some(lar::<u32, MEMORY>),
        (8, false) => Some(lar::<u64, MEMORY>),
        (2, true) => Some(lsl::<u16, MEMORY>),
        (4, true) => Some(lsl::<u32, MEMORY>),
        (8, true) => Some(lsl::<u64, MEMORY>),
        _ => None,
    }
}

/// The descriptor of a selector, if this privilege level may see it.
fn visible(cpu: &mut Cpu, selector: u16) -> Result<Option<Descriptor>, Trap> {
    if is_null(selector) {
        return Ok(None);
    }
    let Some(descriptor) = cpu.find_descriptor(selector)? else { return Ok(None) };
    let rights = descriptor.rights();
    let visible = rights.is_conforming() || rights.dpl() >= rpl(selector).max(cpu.cpl());
    Ok(visible.then_some(descriptor))
}

fn check_mode(cpu: &mut Cpu) -> Result<(), Trap> {
    match cpu.real_mode() {
        true => Err(cpu.ud()),
        false => Ok(()),
    }
}

fn lar<T: Int, const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let descriptor = queried::<MEMORY>(cpu, op, |kind, long| match kind {
        kind::LDT | kind::TSS | kind::TSS_BUSY | kind::CALL => true,
        kind::TSS16 | kind::TSS16_BUSY | kind::CALL16 | kind::TASK_GATE => !long,
        _ => false,
    })?;
    if let Some(descriptor) = descriptor {
        // Bits 19:16 are undefined in the manual; processors tell the limit's there.
        let rights = u64::from(descriptor.second_doubleword()) & 0x00ff_ff00;
        T::set(&mut cpu.gpr, op.dst, T::from_u64(rights));
    }
    Ok(Flow::Next)
}

fn lsl<T: Int, const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let descriptor = queried::<MEMORY>(cpu, op, |kind, long| match kind {
        kind::LDT | kind::TSS | kind::TSS_BUSY => true,
        kind::TSS16 | kind::TSS16_BUSY => !long,
        _ => false,
    })?;
    if let Some(descriptor) = descriptor {
        let limit = u64::from(descriptor.segment().limit);
        T::set(&mut cpu.gpr, op.dst, T::from_u64(limit));
    }
    Ok(Flow::Next)
}

/// The descriptor that LAR or LSL tells about, and ZF. `knows`: types of system descriptors, in
/// IA-32e mode or not.
fn queried<const MEMORY: bool>(
    cpu: &mut Cpu,
    op: &Op,
    knows: fn(u8, bool) -> bool,
) -> Result<Option<Descriptor>, Trap> {
    check_mode(cpu)?;
    let selector = selector::<MEMORY>(cpu, op, op.src)?;
    let long = cpu.long_mode();
    let found =
        visible(cpu, selector)?.filter(|it| it.rights().s() || knows(it.rights().kind(), long));
    cpu.flags.set_zf(found.is_some());
    Ok(found)
}

fn verr<const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    check_mode(cpu)?;
    let selector = selector::<MEMORY>(cpu, op, op.dst)?;
    let found = visible(cpu, selector)?;
    cpu.flags.set_zf(found.is_some_and(|it| it.rights().is_readable()));
    Ok(Flow::Next)
}

fn verw<const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    check_mode(cpu)?;
    let selector = selector::<MEMORY>(cpu, op, op.dst)?;
    let found = visible(cpu, selector)?;
    cpu.flags.set_zf(found.is_some_and(|it| it.rights().is_writable()));
    Ok(Flow::Next)
}

/// The first operand with at least the second one's RPL, if it had less.
fn raised(first: u16, second: u16) -> Option<u16> {
    (rpl(first) < rpl(second)).then_some(first & !3 | second & 3)
}

fn arpl_rr(cpu: &mut Cpu, op: &Op) -> Step {
    check_mode(cpu)?;
    let (first, second) = (u16::get(&cpu.gpr, op.dst), u16::get(&cpu.gpr, op.src));
    let raised = raised(first, second);
    if let Some(selector) = raised {
        u16::set(&mut cpu.gpr, op.dst, selector);
    }
    cpu.flags.set_zf(raised.is_some());
    Ok(Flow::Next)
}

fn arpl_mr(cpu: &mut Cpu, op: &Op) -> Step {
    check_mode(cpu)?;
    let at = cpu.write_address(op, 2)?;
    let second = u16::get(&cpu.gpr, op.src);
    let first = cpu.read(op.seg, at)?;
    let raised = raised(first, second);
    if let Some(selector) = raised {
        cpu.write(op.seg, at, selector)?;
    }
    cpu.flags.set_zf(raised.is_some());
    Ok(Flow::Next)
}
