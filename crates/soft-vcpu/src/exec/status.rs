// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Single flags; AH as flags.

use iced_x86::{Instruction, Mnemonic};

use crate::cpu::Cpu;
use crate::decode::{Chosen, Form};
use crate::flags::bit;
use crate::int::{reg, Int, HIGH_BYTE};
use crate::op::{Flow, Handler, Op, Step};

pub(crate) fn select(instruction: &Instruction, _: &Form) -> Option<Chosen> {
    let handler: Handler = match instruction.mnemonic() {
        Mnemonic::Clc => carry::<false>,
        Mnemonic::Stc => carry::<true>,
        Mnemonic::Cmc => cmc,
        Mnemonic::Cld => direction::<false>,
        Mnemonic::Std => direction::<true>,
        Mnemonic::Lahf => lahf,
        Mnemonic::Sahf => sahf,
        Mnemonic::Salc => salc,
        _ => return None,
    };
    Some(Chosen::plain(handler))
}

/// Flags that AH has room for.
const LOW: u64 = bit::SF | bit::ZF | bit::AF | bit::PF | bit::CF;
const AH: u8 = reg::RAX | HIGH_BYTE;

fn carry<const ON: bool>(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.flags.set_cf(ON);
    Ok(Flow::Next)
}

fn cmc(cpu: &mut Cpu, _: &Op) -> Step {
    let carry = cpu.flags.cf();
    cpu.flags.set_cf(!carry);
    Ok(Flow::Next)
}

fn direction<const ON: bool>(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.flags.put(bit::DF, ON);
    Ok(Flow::Next)
}

fn lahf(cpu: &mut Cpu, _: &Op) -> Step {
    let value = cpu.flags.status() & LOW | bit::FIXED;
    u8::set(&mut cpu.gpr, AH, value as u8);
    Ok(Flow::Next)
}

fn sahf(cpu: &mut Cpu, _: &Op) -> Step {
    let value = u8::get(&cpu.gpr, AH).zx();
    let status = cpu.flags.status() & !LOW | value & LOW;
    cpu.flags.set_status(status);
    Ok(Flow::Next)
}

/// Undocumented: AL is all CF.
fn salc(cpu: &mut Cpu, _: &Op) -> Step {
    let value = if cpu.flags.cf() { 0xff } else { 0 };
    u8::set(&mut cpu.gpr, reg::RAX, value);
    Ok(Flow::Next)
}
