// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! INT n, INT3, INTO and INT1. Their delivery is the loop's business, which gets the instruction's
//! length with the event.

use iced_x86::{Instruction, Mnemonic};
use vcpu_events::{Event, Exception, Origin, SoftwareInterrupt};

use crate::cpu::{Cause, Cpu};
use crate::decode::{Chosen, Form};
use crate::op::{Flow, Op, Step, Trap};

const VECTOR_BP: u8 = 3;
const VECTOR_OF: u8 = 4;

pub(crate) fn select(instruction: &Instruction, _: &Form) -> Option<Chosen> {
    let run = match instruction.mnemonic() {
        Mnemonic::Int => int,
        Mnemonic::Int3 => int3,
        Mnemonic::Into => into,
        Mnemonic::Int1 => int1,
        _ => return None,
    };
    Some(Chosen::ends(run))
}

fn int(cpu: &mut Cpu, op: &Op) -> Step {
    match SoftwareInterrupt::new(op.imm as u8, op.len) {
        Ok(interrupt) => Err(cpu.stop(Cause::Deliver(Event::SoftwareInterrupt(interrupt)))),
        Err(_) => Err(cpu.ud()),
    }
}

fn int3(cpu: &mut Cpu, op: &Op) -> Step {
    Err(software(cpu, VECTOR_BP, op))
}

fn into(cpu: &mut Cpu, op: &Op) -> Step {
    match cpu.flags.of() {
        true => Err(software(cpu, VECTOR_OF, op)),
        false => Ok(Flow::Next),
    }
}

fn int1(cpu: &mut Cpu, op: &Op) -> Step {
    let origin = Origin::PrivilegedSoftware { length: op.len };
    Err(raise(cpu, Exception::db(0).from_instruction(origin)))
}

fn software(cpu: &mut Cpu, vector: u8, op: &Op) -> Trap {
    let origin = Origin::Software { length: op.len };
    let exception = Exception::new(vector, None).and_then(|it| it.from_instruction(origin));
    raise(cpu, exception)
}

fn raise<E>(cpu: &mut Cpu, exception: Result<Exception, E>) -> Trap {
    match exception {
        Ok(exception) => cpu.raise(exception),
        // No instruction is longer than 15 bytes.
        Err(_) => cpu.ud(),
    }
}
