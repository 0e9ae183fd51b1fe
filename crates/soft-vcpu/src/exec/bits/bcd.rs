// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! AAA, AAS, AAM, AAD, DAA, DAS: there are none in 64-bit mode.

use iced_x86::{Instruction, Mnemonic};
use vcpu_events::Exception;

use crate::cpu::Cpu;
use crate::decode::Chosen;
use crate::flags::bit;
use crate::int::{reg, Int, HIGH_BYTE};
use crate::op::{Flow, Handler, Op, Step};

const AL: u8 = reg::RAX;
const AH: u8 = reg::RAX | HIGH_BYTE;

pub(super) fn select(instruction: &Instruction) -> Option<Chosen> {
    let handler: Handler = match instruction.mnemonic() {
        Mnemonic::Aaa => aaa,
        Mnemonic::Aas => aas,
        Mnemonic::Aam => aam,
        Mnemonic::Aad => aad,
        Mnemonic::Daa => daa,
        Mnemonic::Das => das,
        _ => return None,
    };
    Some(Chosen::plain(handler))
}

/// SF, ZF and PF of AL; CF and AF as given; OF, which is undefined, clear.
fn adjusted(cpu: &mut Cpu, cf: bool, af: bool) -> Step {
    let al = u8::get(&cpu.gpr, AL);
    cpu.flags.result_with(al, cf, false);
    if af {
        let status = cpu.flags.status() | bit::AF;
        cpu.flags.set_status(status);
    }
    Ok(Flow::Next)
}

/// Whether the low digit is none, or was carried out of.
fn low_digit(cpu: &Cpu) -> bool {
    u8::get(&cpu.gpr, AL) & 0xf > 9 || cpu.flags.af()
}

/// AAA and AAS add `change` to AX and 1 or -1 to AH, and keep AL's low digit.
fn ascii(cpu: &mut Cpu, change: u16) -> Step {
    let adjust = low_digit(cpu);
    if adjust {
        let ax = u16::get(&cpu.gpr, reg::RAX).wrapping_add(change);
        u16::set(&mut cpu.gpr, reg::RAX, ax);
    }
    let digit = u8::get(&cpu.gpr, AL) & 0xf;
    u8::set(&mut cpu.gpr, AL, digit);
    adjusted(cpu, adjust, adjust)
}

fn aaa(cpu: &mut Cpu, _: &Op) -> Step {
    ascii(cpu, 0x106)
}

fn aas(cpu: &mut Cpu, _: &Op) -> Step {
    ascii(cpu, 0x106u16.wrapping_neg())
}

fn aam(cpu: &mut Cpu, op: &Op) -> Step {
    let (al, base) = (u8::get(&cpu.gpr, AL), op.imm::<u8>());
    let (Some(high), Some(low)) = (al.checked_div(base), al.checked_rem(base)) else {
        return Err(cpu.raise(Exception::de()));
    };
    u8::set(&mut cpu.gpr, AH, high);
    u8::set(&mut cpu.gpr, AL, low);
    adjusted(cpu, false, false)
}

fn aad(cpu: &mut Cpu, op: &Op) -> Step {
    let (al, ah) = (u8::get(&cpu.gpr, AL), u8::get(&cpu.gpr, AH));
    let value = al.wrapping_add(ah.wrapping_mul(op.imm()));
    u16::set(&mut cpu.gpr, reg::RAX, u16::from(value));
    adjusted(cpu, false, false)
}

fn daa(cpu: &mut Cpu, _: &Op) -> Step {
    decimal(cpu, u8::wrapping_add, false)
}

fn das(cpu: &mut Cpu, _: &Op) -> Step {
    // Taking 6 away may borrow where AL was no more than 99h.
    let borrow = u8::get(&cpu.gpr, AL) < 6 && low_digit(cpu);
    decimal(cpu, u8::wrapping_sub, borrow)
}

fn decimal(cpu: &mut Cpu, change: fn(u8, u8) -> u8, borrow: bool) -> Step {
    let before = u8::get(&cpu.gpr, AL);
    let (low, high) = (low_digit(cpu), before > 0x99 || cpu.flags.cf());
    let by = if low { 6 } else { 0 } + if high { 0x60 } else { 0 };
    u8::set(&mut cpu.gpr, AL, change(before, by));
    adjusted(cpu, high || borrow, low)
}
