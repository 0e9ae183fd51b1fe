// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LDMXCSR, STMXCSR, FXSAVE, FXRSTOR.
//!
//! The area of FXSAVE (SDM vol. 1, "FXSAVE Area"), in 16-byte lines: FCW, FSW, FTW, FOP, FIP; then
//! FDP, MXCSR, MXCSR_MASK; ST0 to ST7; XMM0 to XMM15. The rest belongs to nobody.

use crate::cpu::Cpu;
use crate::op::{Flow, Op, Step, Trap};
use crate::sse::MXCSR_MASK;
use crate::x87::F80;

/// Bytes of the area.
const AREA: u64 = 512;
/// Where ST0 is.
const ST: u64 = 32;
/// Where XMM0 is.
const XMM: u64 = 160;

/// STMXCSR.
pub(super) fn stmxcsr(cpu: &mut Cpu, op: &Op) -> Step {
    let value = cpu.sse.mxcsr;
    cpu.store(op, value)?;
    Ok(Flow::Next)
}

/// LDMXCSR. Flags that come in with it raise nothing.
pub(super) fn ldmxcsr(cpu: &mut Cpu, op: &Op) -> Step {
    let value: u32 = cpu.load(op)?;
    if value & !MXCSR_MASK != 0 {
        return Err(cpu.gp());
    }
    cpu.sse.mxcsr = value;
    Ok(Flow::Next)
}

/// FXSAVE, or FXSAVE64 with `WIDE` pointers.
pub(super) fn fxsave<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let at = cpu.write_address(op, AREA)?;
    check_alignment(cpu, at)?;
    cpu.probe_write(op.seg, at, AREA)?;
    let (head, data_pointer) = pointers_out::<WIDE>(cpu);
    cpu.write(op.seg, at, head)?;
    cpu.write(op.seg, at.wrapping_add(16), data_pointer)?;
    for n in 0..8 {
        let F80 { mantissa, sign_exponent } = cpu.x87.regs[st_index(cpu, n)];
        let line = u128::from(mantissa) | u128::from(sign_exponent) << 64;
        cpu.write(op.seg, line_at(at, ST, n), line)?;
    }
    if cpu.mode.osfxsr() {
        let mxcsr = u64::from(cpu.sse.mxcsr) | u64::from(MXCSR_MASK) << 32;
        cpu.write(op.seg, at.wrapping_add(24), mxcsr)?;
        for n in 0..registers(cpu) {
            cpu.write(op.seg, line_at(at, XMM, n), cpu.sse.get(n))?;
        }
    }
    Ok(Flow::Next)
}

/// FXRSTOR, or FXRSTOR64 with `WIDE` pointers.
pub(super) fn fxrstor<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let at = cpu.read_address(op, AREA)?;
    check_alignment(cpu, at)?;
    let head: u128 = cpu.read(op.seg, at)?;
    let second: u128 = cpu.read(op.seg, at.wrapping_add(16))?;
    let mut st = [0u128; 8];
    for (n, line) in (0..).zip(&mut st) {
        *line = cpu.read(op.seg, line_at(at, ST, n))?;
    }
    let mut sse = cpu.sse.clone();
    if cpu.mode.osfxsr() {
        sse.mxcsr = (second >> 64) as u32;
        for (n, register) in (0..registers(cpu)).zip(&mut sse.xmm) {
            *register = cpu.read(op.seg, line_at(at, XMM, n))?;
        }
        if sse.mxcsr & !MXCSR_MASK != 0 {
            return Err(cpu.gp());
        }
    }
    cpu.sse = sse;
    pointers_in::<WIDE>(cpu, head, second as u64);
    for (n, line) in (0..).zip(st) {
        let value = F80 { mantissa: line as u64, sign_exponent: (line >> 64) as u16 };
        cpu.x87.regs[st_index(cpu, n)] = value;
    }
    Ok(Flow::Next)
}

/// The physical register that ST(n) is.
fn st_index(cpu: &Cpu, n: u8) -> usize {
    usize::from(cpu.x87.top().wrapping_add(n) & 7)
}

/// XMM registers that exist in this mode.
fn registers(cpu: &Cpu) -> u8 {
    match cpu.code64() {
        true => 16,
        false => 8,
    }
}

fn line_at(area: u64, first: u64, n: u8) -> u64 {
    area.wrapping_add(first + 16 * u64::from(n))
}

fn check_alignment(cpu: &mut Cpu, at: u64) -> Result<(), Trap> {
    match at & 15 {
        0 => Ok(()),
        _ => Err(cpu.gp()),
    }
}

/// The area's first 24 bytes.
fn pointers_out<const WIDE: bool>(cpu: &Cpu) -> (u128, u64) {
    let x87 = &cpu.x87;
    let words = u64::from(x87.control)
        | u64::from(x87.status) << 16
        | u64::from(x87.used) << 32
        | u64::from(x87.fop) << 48;
    let pointer = |offset: u64, selector: u16| match WIDE {
        true => offset,
        false => offset & 0xffff_ffff | u64::from(selector) << 32,
    };
    let instruction = pointer(x87.fip, x87.fcs);
    (u128::from(words) | u128::from(instruction) << 64, pointer(x87.fdp, x87.fds))
}

fn pointers_in<const WIDE: bool>(cpu: &mut Cpu, head: u128, data_pointer: u64) {
    let pointer = |value: u64| match WIDE {
        true => (value, 0),
        false => (value & 0xffff_ffff, (value >> 32) as u16),
    };
    let x87 = &mut cpu.x87;
    x87.status = (head >> 16) as u16;
    // ES and B follow from the flags and their masks, whatever is in the area.
    x87.set_control(head as u16);
    x87.used = (head >> 32) as u8;
    x87.fop = (head >> 48) as u16 & 0x7ff;
    (x87.fip, x87.fcs) = pointer((head >> 64) as u64);
    (x87.fdp, x87.fds) = pointer(data_pointer);
}
