// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! FNSTENV, FLDENV, FNSAVE and FRSTOR (SDM vol. 1, "Saving the x87 FPU's State with FSTENV/FNSTENV
//! and FSAVE/FNSAVE" and the figures there).

use super::num::{Class, Num};
use crate::cpu::Cpu;
use crate::op::{Flow, Op, Step, Trap};
use crate::x87::{status, F80, X87};

/// The environment's seven fields in memory: control, status and tag word, instruction pointer and
/// selector, data pointer and selector, the opcode being among them.
type Fields = [u32; 7];

/// The full tag word: 0 is valid, 1 zero, 2 special, 3 empty, for each physical register.
fn tag_word(x87: &X87) -> u16 {
    (0..8u8).fold(0, |word, n| {
        let value = Num::of(x87.regs[usize::from(n)]);
        let tag = match value.class {
            _ if x87.used >> n & 1 == 0 => 3,
            Class::Zero => 1,
            Class::Finite if !value.denormal => 0,
            _ => 2,
        };
        word | tag << (2 * n)
    })
}

/// Which registers a full tag word says to be in use.
fn used(tag_word: u16) -> u8 {
    (0..8).fold(0, |used, n| used | u8::from(tag_word >> (2 * n) & 3 != 3) << n)
}

/// Real mode has linear addresses of 20 (or 32) bits and the opcode, others selectors.
fn fields(cpu: &Cpu) -> Fields {
    let x87 = &cpu.x87;
    let words = [x87.control, x87.status, tag_word(x87)].map(u32::from);
    let [control, status, tag] = words;
    let opcode = u32::from(x87.fop & 0x7ff);
    if cpu.real_mode() {
        let linear =
            |selector: u16, offset: u64| (u32::from(selector) << 4).wrapping_add(offset as u32);
        let (ip, dp) = (linear(x87.fcs, x87.fip), linear(x87.fds, x87.fdp));
        let upper = |address: u32| address >> 16 << 12;
        return [control, status, tag, ip & 0xffff, upper(ip) | opcode, dp & 0xffff, upper(dp)];
    }
    let (ip, dp) = (x87.fip as u32, x87.fdp as u32);
    let selector = u32::from(x87.fcs) | opcode << 16;
    [control, status, tag, ip, selector, dp, u32::from(x87.fds)]
}

fn set_fields(cpu: &mut Cpu, fields: Fields) {
    let real = cpu.real_mode();
    let x87 = &mut cpu.x87;
    let [control, status, tag, ip, ip_upper, dp, dp_upper] = fields;
    x87.status = status as u16;
    x87.set_control(control as u16);
    x87.used = used(tag as u16);
    if real {
        // The selectors are gone into the linear addresses.
        let linear = |low: u32, upper: u32| u64::from(low & 0xffff | (upper >> 12) << 16);
        (x87.fip, x87.fcs, x87.fop) = (linear(ip, ip_upper), 0, ip_upper as u16 & 0x7ff);
        (x87.fdp, x87.fds) = (linear(dp, dp_upper), 0);
    } else {
        (x87.fip, x87.fcs) = (u64::from(ip), ip_upper as u16);
        x87.fop = (ip_upper >> 16) as u16 & 0x7ff;
        (x87.fdp, x87.fds) = (u64::from(dp), dp_upper as u16);
    }
}

/// Bytes of the environment.
const fn environment_size(wide: bool) -> u64 {
    if wide {
        28
    } else {
        14
    }
}

/// Writes the environment, `WIDE` as 32-bit fields. All `len` bytes at the operand are known to be
/// writable then; gives the operand's linear address.
fn store_fields<const WIDE: bool>(cpu: &mut Cpu, op: &Op, len: u64) -> Result<u64, Trap> {
    let at = cpu.write_address(op, len)?;
    cpu.probe_write(op.seg, at, len)?;
    for (n, field) in (0u64..).zip(fields(cpu)) {
        match WIDE {
            // What is reserved of the 16-bit fields is written as ones.
            true if matches!(n, 0..=2 | 6) => {
                cpu.write(op.seg, at.wrapping_add(4 * n), field | 0xffff_0000)?;
            }
            true => cpu.write(op.seg, at.wrapping_add(4 * n), field)?,
            false => cpu.write(op.seg, at.wrapping_add(2 * n), field as u16)?,
        }
    }
    Ok(at)
}

fn load_fields<const WIDE: bool>(cpu: &mut Cpu, op: &Op, at: u64) -> Result<Fields, Trap> {
    let mut fields = [0; 7];
    for (n, field) in (0u64..).zip(&mut fields) {
        *field = match WIDE {
            true => cpu.read(op.seg, at.wrapping_add(4 * n))?,
            false => u32::from(cpu.read::<u16>(op.seg, at.wrapping_add(2 * n))?),
        };
    }
    Ok(fields)
}

/// FNSTENV: afterwards all exceptions are masked.
pub(super) fn store_environment<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    store_fields::<WIDE>(cpu, op, environment_size(WIDE))?;
    let control = cpu.x87.control | status::EXCEPTIONS;
    cpu.x87.set_control(control);
    Ok(Flow::Next)
}

/// FLDENV.
pub(super) fn load_environment<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.x87_ready()?;
    let at = cpu.read_address(op, environment_size(WIDE))?;
    let fields = load_fields::<WIDE>(cpu, op, at)?;
    set_fields(cpu, fields);
    Ok(Flow::Next)
}

/// A mantissa in pieces of two bytes: the area asks for the alignment of the environment's fields
/// and no more (SDM vol. 3, table "Alignment Requirements by Data Type").
fn words(mantissa: u64) -> [u16; 4] {
    [0, 16, 32, 48].map(|shift| (mantissa >> shift) as u16)
}

/// FNSAVE: afterwards the FPU is as FNINIT leaves it.
pub(super) fn save<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let size = environment_size(WIDE);
    let at = store_fields::<WIDE>(cpu, op, size + 80)?;
    for i in 0..8u8 {
        let F80 { mantissa, sign_exponent } = cpu.x87.raw_st(i);
        let at = at.wrapping_add(size + 10 * u64::from(i));
        for (n, word) in (0u64..).zip(words(mantissa).into_iter().chain([sign_exponent])) {
            cpu.write(op.seg, at.wrapping_add(2 * n), word)?;
        }
    }
    cpu.x87.init();
    Ok(Flow::Next)
}

/// FRSTOR.
pub(super) fn restore<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.x87_ready()?;
    let size = environment_size(WIDE);
    let at = cpu.read_address(op, size + 80)?;
    let fields = load_fields::<WIDE>(cpu, op, at)?;
    let mut values = [F80::default(); 8];
    for (i, value) in (0u64..).zip(&mut values) {
        let at = at.wrapping_add(size + 10 * i);
        for n in 0..4 {
            let word: u16 = cpu.read(op.seg, at.wrapping_add(2 * n))?;
            value.mantissa |= u64::from(word) << (16 * n);
        }
        value.sign_exponent = cpu.read(op.seg, at.wrapping_add(8))?;
    }
    set_fields(cpu, fields);
    let used = cpu.x87.used;
    for (i, value) in (0u8..).zip(values) {
        cpu.x87.set_st(i, value);
    }
    cpu.x87.used = used;
    Ok(Flow::Next)
}
