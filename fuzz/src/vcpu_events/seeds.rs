// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Inputs to start from.

use super::{Input, Op, Setup};
use crate::code::Num;

/// Inputs to start from.
pub fn seeds() -> Vec<(&'static str, Input)> {
    let enter = |outcome| Op::Enter { cpu: 0, activity: 0, outcome, fault: 14 };
    let seed = |backend, ops| Input { setup: Setup { backend }, ops };
    let exception = |vector, code| Op::Exception { vector, code, payload: None };
    let nmi_window = vec![
        Op::Nmi,
        Op::Nmi,
        Op::Lapic { vector: 0x41 },
        enter(2),
        enter(1),
        enter(1),
        enter(3),
        Op::SaveRestore,
        enter(1),
        enter(1),
        Op::Iret,
        enter(1),
    ];
    let faults = vec![
        exception(13, Some(8)),
        exception(14, Some(2)),
        Op::Smi,
        enter(2),
        exception(13, Some(0)),
        enter(1),
        Op::Init,
        Op::Sipi { page: 0x9a },
        enter(1),
        Op::Enter { cpu: 0, activity: 3, outcome: 1, fault: 0 },
        Op::Interrupted { kind: 2, vector: 0x80, length: 2 },
        enter(1),
        Op::TripleFault,
    ];
    let held = vec![
        Op::Pic,
        Op::Lapic { vector: 0x51 },
        Op::Enter { cpu: 1, activity: 0, outcome: 1, fault: 0 },
        Op::Enter { cpu: 2, activity: 1, outcome: 1, fault: 0 },
        Op::Queue { vector: 0x20, refused: false },
        Op::Ran { ready: true, flag: true },
        Op::Queue { vector: 0x20, refused: true },
        Op::Queue { vector: 0x20, refused: false },
        Op::Queue { vector: 0x21, refused: false },
        Op::Restore {
            flags: 0x68,
            sipi: None,
            nmis: 1,
            exception: [14, 0x82, 0, 7],
            interrupt: Some(0x31),
        },
        enter(1),
    ];
    let encodings = vec![
        Op::DecodeVmx { info: 0x8000_0b0e, code: 2, length: Num(0) },
        Op::DecodeVmx { info: 0x8000_0603, code: 0, length: Num(1) },
        Op::DecodeVmx { info: 0x8000_0202, code: 0, length: Num(0) },
        Op::DecodeSvm { field: 0x0000_0002_8000_0b0e },
        Op::DecodeSvm { field: 0x8000_0480 },
        Op::DecodeState { interruptibility: 0x9, rflags: Num(0x202), activity: 1 },
    ];
    let mailbox = vec![
        Op::EnterGuest,
        Op::Request { request: 255 },
        Op::Request { request: 1 },
        Op::ExitGuest,
        Op::EnterGuest,
        Op::TakeRequests,
        Op::Block,
        Op::Request { request: 5 },
        Op::Request { request: 1 },
        Op::Unblock,
        Op::RequestSelf { request: 9 },
        Op::TakeRequest { request: 9 },
    ];
    vec![
        ("nmi_window", seed(false, nmi_window)),
        ("faults", seed(false, faults)),
        ("held", seed(true, held)),
        ("encodings", seed(false, encodings)),
        ("mailbox", seed(false, mailbox)),
    ]
}
