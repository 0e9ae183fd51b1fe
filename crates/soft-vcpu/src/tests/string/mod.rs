// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! String instructions.

mod copy;
mod devices;
mod legacy;
mod repeat;
mod scan;

use vm_memory::{Bytes, GuestAddress};

use super::machine::Machine;
use crate::Exit;

/// REP or REPE, REPNE.
const REP: u8 = 0xf3;
const REPNE: u8 = 0xf2;
const HLT: u8 = 0xf4;
/// Opcodes for bytes; wider ones are one more.
const MOVS: u8 = 0xa4;
const CMPS: u8 = 0xa6;
const STOS: u8 = 0xaa;
const LODS: u8 = 0xac;
const SCAS: u8 = 0xae;

/// RFLAGS.DF.
const DF: u64 = 0x400;

/// The string instruction for elements of `size` bytes, with other prefixes before it.
fn instruction(prefixes: &[u8], opcode: u8, size: u64) -> Vec<u8> {
    let mut code = prefixes.to_vec();
    match size {
        1 => code.push(opcode),
        2 => code.extend([0x66, opcode + 1]),
        4 => code.push(opcode + 1),
        _ => code.extend([0x48, opcode + 1]),
    }
    code
}

/// RCX, RSI, RDI.
fn registers(machine: &Machine) -> (u64, u64, u64) {
    let state = machine.vcpu.state();
    (state.gpr[1], state.gpr[6], state.gpr[7])
}

/// Sets RCX, RSI, RDI.
fn set_registers(machine: &mut Machine, rcx: u64, rsi: u64, rdi: u64) {
    machine.state(|state| {
        (state.gpr[1], state.gpr[6], state.gpr[7]) = (rcx, rsi, rdi);
    });
}

/// Runs an instruction and HLT.
fn run(machine: &mut Machine, code: &[u8]) {
    assert_eq!(machine.run_bytes(&[code, &[HLT]].concat()), Exit::Halt, "{code:02x?}");
}

fn read(machine: &Machine, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    machine.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
    bytes
}

/// Bytes that do not repeat at any small distance.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect()
}
