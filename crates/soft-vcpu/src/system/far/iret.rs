// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! IRET, IRETD and IRETQ (SDM vol. 2, "IRET/IRETD/IRETQ-Interrupt Return").

use iced_x86::{Code, Instruction};

use super::descriptor::rpl;
use crate::cpu::{Cause, Cpu};
use crate::decode::{Chosen, Form};
use crate::flags::bit;
use crate::int::Int;
use crate::op::{Flow, Op, Step, Trap};
use crate::segment::{CS, SS};

/// Flags that every form restores.
const ALWAYS: u64 = bit::STATUS | bit::TF | bit::DF | bit::NT;
/// Flags that are beyond bit 15: 16-bit forms leave them alone.
const UPPER: u64 = bit::RF | bit::AC | bit::ID;

pub(crate) fn select(instruction: &Instruction, _: &Form) -> Option<Chosen> {
    let run = match instruction.code() {
        Code::Iretw => iret::<u16>,
        Code::Iretd => iret::<u32>,
        Code::Iretq => iret::<u64>,
        _ => return None,
    };
    Some(Chosen::ends(run))
}

/// NMIs come through again, even if the instruction faults (SDM vol. 3, "Handling Multiple NMIs"):
/// unless the VMM sees to the fault, and it is executed again.
fn iret<T: Int>(cpu: &mut Cpu, _: &Op) -> Step {
    let result = if cpu.real_mode() { iret_real::<T>(cpu) } else { iret_protected::<T>(cpu) };
    let faults = matches!(&cpu.trap, Cause::Exception(exception) if !cpu.exits_for(exception));
    if result.is_ok() || faults {
        cpu.nmi_blocked = false;
    }
    result?;
    Ok(Flow::Far)
}

/// RIP, CS and RFLAGS on the stack.
fn peek_frame<T: Int>(cpu: &mut Cpu) -> Result<(u64, u16, u64), Trap> {
    let rip = cpu.peek::<T>(0)?.zx();
    let selector = cpu.peek::<T>(T::BYTES)?.zx() as u16;
    let flags = cpu.peek::<T>(2 * T::BYTES)?.zx();
    Ok((rip, selector, flags))
}

fn iret_real<T: Int>(cpu: &mut Cpu) -> Result<(), Trap> {
    let (rip, selector, flags) = peek_frame::<T>(cpu)?;
    let code = cpu.real_segment(CS, selector);
    cpu.check_target(&code, rip, 0)?;
    cpu.drop_bytes(3 * T::BYTES);
    cpu.set_segment(CS, code);
    cpu.rip = rip;
    restore_flags::<T>(cpu, flags);
    Ok(())
}

fn iret_protected<T: Int>(cpu: &mut Cpu) -> Result<(), Trap> {
    if cpu.flags.has(bit::NT) {
        return match cpu.long_mode() {
            true => Err(cpu.gp()),
            false => Err(cpu.stop(Cause::Unsupported("task switch"))),
        };
    }
    let (rip, selector, flags) = peek_frame::<T>(cpu)?;
    if T::BITS == 32 && flags & bit::VM != 0 && cpu.cpl() == 0 && !cpu.long_mode() {
        return Err(cpu.stop(Cause::Unsupported("virtual-8086 mode")));
    }
    let code = cpu.return_segment(selector)?;
    let outward = rpl(selector) != cpu.cpl();
    // 64-bit mode pops the stack pointer whatever the privilege.
    if !outward && !cpu.code64() {
        cpu.check_target(&code, rip, 0)?;
        restore_flags::<T>(cpu, flags);
        cpu.drop_bytes(3 * T::BYTES);
        cpu.enter(code, cpu.cpl(), rip);
        return Ok(());
    }
    let sp = cpu.peek::<T>(3 * T::BYTES)?.zx();
    let stack_selector = cpu.peek::<T>(4 * T::BYTES)?.zx() as u16;
    let code64 = cpu.is_code64(&code);
    let stack = cpu.stack_segment(stack_selector, rpl(selector), code64)?;
    cpu.check_target(&code, rip, 0)?;
    // By the privilege that the instruction began with.
    restore_flags::<T>(cpu, flags);
    if outward {
        cpu.return_outward(code, rip, stack, sp);
    } else {
        cpu.enter(code, cpu.cpl(), rip);
        cpu.set_segment(SS, stack);
        cpu.set_sp(sp);
    }
    Ok(())
}

fn restore_flags<T: Int>(cpu: &mut Cpu, image: u64) {
    let mut restored = ALWAYS;
    if T::BITS > 16 {
        restored |= UPPER;
    }
    if cpu.cpl() == 0 {
        restored |= bit::IOPL;
        if T::BITS > 16 && !cpu.real_mode() {
            restored |= bit::VIF | bit::VIP;
        }
    }
    if cpu.cpl() <= cpu.flags.iopl() || cpu.real_mode() {
        restored |= bit::IF;
    }
    // Where the image has no RF, it is over like behind any other instruction.
    let flags = cpu.flags.get() & !bit::RF;
    cpu.flags.set(flags & !restored | image & restored);
}
