// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Delivery of events: frames, stacks, error codes.

mod debug;
mod inject;
mod legacy;
mod long;
mod nested;
mod real;

use vcpu_events::{Event, Exception, SoftwareInterrupt};

use super::machine::{Machine, CODE64};
use super::tables::INTERRUPT;
use crate::Exit;

/// The interrupt of every test that does not care.
const VECTOR: u8 = 0x40;
/// What an error code about its gate has: the index, and that it is one of the IDT.
const GATE: u32 = VECTOR as u32 * 8 + 2;
/// External event.
const EXT: u32 = 1;

/// An exception of an error code.
type Raise = fn(u32) -> Exception;

/// 64-bit mode with a handler for every vector and a TSS.
fn long_machine() -> Machine {
    let mut machine = Machine::long();
    machine.handlers(CODE64, INTERRUPT);
    machine.tss64();
    machine
}

/// What `event` raises in delivery.
fn raised(machine: &mut Machine, event: Event) -> Exception {
    machine.vcpu.set_exception_exits(1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14);
    machine.vcpu.inject(event).unwrap();
    match machine.run(|a| a.nop()) {
        Exit::Exception(exception) => exception,
        exit => panic!("{exit:?}"),
    }
}

/// INT n, two bytes long.
fn software(vector: u8) -> Event {
    Event::SoftwareInterrupt(SoftwareInterrupt::new(vector, 2).unwrap())
}
