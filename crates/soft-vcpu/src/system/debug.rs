// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Debug registers.

use iced_x86::{Code, Instruction};
use vcpu_events::Exception;

use crate::cpu::Cpu;
use crate::decode::Chosen;
use crate::int::Int;
use crate::op::{Flow, Op, Step, Trap};
use crate::spec::{cr4, dr};

pub(super) fn select_mov(instruction: &Instruction) -> Option<Chosen> {
    match instruction.code() {
        Code::Mov_r32_dr => Some(Chosen::plain(store::<u32>)),
        Code::Mov_r64_dr => Some(Chosen::plain(store::<u64>)),
        Code::Mov_dr_r32 => Some(Chosen::ends(load::<u32>)),
        Code::Mov_dr_r64 => Some(Chosen::ends(load::<u64>)),
        _ => None,
    }
}

/// MOV from a debug register.
fn store<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let number = cpu.debug_register(op.src)?;
    let value = match number {
        0..=3 => cpu.dr[usize::from(number)],
        6 => cpu.dr6,
        _ => cpu.dr7,
    };
    T::set(&mut cpu.gpr, op.dst, T::from_u64(value));
    Ok(Flow::Next)
}

/// MOV to a debug register.
fn load<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let number = cpu.debug_register(op.dst)?;
    let value = T::get(&cpu.gpr, op.src).zx();
    if number >= 6 && value >> 32 != 0 {
        return Err(cpu.gp());
    }
    match number {
        0..=3 => cpu.dr[usize::from(number)] = value,
        6 => cpu.dr6 = value & dr::DR6_WRITABLE | dr::DR6_FIXED,
        _ => cpu.dr7 = value & dr::DR7_WRITABLE | dr::DR7_FIXED,
    }
    // Which accesses must be looked at has changed.
    cpu.tlb.flush_all();
    Ok(Flow::Sync)
}

impl Cpu {
    /// The number of a debug register that may be used now, DR4 and DR5 being DR6 and DR7.
    fn debug_register(&mut self, number: u8) -> Result<u8, Trap> {
        let number = match number {
            4 | 5 if self.cr4 & cr4::DE == 0 => number + 2,
            0..=3 | 6 | 7 => number,
            _ => return Err(self.ud()),
        };
        self.privileged()?;
        if self.dr7 & dr::DR7_GD != 0 {
            return Err(self.raise(Exception::db(dr::DR6_BD)));
        }
        Ok(number)
    }

    /// #DB for an instruction breakpoint at `rip`, unless RFLAGS.RF holds it back.
    pub fn instruction_breakpoint(&mut self) -> Result<(), Trap> {
        Ok(())
    }
}
