// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! All of a vCPU's state as plain data.

use vcpu_events::Shadow;

use crate::cpu::{Cpu, Msrs};
use crate::segment::{Segment, Table, CS, SS};
use crate::spec::{cr0, cr4, dr, efer};
use crate::sse::{Sse, MXCSR_MASK};
use crate::x87::{F80, X87};

/// A vCPU's state. CPUID, the MSR table and the clock are configuration and not part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    pub gpr: [u64; 16],
    /// Offset in CS of the next instruction.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// ES, CS, SS, DS, FS, GS, LDTR, TR, at the indices of [`crate::segment`].
    pub segments: [Segment; 8],
    /// GDTR.
    pub gdtr: Table,
    /// IDTR.
    pub idtr: Table,
    /// CR0.
    pub cr0: u64,
    /// CR2: the last page fault's linear address.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// CR8, 4 bits.
    pub cr8: u8,
    /// IA32_EFER.
    pub efer: u64,
    /// DR0 to DR3.
    pub dr: [u64; 4],
    /// DR6.
    pub dr6: u64,
    /// DR7.
    pub dr7: u64,
    /// IA32_STAR.
    pub star: u64,
    /// IA32_LSTAR.
    pub lstar: u64,
    /// IA32_CSTAR.
    pub cstar: u64,
    /// IA32_FMASK.
    pub sfmask: u64,
    /// IA32_KERNEL_GS_BASE.
    pub kernel_gs_base: u64,
    /// IA32_SYSENTER_CS.
    pub sysenter_cs: u64,
    /// IA32_SYSENTER_ESP.
    pub sysenter_esp: u64,
    /// IA32_SYSENTER_EIP.
    pub sysenter_eip: u64,
    /// IA32_PAT.
    pub pat: u64,
    /// IA32_TSC_AUX.
    pub tsc_aux: u64,
    /// What is added to the TSC's source.
    pub tsc_offset: u64,
    /// IA32_TSC_ADJUST.
    pub tsc_adjust: u64,
    /// XMM0 to XMM15.
    pub xmm: [u128; 16],
    /// MXCSR.
    pub mxcsr: u32,
    /// x87 and MMX registers by physical number: mantissa, then sign and exponent.
    pub x87: [(u64, u16); 8],
    /// x87 control word.
    pub fcw: u16,
    /// x87 status word; TOP is bits 13:11.
    pub fsw: u16,
    /// Bit n: physical register n is not empty.
    pub ftw: u8,
    /// x87 last opcode, 11 bits.
    pub fop: u16,
    /// x87 last instruction pointer and selector.
    pub fip: (u16, u64),
    /// x87 last data pointer and selector.
    pub fdp: (u16, u64),
    /// Interrupt shadow.
    pub shadow: Shadow,
    /// NMIs are blocked.
    pub nmi_blocked: bool,
    /// Pending debug exceptions: bits for DR6.
    pub pending_debug: u64,
}

/// Why a state is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidState {
    /// Reserved bits, or PG without PE, or NW without CD.
    #[error("CR0 = {0:#x} is not possible")]
    Cr0(u64),
    /// Bits that this CPU does not have, or no PAE in IA-32e mode.
    #[error("CR4 = {0:#x} is not possible")]
    Cr4(u64),
    /// Reserved bits, or LMA that does not follow from LME and CR0.PG.
    #[error("EFER = {0:#x} is not possible")]
    Efer(u64),
    /// Reserved bits of MXCSR.
    #[error("MXCSR = {0:#x} is not possible")]
    Mxcsr(u32),
    /// Bits 63:32 of DR6 or DR7.
    #[error("DR6 = {0:#x}, DR7 = {1:#x} are not possible")]
    Debug(u64, u64),
    /// Bits that no debug exception has.
    #[error("pending debug exceptions {0:#x} are not possible")]
    PendingDebug(u64),
    /// RFLAGS has reserved bits, or VM: there is no virtual-8086 mode.
    #[error("RFLAGS = {0:#x} is not possible")]
    Rflags(u64),
    /// CPL, which is SS's DPL in protected mode, is not 0 in real mode.
    #[error("privilege level {0} in real mode")]
    Privilege(u8),
}

impl State {
    pub(crate) fn of(cpu: &Cpu) -> Self {
        let gpr = std::array::from_fn(|n| cpu.gpr[n]);
        let Msrs { star, lstar, cstar, sfmask, kernel_gs_base, .. } = cpu.msr;
        let Msrs { sysenter_cs, sysenter_esp, sysenter_eip, pat, tsc_aux, .. } = cpu.msr;
        State {
            gpr,
            rip: cpu.rip,
            rflags: cpu.flags.get(),
            segments: std::array::from_fn(|n| *cpu.segment(n as u8)),
            gdtr: cpu.gdtr,
            idtr: cpu.idtr,
            cr0: cpu.cr0,
            cr2: cpu.cr2,
            cr3: cpu.cr3,
            cr4: cpu.cr4,
            cr8: cpu.cr8,
            efer: cpu.efer,
            dr: cpu.dr,
            dr6: cpu.dr6,
            dr7: cpu.dr7,
            star,
            lstar,
            cstar,
            sfmask,
            kernel_gs_base,
            sysenter_cs,
            sysenter_esp,
            sysenter_eip,
            pat,
            tsc_aux,
            tsc_offset: cpu.tsc.offset,
            tsc_adjust: cpu.tsc.adjust,
            xmm: cpu.sse.xmm,
            mxcsr: cpu.sse.mxcsr,
            x87: cpu.x87.regs.map(|register| (register.mantissa, register.sign_exponent)),
            fcw: cpu.x87.control,
            fsw: cpu.x87.status,
            ftw: cpu.x87.used,
            fop: cpu.x87.fop,
            fip: (cpu.x87.fcs, cpu.x87.fip),
            fdp: (cpu.x87.fds, cpu.x87.fdp),
            shadow: cpu.shadow,
            nmi_blocked: cpu.nmi_blocked,
            pending_debug: cpu.pending_debug,
        }
    }

    fn check(&self) -> Result<(), InvalidState> {
        let has = |value: u64, bits: u64| value & bits != 0;
        let (paging, protected) = (has(self.cr0, cr0::PG), has(self.cr0, cr0::PE));
        let uncached = has(self.cr0, cr0::CD) || !has(self.cr0, cr0::NW);
        if has(self.cr0, !cr0::ALL) || paging && !protected || !uncached {
            return Err(InvalidState::Cr0(self.cr0));
        }
        let long = has(self.efer, efer::LME) && paging;
        if has(self.efer, !efer::ALL) || has(self.efer, efer::LMA) != long {
            return Err(InvalidState::Efer(self.efer));
        }
        if has(self.cr4, !cr4::ALL) || long && !has(self.cr4, cr4::PAE) {
            return Err(InvalidState::Cr4(self.cr4));
        }
        if self.mxcsr & !MXCSR_MASK != 0 {
            return Err(InvalidState::Mxcsr(self.mxcsr));
        }
        if (self.dr6 | self.dr7) >> 32 != 0 {
            return Err(InvalidState::Debug(self.dr6, self.dr7));
        }
        if has(self.pending_debug, !dr::DR6_WRITABLE) {
            return Err(InvalidState::PendingDebug(self.pending_debug));
        }
        let flags = crate::flags::bit::ALL & !crate::flags::bit::VM;
        if has(self.rflags, !flags) {
            return Err(InvalidState::Rflags(self.rflags));
        }
        let cpl = self.segments[usize::from(SS)].rights.dpl();
        if !protected && cpl != 0 {
            return Err(InvalidState::Privilege(cpl));
        }
        Ok(())
    }

    pub(crate) fn apply(&self, cpu: &mut Cpu) -> Result<(), InvalidState> {
        self.check()?;
        cpu.gpr[..16].copy_from_slice(&self.gpr);
        cpu.rip = self.rip;
        cpu.flags.set(self.rflags);
        (cpu.gdtr, cpu.idtr) = (self.gdtr, self.idtr);
        (cpu.cr0, cpu.cr2, cpu.cr3, cpu.cr4) = (self.cr0, self.cr2, self.cr3, self.cr4);
        (cpu.cr8, cpu.efer) = (self.cr8 & 15, self.efer);
        cpu.dr = self.dr;
        (cpu.dr6, cpu.dr7) = (
            self.dr6 & dr::DR6_WRITABLE | dr::DR6_FIXED,
            self.dr7 & dr::DR7_WRITABLE | dr::DR7_FIXED,
        );
        cpu.msr = Msrs {
            star: self.star,
            lstar: self.lstar,
            cstar: self.cstar,
            sfmask: self.sfmask,
            kernel_gs_base: self.kernel_gs_base,
            sysenter_cs: self.sysenter_cs,
            sysenter_esp: self.sysenter_esp,
            sysenter_eip: self.sysenter_eip,
            pat: self.pat,
            tsc_aux: self.tsc_aux,
            apic_base: cpu.msr.apic_base,
        };
        (cpu.tsc.offset, cpu.tsc.adjust) = (self.tsc_offset, self.tsc_adjust);
        cpu.sse = Sse { xmm: self.xmm, mxcsr: self.mxcsr };
        cpu.x87 = self.x87();
        (cpu.shadow, cpu.nmi_blocked) = (self.shadow, self.nmi_blocked);
        cpu.pending_debug = self.pending_debug;
        for (index, segment) in (0..).zip(self.segments) {
            cpu.set_segment(index, segment);
        }
        let rights = self.segments[usize::from(SS)].rights;
        let conforming = self.segments[usize::from(CS)].selector as u8 & 3;
        cpu.io.clear();
        cpu.vectoring = None;
        cpu.tlb.flush_all();
        // A null SS is possible in 64-bit mode: then CS's RPL tells.
        let unusable = rights.unusable() && cpu.cr0 & cr0::PE != 0;
        cpu.set_cpl(if unusable { conforming } else { rights.dpl() });
        Ok(())
    }

    fn x87(&self) -> X87 {
        X87 {
            regs: self.x87.map(|(mantissa, sign_exponent)| F80 { mantissa, sign_exponent }),
            control: self.fcw,
            status: self.fsw,
            used: self.ftw,
            fop: self.fop & 0x7ff,
            fip: self.fip.1,
            fcs: self.fip.0,
            fdp: self.fdp.1,
            fds: self.fdp.0,
        }
    }
}
