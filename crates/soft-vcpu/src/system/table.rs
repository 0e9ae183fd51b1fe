// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! GDTR and IDTR: LGDT, LIDT, SGDT, SIDT.

use iced_x86::{Code, Instruction};

use crate::cpu::Cpu;
use crate::decode::{Chosen, Form};
use crate::op::{Flow, Handler, Op, Step};
use crate::segment::Table;

pub(super) fn select(instruction: &Instruction, _: &Form) -> Option<Chosen> {
    let handler: Handler = match instruction.code() {
        Code::Lgdt_m1632_16 => load::<3, false>,
        Code::Lgdt_m1632 => load::<4, false>,
        Code::Lgdt_m1664 => load::<8, false>,
        Code::Lidt_m1632_16 => load::<3, true>,
        Code::Lidt_m1632 => load::<4, true>,
        Code::Lidt_m1664 => load::<8, true>,
        Code::Sgdt_m1632_16 | Code::Sgdt_m1632 => store::<4, false>,
        Code::Sgdt_m1664 => store::<8, false>,
        Code::Sidt_m1632_16 | Code::Sidt_m1632 => store::<4, true>,
        Code::Sidt_m1664 => store::<8, true>,
        _ => return None,
    };
    // Loading one serializes.
    Some(Chosen::ends(handler))
}

/// `BYTES` of base: 3 (with 16-bit operands), 4 or 8.
fn load<const BYTES: u64, const IDT: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.privileged()?;
    let at = cpu.read_address(op, 2 + BYTES.max(4))?;
    let limit = cpu.read::<u16>(op.seg, at)?;
    let at = cpu.next_linear(at, 2);
    let base = match BYTES {
        3 => u64::from(cpu.read::<u32>(op.seg, at)? & 0xff_ffff),
        4 => u64::from(cpu.read::<u32>(op.seg, at)?),
        _ => cpu.read::<u64>(op.seg, at)?,
    };
    if !cpu.is_canonical(base) {
        return Err(cpu.gp());
    }
    match IDT {
        true => cpu.idtr = Table { base, limit },
        false => cpu.gdtr = Table { base, limit },
    }
    Ok(Flow::Next)
}

/// All 32 bits of the base are stored with 16-bit operands too, whatever the manual says of the
/// 80286.
fn store<const BYTES: u64, const IDT: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.user_may_see_tables()?;
    let table = if IDT { cpu.idtr } else { cpu.gdtr };
    let at = cpu.write_address(op, 2 + BYTES)?;
    cpu.probe_write(op.seg, at, 2 + BYTES)?;
    cpu.write(op.seg, at, table.limit)?;
    let at = cpu.next_linear(at, 2);
    match BYTES {
        8 => cpu.write(op.seg, at, table.base)?,
        _ => cpu.write(op.seg, at, table.base as u32)?,
    }
    Ok(Flow::Next)
}

impl Cpu {
    /// The linear address of the operand of an instruction that makes no access.
    pub(super) fn bare_address(&self, op: &Op) -> u64 {
        let linear = self.offset(op).wrapping_add(self.base[usize::from(op.seg) % 10]);
        match self.code64() {
            true => linear,
            false => linear & 0xffff_ffff,
        }
    }
}
