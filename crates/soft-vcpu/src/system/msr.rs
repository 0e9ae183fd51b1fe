// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RDMSR, WRMSR; RDTSC, RDTSCP, RDPMC; FS and GS bases.

use iced_x86::{Code, Instruction, Mnemonic};

use crate::config::Msr;
use crate::cpu::Cpu;
use crate::decode::{Chosen, Form};
use crate::int::{reg, Int};
use crate::io::Request;
use crate::op::{Flow, Op, Step, Trap};
use crate::segment::{FS, GS};
use crate::spec::{cr0, cr4, efer, msr};

pub(super) fn select(instruction: &Instruction, _: &Form) -> Option<Chosen> {
    match instruction.mnemonic() {
        Mnemonic::Rdmsr => return Some(Chosen::alone(rdmsr)),
        Mnemonic::Wrmsr => return Some(Chosen::alone(wrmsr)),
        Mnemonic::Rdtsc => return Some(Chosen::alone(rdtsc)),
        Mnemonic::Rdtscp => return Some(Chosen::alone(rdtscp)),
        Mnemonic::Rdpmc => return Some(Chosen::ends(rdpmc)),
        _ => {}
    }
    Some(Chosen::plain(match instruction.code() {
        Code::Rdfsbase_r32 => read_base::<u32, FS>,
        Code::Rdfsbase_r64 => read_base::<u64, FS>,
        Code::Rdgsbase_r32 => read_base::<u32, GS>,
        Code::Rdgsbase_r64 => read_base::<u64, GS>,
        Code::Wrfsbase_r32 => write_base::<u32, FS>,
        Code::Wrfsbase_r64 => write_base::<u64, FS>,
        Code::Wrgsbase_r32 => write_base::<u32, GS>,
        Code::Wrgsbase_r64 => write_base::<u64, GS>,
        _ => return None,
    }))
}

fn set_edx_eax(cpu: &mut Cpu, value: u64) {
    u32::set(&mut cpu.gpr, reg::RAX, value as u32);
    u32::set(&mut cpu.gpr, reg::RDX, (value >> 32) as u32);
}

fn rdmsr(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.privileged()?;
    let index = u32::get(&cpu.gpr, reg::RCX);
    let value = match cpu.own_msr(index) {
        Some(value) => value,
        None => cpu.table_msr(index)?,
    };
    set_edx_eax(cpu, value);
    Ok(Flow::Next)
}

fn wrmsr(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.privileged()?;
    let index = u32::get(&cpu.gpr, reg::RCX);
    let low = u32::get(&cpu.gpr, reg::RAX);
    let high = u32::get(&cpu.gpr, reg::RDX);
    cpu.write_msr(index, u64::from(high) << 32 | u64::from(low))?;
    cpu.drain_stores();
    Ok(Flow::Sync)
}

fn rdtsc(cpu: &mut Cpu, _: &Op) -> Step {
    if cpu.cr4 & cr4::TSD != 0 && cpu.cpl() != 0 {
        return Err(cpu.gp());
    }
    let value = cpu.tsc.read(cpu.executed);
    set_edx_eax(cpu, value);
    Ok(Flow::Next)
}

fn rdtscp(cpu: &mut Cpu, op: &Op) -> Step {
    if !cpu.cpuid.rdtscp() {
        return Err(cpu.ud());
    }
    rdtsc(cpu, op)?;
    u32::set(&mut cpu.gpr, reg::RCX, cpu.msr.tsc_aux as u32);
    Ok(Flow::Next)
}

/// No counter is there.
fn rdpmc(cpu: &mut Cpu, _: &Op) -> Step {
    Err(cpu.gp())
}

fn read_base<T: Int, const SEG: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.needs_fsgsbase()?;
    let base = cpu.segment(SEG).base;
    T::set(&mut cpu.gpr, op.dst, T::from_u64(base));
    Ok(Flow::Next)
}

fn write_base<T: Int, const SEG: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.needs_fsgsbase()?;
    let base = T::get(&cpu.gpr, op.dst).zx();
    cpu.set_base(SEG, base)?;
    Ok(Flow::Next)
}

impl Cpu {
    fn needs_fsgsbase(&mut self) -> Result<(), Trap> {
        match self.cr4 & cr4::FSGSBASE != 0 && self.code64() {
            true => Ok(()),
            false => Err(self.ud()),
        }
    }

    /// An MSR of the CPU's own.
    fn own_msr(&self, index: u32) -> Option<u64> {
        Some(match index {
            msr::TSC => self.tsc.read(self.executed),
            msr::TSC_ADJUST => self.tsc.adjust,
            msr::TSC_AUX => self.msr.tsc_aux,
            msr::SYSENTER_CS => self.msr.sysenter_cs,
            msr::SYSENTER_ESP => self.msr.sysenter_esp,
            msr::SYSENTER_EIP => self.msr.sysenter_eip,
            msr::PAT => self.msr.pat,
            msr::EFER => self.efer,
            msr::STAR => self.msr.star,
            msr::LSTAR => self.msr.lstar,
            msr::CSTAR => self.msr.cstar,
            msr::SFMASK => self.msr.sfmask,
            msr::FS_BASE => self.segment(FS).base,
            msr::GS_BASE => self.segment(GS).base,
            msr::KERNEL_GS_BASE => self.msr.kernel_gs_base,
            _ => return None,
        })
    }

    /// Reads an MSR that the VMM decides on.
    fn table_msr(&mut self, index: u32) -> Result<u64, Trap> {
        match self.msr_table.get(index) {
            Some(Msr::Constant(value) | Msr::Ignored(value)) => Ok(value),
            Some(Msr::Stored(first)) => Ok(self.msr_table.stored(index).unwrap_or(first)),
            Some(Msr::Exit) => {
                let answer = self.external(Request::MsrRead { index })?;
                answer.map_err(|_| self.gp())
            }
            None => Err(self.gp()),
        }
    }

    fn write_msr(&mut self, index: u32, value: u64) -> Result<(), Trap> {
        match index {
            msr::TSC => self.tsc.write(self.executed, value),
            msr::TSC_ADJUST => self.tsc.write_adjust(value),
            msr::TSC_AUX if value >> 32 == 0 => self.msr.tsc_aux = value,
            msr::SYSENTER_CS => self.msr.sysenter_cs = value,
            msr::SYSENTER_ESP => self.msr.sysenter_esp = self.canonical(value)?,
            msr::SYSENTER_EIP => self.msr.sysenter_eip = self.canonical(value)?,
            msr::PAT if is_pat(value) => self.msr.pat = value,
            msr::EFER => self.write_efer(value)?,
            msr::STAR => self.msr.star = value,
            msr::LSTAR => self.msr.lstar = self.canonical(value)?,
            msr::CSTAR => self.msr.cstar = self.canonical(value)?,
            // RFLAGS has no more bits.
            msr::SFMASK => self.msr.sfmask = value & 0xffff_ffff,
            msr::FS_BASE => self.set_base(FS, value)?,
            msr::GS_BASE => self.set_base(GS, value)?,
            msr::KERNEL_GS_BASE => self.msr.kernel_gs_base = self.canonical(value)?,
            msr::TSC_AUX | msr::PAT => return Err(self.gp()),
            _ => self.write_table_msr(index, value)?,
        }
        Ok(())
    }

    fn write_table_msr(&mut self, index: u32, value: u64) -> Result<(), Trap> {
        match self.msr_table.get(index) {
            Some(Msr::Ignored(_)) => Ok(()),
            Some(Msr::Stored(_)) => {
                self.msr_table.store(index, value);
                Ok(())
            }
            Some(Msr::Exit) => {
                let answer = self.external(Request::MsrWrite { index, value })?;
                answer.map(|_| ()).map_err(|_| self.gp())
            }
            Some(Msr::Constant(_)) | None => Err(self.gp()),
        }
    }

    /// SDM vol. 3, "Initializing IA-32e Mode": LME holds still while paging is on; LMA is the
    /// processor's.
    fn write_efer(&mut self, value: u64) -> Result<(), Trap> {
        let changed = value ^ self.efer;
        let paging = self.cr0 & cr0::PG != 0;
        if value & !efer::ALL != 0 || paging && changed & efer::LME != 0 {
            return Err(self.gp());
        }
        self.efer = value & !efer::LMA | self.efer & efer::LMA;
        if changed & efer::NXE != 0 {
            self.tlb.flush_all();
        }
        Ok(())
    }

    /// Changes the base of FS or GS alone.
    fn set_base(&mut self, seg: u8, base: u64) -> Result<(), Trap> {
        let base = self.canonical(base)?;
        let segment = *self.segment(seg);
        self.set_segment(seg, crate::segment::Segment { base, ..segment });
        Ok(())
    }

    /// #GP(0) for what cannot be an address.
    fn canonical(&mut self, address: u64) -> Result<u64, Trap> {
        match self.is_canonical(address) {
            true => Ok(address),
            false => Err(self.gp()),
        }
    }
}

/// Eight memory types, 2 and 3 being none (SDM vol. 3, "IA32_PAT MSR").
fn is_pat(value: u64) -> bool {
    value.to_le_bytes().iter().all(|kind| matches!(kind, 0 | 1 | 4..=7))
}
