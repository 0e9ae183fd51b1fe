// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! INS and OUTS.

use super::{move_on, read_source, register, StringOp};
use crate::cpu::Cpu;
use crate::int::{reg, Int};
use crate::io::Request;
use crate::op::{Op, Trap};
use crate::segment::ES;

/// DX, if this port may be accessed.
fn port<T: Int>(cpu: &mut Cpu) -> Result<u16, Trap> {
    let port = u16::get(&cpu.gpr, reg::RDX);
    cpu.check_port(port, T::BYTES as u8)?;
    Ok(port)
}

pub(super) struct Ins;

impl StringOp for Ins {
    fn one<T: Int>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
        let (port, size) = (port::<T>(cpu)?, T::BYTES as u8);
        let offset = register(cpu, op, reg::RDI);
        let at = cpu.linear(ES, offset, T::BYTES, true)?;
        // Reading a port may change the device: nothing may fail after it.
        cpu.check_access(ES, at, T::BYTES)?;
        cpu.probe_write(ES, at, T::BYTES)?;
        let answer = cpu.external(Request::PortRead { port, size })?;
        cpu.write(ES, at, T::from_u64(answer.unwrap_or(u64::MAX)))?;
        move_on::<T>(cpu, op, &[reg::RDI], 1);
        Ok(())
    }
}

pub(super) struct Outs;

impl StringOp for Outs {
    fn one<T: Int>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
        let (port, size) = (port::<T>(cpu)?, T::BYTES as u8);
        let value: T = read_source(cpu, op)?;
        let value = value.zx() as u32;
        // A write has no answer that could matter.
        let _ = cpu.external(Request::PortWrite { port, size, value })?;
        move_on::<T>(cpu, op, &[reg::RSI], 1);
        Ok(())
    }
}
