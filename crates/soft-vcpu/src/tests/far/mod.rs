// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Segment loads and transfers of control through descriptors.

mod hostile;
mod iret;
mod load;
mod native;
mod ret;
mod syscall;
mod tables;
mod transfer;
mod verify;

use super::machine::Machine;
use crate::Exit;

/// A selector of the GDT that tests give a descriptor of their own.
const OWN: u16 = 0x38;
/// All exceptions exit.
const ALL: u32 = u32::MAX;

/// Runs `code` and tells how it ended, where any exception is an end.
fn outcome(machine: &mut Machine, code: &[u8]) -> Exit {
    machine.vcpu.set_exception_exits(ALL);
    machine.run_bytes(code)
}

/// Puts items of `size` bytes on the stack, the first one on top.
fn push(machine: &mut Machine, size: usize, items: &[u64]) {
    let top = machine.vcpu.state().gpr[4];
    let bytes: Vec<u8> =
        items.iter().flat_map(|item| item.to_le_bytes()[..size].to_vec()).collect();
    machine.write(top, &bytes);
}
