// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! IN and OUT, and who may use a port.

use iced_x86::{Instruction, Mnemonic};

use crate::cpu::Cpu;
use crate::decode::{Chosen, Form, Kind};
use crate::flags::bit;
use crate::int::{reg, Int};
use crate::io::Request;
use crate::op::{Flow, Handler, Op, Step, Trap};
use crate::segment::TR;

/// Where the TSS has the offset of its I/O permission bit map.
const MAP_BASE: u64 = 0x66;

pub(super) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    let handler: Handler = match (instruction.mnemonic(), form.kinds[0], form.kinds[1]) {
        (Mnemonic::In, _, Kind::Imm) => match form.size {
            1 => input::<u8, false>,
            2 => input::<u16, false>,
            _ => input::<u32, false>,
        },
        (Mnemonic::In, _, _) => match form.size {
            1 => input::<u8, true>,
            2 => input::<u16, true>,
            _ => input::<u32, true>,
        },
        (Mnemonic::Out, Kind::Imm, _) => match form.size2 {
            1 => output::<u8, false>,
            2 => output::<u16, false>,
            _ => output::<u32, false>,
        },
        (Mnemonic::Out, _, _) => match form.size2 {
            1 => output::<u8, true>,
            2 => output::<u16, true>,
            _ => output::<u32, true>,
        },
        _ => return None,
    };
    Some(Chosen::plain(handler))
}

fn port<const DX: bool>(cpu: &Cpu, op: &Op) -> u16 {
    match DX {
        true => u16::get(&cpu.gpr, reg::RDX),
        // A byte, which may have come sign-extended.
        false => op.imm as u16 & 0xff,
    }
}

fn input<T: Int, const DX: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let (port, size) = (port::<DX>(cpu, op), T::BYTES as u8);
    cpu.check_port(port, size)?;
    let answer = cpu.external(Request::PortRead { port, size })?;
    T::set(&mut cpu.gpr, reg::RAX, T::from_u64(answer.unwrap_or(u64::MAX)));
    Ok(Flow::Next)
}

fn output<T: Int, const DX: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let (port, size) = (port::<DX>(cpu, op), T::BYTES as u8);
    cpu.check_port(port, size)?;
    let value = T::get(&cpu.gpr, reg::RAX).zx() as u32;
    // A write has no answer that could matter.
    let _ = cpu.external(Request::PortWrite { port, size, value })?;
    Ok(Flow::Next)
}

impl Cpu {
    /// #GP(0) unless IOPL or the TSS's I/O permission bit map allows `size` bytes at `port` (SDM
    /// vol. 1, "I/O Permission Bit Map").
    pub fn check_port(&mut self, port: u16, size: u8) -> Result<(), Trap> {
        let by_map = self.cpl() > self.flags.iopl() || self.flags.has(bit::VM);
        if by_map && !self.real_mode() && !self.map_allows(port, size)? {
            return Err(self.gp());
        }
        self.watch_port(port, size);
        Ok(())
    }

    fn map_allows(&mut self, port: u16, size: u8) -> Result<bool, Trap> {
        let tss = *self.segment(TR);
        // A 16-bit TSS has no map.
        let has_map = !tss.rights.unusable() && tss.rights.kind() & 0xd == 9;
        let limit = u64::from(tss.limit);
        if !has_map || limit < MAP_BASE + 1 {
            return Ok(false);
        }
        let map = u64::from(self.read_system::<u16>(tss.base.wrapping_add(MAP_BASE))?);
        // Two bytes are read whatever the size: the bits may reach into the second.
        let offset = map + u64::from(port / 8);
        if offset + 1 > limit {
            return Ok(false);
        }
        let bits = self.read_system::<u16>(tss.base.wrapping_add(offset))?;
        let wanted = (1u16 << (size & 7)) - 1;
        Ok(bits >> (port % 8) & wanted == 0)
    }
}
