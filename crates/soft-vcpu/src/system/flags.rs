// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Instructions on RFLAGS' system flags: CLI, STI, PUSHF, POPF, CLAC, STAC.

use iced_x86::{Instruction, Mnemonic};

use crate::cpu::Cpu;
use crate::decode::{Chosen, Form};
use crate::flags::bit;
use crate::int::Int;
use crate::op::{Flow, Op, Step, Trap};

pub(super) fn select(instruction: &Instruction, _: &Form) -> Option<Chosen> {
    Some(match instruction.mnemonic() {
        // Nothing that was held back gets through by it.
        Mnemonic::Cli => Chosen::plain(cli),
        Mnemonic::Sti => Chosen::ends(sti),
        Mnemonic::Pushf => Chosen::plain(pushf::<u16>),
        Mnemonic::Pushfd => Chosen::plain(pushf::<u32>),
        Mnemonic::Pushfq => Chosen::plain(pushf::<u64>),
        Mnemonic::Popf => Chosen::plain(popf::<u16>),
        Mnemonic::Popfd => Chosen::plain(popf::<u32>),
        Mnemonic::Popfq => Chosen::plain(popf::<u64>),
        Mnemonic::Clac => Chosen::plain(set_ac::<false>),
        Mnemonic::Stac => Chosen::plain(set_ac::<true>),
        _ => return None,
    })
}

fn cli(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.needs_iopl()?;
    cpu.flags.put(bit::IF, false);
    Ok(Flow::Next)
}

fn sti(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.needs_iopl()?;
    if !cpu.flags.has(bit::IF) {
        cpu.flags.put(bit::IF, true);
        cpu.shadow.sti = true;
    }
    Ok(Flow::Sync)
}

fn pushf<T: Int>(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.needs_iopl_in_v86()?;
    // The image has VM and RF clear.
    let image = cpu.flags.get() & !(bit::VM | bit::RF);
    cpu.push(T::from_u64(image))?;
    Ok(Flow::Next)
}

/// SDM vol. 2, "POPF/POPFD/POPFQ", table "Effect of POPF/POPFD/POPFQ on the EFLAGS Register".
fn popf<T: Int>(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.needs_iopl_in_v86()?;
    let image = cpu.pop::<T>()?.zx();
    let mut writable = bit::STATUS | bit::TF | bit::DF | bit::NT | bit::AC | bit::ID;
    if cpu.cpl() <= cpu.flags.iopl() {
        writable |= bit::IF;
    }
    if cpu.cpl() == 0 {
        writable |= bit::IOPL;
    }
    writable &= T::MASK;
    let before = cpu.flags.get();
    cpu.flags.set(before & !(writable | bit::RF) | image & writable);
    let after = cpu.flags.get();
    match (before ^ after) & (bit::TF | bit::IF | bit::AC | bit::RF) {
        0 => Ok(Flow::Next),
        _ => Ok(Flow::Sync),
    }
}

fn set_ac<const ON: bool>(cpu: &mut Cpu, _: &Op) -> Step {
    if cpu.cpl() != 0 || !cpu.cpuid.smap() {
        return Err(cpu.ud());
    }
    cpu.flags.put(bit::AC, ON);
    cpu.refresh();
    Ok(Flow::Next)
}

impl Cpu {
    /// #GP(0) where IOPL does not let CLI and STI be. (VME and PVI are not there.)
    fn needs_iopl(&mut self) -> Result<(), Trap> {
        match self.cpl() <= self.flags.iopl() {
            true => Ok(()),
            false => Err(self.gp()),
        }
    }

    /// #GP(0) in virtual-8086 mode if IOPL is below 3.
    fn needs_iopl_in_v86(&mut self) -> Result<(), Trap> {
        match self.flags.has(bit::VM) && self.flags.iopl() < 3 {
            true => Err(self.gp()),
            false => Ok(()),
        }
    }
}
