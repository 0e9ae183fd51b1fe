// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Inputs to start from.

use lapic_emulation::spec::{self, MSR_TSC_DEADLINE};

use super::{Input, Op, Setup};
use crate::code::Num;

/// Inputs to start from.
pub fn seeds() -> Vec<(&'static str, Input)> {
    use spec::reg;
    let write = |offset: u16, value| Op::Write { register: (offset >> 4) as u8, value: Num(value) };
    let setup = |flags| Setup { flags, rates: 0, id: 0, now: Num(1000), tsc: Num(5000) };
    let fixed = |vector, level| Op::Post { mode: 0, vector, level };
    let priorities = vec![
        write(reg::SVR, 0x1ff),
        fixed(0x41, false),
        fixed(0x42, true),
        Op::Sync,
        fixed(0x42, false),
        fixed(0xf3, true),
        Op::Sync,
        Op::Accept,
        Op::SaveRestore { ns: Num(7) },
        Op::Accept,
        Op::Eoi,
        write(reg::TPR, 0x50),
        Op::Cr8 { value: 3 },
        Op::Accept,
        write(reg::EOI, 0),
        Op::Eoi,
    ];
    let timer = vec![
        write(reg::SVR, 0x1ff),
        write(reg::TDCR, 0xb),
        write(reg::LVT_TIMER, 0x2_0030),
        write(reg::TMICT, 1_000_000),
        Op::PassToDeadline,
        Op::Pass { ns: Num(1 << 33) },
        Op::SaveRestore { ns: Num(3) },
        write(reg::LVT_TIMER, 0x30),
        Op::PassToDeadline,
        Op::Read { register: (reg::TMCCT >> 4) as u8 },
        Op::Accept,
    ];
    let deadline = vec![
        write(reg::LVT_TIMER, 0x4_0031),
        Op::Deadline { after: Num(100_000) },
        Op::Pass { ns: Num(50_000) },
        Op::Tsc { tsc: Num(1) },
        Op::SaveRestore { ns: Num(9) },
        Op::PassToDeadline,
        Op::Accept,
        Op::WriteMsr { msr: MSR_TSC_DEADLINE, value: Num(0) },
    ];
    let start_up = vec![
        Op::Post { mode: 5, vector: 0, level: false },
        Op::Post { mode: 6, vector: 0x9a, level: false },
        Op::Sync,
        Op::TakeInit,
        Op::SaveRestore { ns: Num(1) },
        Op::TakeSipi,
        write(reg::SVR, 0x1ff),
        write(reg::ICR_HIGH, 1 << 24),
        write(reg::ICR, 0x4500),
        write(reg::ICR, 0x4_4041),
        Op::Mode { bits: 3 },
        write(reg::SELF_IPI, 0x55),
        write(reg::ICR, 0xffff_ffff_000c_0061),
        Op::Mode { bits: 0 },
        Op::Mode { bits: 1 },
    ];
    let lint = vec![
        write(reg::SVR, 0x1ff),
        write(reg::LVT_LINT0, 0x8035),
        Op::Lint { lint1: false, level: true },
        Op::Accept,
        Op::Eoi,
        write(reg::LVT_LINT0, 0x700),
        Op::Post { mode: 7, vector: 0, level: false },
        Op::Sync,
        Op::AcceptExtInt,
        write(reg::LVT_LINT1, 0x400),
        Op::Lint { lint1: true, level: true },
        Op::Sync,
        write(reg::LVT_ERROR, 3),
        write(0x20 << 4, 1),
        write(reg::ESR, 0),
    ];
    let restore = vec![
        Op::Restore { field: 9, value: Num(1 << 48) },
        Op::Restore { field: 30, value: Num(1 << 20) },
        Op::Restore { field: 6, value: Num(0x4_0040) },
        Op::Restore { field: 14, value: Num(1 << 30) },
        Op::PassToDeadline,
    ];
    let odd_rate = vec![
        Op::Timer { mode: 0, vector: 0x30, divide: 0xb, count: Num(7) },
        Op::PassToDeadline,
        Op::Timer { mode: 1, vector: 0x30, divide: 3, count: Num(0xffff_ffff) },
        Op::PassToDeadline,
        Op::Pass { ns: Num(u64::MAX >> 1) },
        Op::Accept,
    ];
    let odd = Setup { rates: 3, ..setup(0x27) };
    vec![
        ("odd_rate", Input { setup: odd, ops: odd_rate }),
        ("priorities", Input { setup: setup(0x07), ops: priorities }),
        ("timer", Input { setup: setup(0x07), ops: timer }),
        ("deadline", Input { setup: setup(0x27), ops: deadline }),
        ("start_up", Input { setup: setup(0x06), ops: start_up }),
        ("lint", Input { setup: setup(0x09), ops: lint }),
        ("restore", Input { setup: setup(0x17), ops: restore }),
    ]
}
