// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! SYSCALL, SYSRET, SYSENTER, SYSEXIT and SWAPGS (SDM vol. 2).
//!
//! SYSCALL from compatibility mode goes to IA32_CSTAR, as AMD's processors do it; SYSENTER is there
//! in IA-32e mode, as Intel's do it. So both of an operating system's ways for 32-bit programs work.

use iced_x86::{Code, Instruction};

use super::descriptor::is_canonical;
use crate::cpu::Cpu;
use crate::decode::{Chosen, Form};
use crate::flags::bit;
use crate::int::reg;
use crate::op::{Flow, Op, Step};
use crate::segment::{AccessRights, Segment, GS, SS};
use crate::spec::{dr, efer};

const RCX: usize = reg::RCX as usize;
const RDX: usize = reg::RDX as usize;
const RSP: usize = reg::RSP as usize;
const R11: usize = 11;
/// The bits of R11 that SYSRET loads.
const SYSRET_FLAGS: u64 = 0x3c_7fd7;

pub(crate) fn select(instruction: &Instruction, _: &Form) -> Option<Chosen> {
    let run = match instruction.code() {
        Code::Syscall => syscall,
        Code::Sysretd => sysret::<false>,
        Code::Sysretq => sysret::<true>,
        Code::Sysenter => sysenter,
        Code::Sysexitd => sysexit::<false>,
        Code::Sysexitq => sysexit::<true>,
        Code::Swapgs => return Some(Chosen::plain(swapgs)),
        _ => return None,
    };
    Some(Chosen::ends(run))
}

/// A flat code segment, of 64 or 32 bits.
fn code(selector: u16, dpl: u8, long: bool) -> Segment {
    let rights = flat(dpl).with_kind(0xb).with_long(long).with_db(!long);
    Segment { selector, base: 0, limit: u32::MAX, rights }
}

fn stack(selector: u16, dpl: u8) -> Segment {
    Segment { selector, base: 0, limit: u32::MAX, rights: flat(dpl).with_kind(3).with_db(true) }
}

fn flat(dpl: u8) -> AccessRights {
    AccessRights::new().with_s(true).with_dpl(dpl).with_present(true).with_granularity(true)
}

/// SYSCALL that clears TF is not followed by a single-step trap, SYSRET that sets it is: as if the
/// program's SYSCALL had just completed.
fn step_by_new_flags(cpu: &mut Cpu) -> Flow {
    if cpu.flags.has(bit::TF) {
        cpu.pending_debug |= dr::DR6_BS;
    }
    Flow::FarFlags
}

fn syscall(cpu: &mut Cpu, op: &Op) -> Step {
    if cpu.efer & efer::SCE == 0 || !cpu.long_mode() {
        return Err(cpu.ud());
    }
    let base = (cpu.msr.star >> 32) as u16 & !3;
    let target = if cpu.code64() { cpu.msr.lstar } else { cpu.msr.cstar };
    cpu.gpr[RCX] = op.next();
    let flags = cpu.flags.get();
    cpu.gpr[R11] = flags;
    cpu.flags.set(flags & !cpu.msr.sfmask & !(bit::RF | bit::VM));
    cpu.enter(code(base, 0, true), 0, target);
    cpu.set_segment(SS, stack(base.wrapping_add(8), 0));
    Ok(step_by_new_flags(cpu))
}

fn sysret<const WIDE: bool>(cpu: &mut Cpu, _: &Op) -> Step {
    if cpu.efer & efer::SCE == 0 || !cpu.code64() {
        return Err(cpu.ud());
    }
    let rip = if WIDE { cpu.gpr[RCX] } else { cpu.gpr[RCX] & 0xffff_ffff };
    if cpu.cpl() != 0 || !is_canonical(rip) {
        return Err(cpu.gp());
    }
    let base = (cpu.msr.star >> 48) as u16;
    let selector = if WIDE { base.wrapping_add(16) } else { base };
    cpu.flags.set(cpu.gpr[R11] & SYSRET_FLAGS);
    cpu.enter(code(selector, 3, WIDE), 3, rip);
    cpu.set_segment(SS, stack(base.wrapping_add(8) | 3, 3));
    Ok(step_by_new_flags(cpu))
}

fn sysenter(cpu: &mut Cpu, _: &Op) -> Step {
    let selector = cpu.msr.sysenter_cs as u16 & !3;
    if cpu.real_mode() || selector == 0 {
        return Err(cpu.gp());
    }
    let long = cpu.long_mode();
    let width = if long { u64::MAX } else { 0xffff_ffff };
    cpu.flags.put(bit::VM | bit::IF | bit::RF, false);
    let rip = cpu.msr.sysenter_eip & width;
    cpu.gpr[RSP] = cpu.msr.sysenter_esp & width;
    cpu.enter(code(selector, 0, long), 0, rip);
    cpu.set_segment(SS, stack(selector.wrapping_add(8), 0));
    Ok(Flow::Far)
}

fn sysexit<const WIDE: bool>(cpu: &mut Cpu, _: &Op) -> Step {
    let selector = cpu.msr.sysenter_cs as u16 & !3;
    if cpu.real_mode() || selector == 0 || cpu.cpl() != 0 {
        return Err(cpu.gp());
    }
    let (mut rip, mut rsp) = (cpu.gpr[RDX], cpu.gpr[RCX]);
    let mut selector = selector.wrapping_add(32);
    if !WIDE {
        (rip, rsp) = (rip & 0xffff_ffff, rsp & 0xffff_ffff);
        selector = selector.wrapping_sub(16);
    }
    if !is_canonical(rip) || !is_canonical(rsp) {
        return Err(cpu.gp());
    }
    cpu.flags.put(bit::RF, false);
    cpu.gpr[RSP] = rsp;
    cpu.enter(code(selector, 3, WIDE), 3, rip);
    cpu.set_segment(SS, stack(selector.wrapping_add(8) | 3, 3));
    Ok(Flow::Far)
}

fn swapgs(cpu: &mut Cpu, _: &Op) -> Step {
    if !cpu.code64() {
        return Err(cpu.ud());
    }
    if cpu.cpl() != 0 {
        return Err(cpu.gp());
    }
    let gs = *cpu.segment(GS);
    cpu.set_segment(GS, Segment { base: cpu.msr.kernel_gs_base, ..gs });
    cpu.msr.kernel_gs_base = gs.base;
    Ok(Flow::Next)
}
