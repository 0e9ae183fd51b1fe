// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Instructions that are carried out together with the conditional branch behind them.
//!
//! Both stay in the block as they are: what a handler here carries out is the branch too, if it is
//! to be executed at all. A budget may end between them, and so does single-stepping.

use super::condition::conditional;
use crate::cpu::Cpu;
use crate::op::{Flow, Handler, Op, Step};

/// Instructions with a conditional branch behind them.
pub(super) trait Joined: 'static {
    /// The first instruction, then the branch.
    fn run<const CC: u8>(cpu: &mut Cpu, op: &Op) -> Step;
}

/// The handler for a condition's number. Overflow and parity are seldom asked for.
pub(super) fn joined<J: Joined>(cc: u8) -> Option<Handler> {
    match cc {
        2..=9 | 12..=15 => Some(conditional!(common cc, run, J)),
        _ => None,
    }
}

fn run<const CC: u8, J: Joined>(cpu: &mut Cpu, op: &Op) -> Step {
    J::run::<CC>(cpu, op)
}

/// The branch behind `op`.
#[inline(always)]
pub(super) fn branch<const CC: u8>(cpu: &mut Cpu, op: &Op) -> Step {
    if !cpu.goes_on(op, 1) {
        return Ok(Flow::Next);
    }
    if cpu.flags.condition::<CC>() {
        cpu.rip = op.rip.wrapping_add(i64::from(op.ahead) as u64);
        return Ok(Flow::BothTaken);
    }
    Ok(Flow::BothNext)
}
