// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Control registers: MOV CRn, CLTS, LMSW, SMSW (SDM vol. 3, "Control Registers").

use iced_x86::{Code, Instruction, Mnemonic};

use crate::cpu::{Cause, Cpu};
use crate::decode::{Chosen, Form, Kind};
use crate::exec::sized;
use crate::int::Int;
use crate::op::{Flow, Op, Step, Trap};
use crate::segment::{CS, TR};
use crate::spec::{cpuid, cr0, cr4, efer};

/// Bits of CR4 that change what the TLB holds: a write that changes one flushes all of it.
const CR4_FLUSHES: u64 = cr4::PSE | cr4::PAE | cr4::PGE | cr4::SMEP | cr4::SMAP;
/// Bits of CR4 that load the PDPTEs when they change.
const CR4_PDPTES: u64 = cr4::PSE | cr4::PAE | cr4::PGE | cr4::SMEP;

pub(super) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    match (instruction.mnemonic(), form.kinds[0]) {
        (Mnemonic::Clts, _) => Some(Chosen::ends(clts)),
        (Mnemonic::Lmsw, Kind::Reg) => Some(Chosen::ends(lmsw_register)),
        (Mnemonic::Lmsw, _) => Some(Chosen::ends(lmsw_memory)),
        (Mnemonic::Smsw, Kind::Reg) => sized!(form.size, smsw_register).map(Chosen::plain),
        (Mnemonic::Smsw, _) => Some(Chosen::plain(smsw_memory)),
        _ => None,
    }
}

pub(super) fn select_mov(instruction: &Instruction) -> Option<Chosen> {
    match instruction.code() {
        Code::Mov_r32_cr | Code::Mov_r64_cr => Some(Chosen::plain(store)),
        Code::Mov_cr_r32 => Some(Chosen::ends(load::<u32>)),
        Code::Mov_cr_r64 => Some(Chosen::ends(load::<u64>)),
        _ => None,
    }
}

/// MOV from a control register.
fn store(cpu: &mut Cpu, op: &Op) -> Step {
    let value = match op.src {
        0 => cpu.cr0,
        2 => cpu.cr2,
        3 => cpu.cr3,
        4 => cpu.cr4,
        8 => u64::from(cpu.cr8),
        _ => return Err(cpu.ud()),
    };
    cpu.privileged()?;
    match op.flags & crate::op::flag::SEGMENTED {
        0 => u64::set(&mut cpu.gpr, op.dst, value),
        _ => u32::set(&mut cpu.gpr, op.dst, value as u32),
    }
    Ok(Flow::Next)
}

/// MOV to a control register.
fn load<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = T::get(&cpu.gpr, op.src).zx();
    if !matches!(op.dst, 0 | 2 | 3 | 4 | 8) {
        return Err(cpu.ud());
    }
    cpu.privileged()?;
    match op.dst {
        0 => cpu.write_cr0(value)?,
        2 => cpu.cr2 = value,
        3 => cpu.write_cr3(value)?,
        4 => cpu.write_cr4(value)?,
        _ => cpu.write_cr8(value)?,
    }
    // All of these serialize, but for CR8.
    cpu.drain_stores();
    Ok(Flow::Sync)
}

fn clts(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.privileged()?;
    cpu.cr0 &= !cr0::TS;
    Ok(Flow::Sync)
}

fn lmsw_register(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.privileged()?;
    let value = u16::get(&cpu.gpr, op.dst);
    lmsw(cpu, value)
}

fn lmsw_memory(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.privileged()?;
    let value = cpu.load::<u16>(op)?;
    lmsw(cpu, value)
}

/// PE, MP, EM and TS; PE can be set this way, not cleared.
fn lmsw(cpu: &mut Cpu, value: u16) -> Step {
    let bits = cr0::PE | cr0::MP | cr0::EM | cr0::TS;
    let value = u64::from(value) & bits | cpu.cr0 & cr0::PE;
    cpu.write_cr0(cpu.cr0 & !bits | value)?;
    Ok(Flow::Sync)
}

fn smsw_register<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.user_may_see_tables()?;
    // The manual calls the bits above 15 undefined; processors give CR0's.
    T::set(&mut cpu.gpr, op.dst, T::from_u64(cpu.cr0));
    Ok(Flow::Next)
}

fn smsw_memory(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.user_may_see_tables()?;
    let value = cpu.cr0 as u16;
    cpu.store(op, value)?;
    Ok(Flow::Next)
}

impl Cpu {
    /// #GP(0) where CR4.UMIP keeps user code from SGDT, SIDT, SLDT, SMSW and STR.
    pub(super) fn user_may_see_tables(&mut self) -> Result<(), Trap> {
        match self.cr4 & cr4::UMIP != 0 && self.cpl() != 0 {
            true => Err(self.gp()),
            false => Ok(()),
        }
    }

    fn write_cr0(&mut self, value: u64) -> Result<(), Trap> {
        if value >> 32 != 0 {
            return Err(self.gp());
        }
        // Reserved bits of the lower half are ignored, ET is always set.
        let value = value & cr0::ALL | cr0::ET;
        let on = |bit| value & bit != 0;
        if on(cr0::PG) && !on(cr0::PE) || on(cr0::NW) && !on(cr0::CD) {
            return Err(self.gp());
        }
        let changed = value ^ self.cr0;
        let mut efer = self.efer;
        if changed & cr0::PG != 0 {
            let allowed = match on(cr0::PG) {
                true => self.may_start_paging(),
                // In 64-bit mode there is no way back.
                false => !self.code64(),
            };
            if !allowed {
                return Err(self.gp());
            }
            let long = on(cr0::PG) && efer & efer::LME != 0;
            efer = efer & !efer::LMA | if long { efer::LMA } else { 0 };
        }
        let pae = on(cr0::PG) && efer & efer::LMA == 0 && self.cr4 & cr4::PAE != 0;
        if pae && changed & (cr0::PG | cr0::CD | cr0::NW) != 0 {
            self.check_pdptes(self.cr3)?;
        }
        (self.cr0, self.efer) = (value, efer);
        if changed & (cr0::PG | cr0::WP | cr0::PE) != 0 {
            self.tlb.flush_all();
        }
        Ok(())
    }

    /// The consistency checks for setting CR0.PG (SDM vol. 3, "IA-32e Mode System Data Structures"
    /// and "Initializing IA-32e Mode").
    fn may_start_paging(&self) -> bool {
        let tss16 = matches!(self.segment(TR).rights.kind(), 1 | 3);
        let ready = self.cr4 & cr4::PAE != 0 && !self.segment(CS).rights.long() && !tss16;
        self.efer & efer::LME == 0 || ready
    }

    fn write_cr3(&mut self, value: u64) -> Result<(), Trap> {
        let paging = self.cr0 & cr0::PG != 0;
        if value >> self.physical_bits.min(63) != 0 {
            return Err(self.gp());
        }
        if paging && !self.long_mode() && self.cr4 & cr4::PAE != 0 {
            self.check_pdptes(value)?;
        }
        self.cr3 = value;
        self.tlb.flush_local();
        Ok(())
    }

    fn write_cr4(&mut self, value: u64) -> Result<(), Trap> {
        let changed = value ^ self.cr4;
        let no_pae = self.long_mode() && value & cr4::PAE == 0;
        if value & !self.cr4_bits() != 0 || no_pae {
            return Err(self.gp());
        }
        let pae = self.cr0 & cr0::PG != 0 && !self.long_mode() && value & cr4::PAE != 0;
        if pae && changed & CR4_PDPTES != 0 {
            self.check_pdptes(self.cr3)?;
        }
        self.cr4 = value;
        if changed & CR4_FLUSHES != 0 {
            self.tlb.flush_all();
        }
        Ok(())
    }

    /// Bits of CR4 that are not reserved: those of optional features follow CPUID.
    fn cr4_bits(&self) -> u64 {
        let leaf = self.cpuid.get(7, 0);
        let optional = [
            (leaf.ebx & cpuid::FSGSBASE, cr4::FSGSBASE),
            (leaf.ebx & cpuid::SMEP, cr4::SMEP),
            (leaf.ebx & cpuid::SMAP, cr4::SMAP),
            (leaf.ecx & cpuid::UMIP, cr4::UMIP),
        ];
        let missing = optional.iter().filter(|(offered, _)| *offered == 0);
        cr4::ALL & !missing.fold(0, |bits, (_, bit)| bits | bit)
    }

    fn write_cr8(&mut self, value: u64) -> Result<(), Trap> {
        if value >> 4 != 0 {
            return Err(self.gp());
        }
        let lowered = value < u64::from(self.cr8);
        self.cr8 = value as u8;
        match lowered {
            true => Err(self.stop(Cause::Cr8Lowered)),
            false => Ok(()),
        }
    }
}
