// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Serving an exit: ports, MMIO, HLT. What needs the backend again is handed back.

use super::Local;
use crate::backend::Exit;
use crate::bus::Bus;
use crate::interrupts::Interrupts;

/// What is left to do after an exit was served.
pub enum Served {
    /// Nothing.
    Done,
    /// The guest waits for an interrupt.
    Halted,
    /// RDMSR wants its value.
    ReadMsr(u32),
    /// WRMSR wants its result.
    WriteMsr(u32, u64),
    /// The guest is lost.
    TripleFault,
    /// The backend is.
    Failed(String),
}

/// Carries out the access that made the guest exit.
pub fn serve(exit: Exit<'_>, local: &mut Local, bus: &Bus, interrupts: &Interrupts) -> Served {
    match exit {
        Exit::PortRead { port, size, data } => {
            for item in data.chunks_mut(usize::from(size.max(1))) {
                bus.port_read(port, item);
            }
        }
        Exit::PortWrite { port, size, data } => {
            for item in data.chunks(usize::from(size.max(1))) {
                bus.port_write(port, item);
            }
        }
        Exit::MmioRead(address, data) => {
            if !local.mmio_read(address, data) {
                bus.mmio_read(address, data);
            }
        }
        Exit::MmioWrite(address, data) => {
            if !local.mmio_write(address, data, interrupts) {
                bus.mmio_write(address, data);
            }
        }
        Exit::Halt => {
            local.halt();
            return Served::Halted;
        }
        Exit::ReadMsr(index) => return Served::ReadMsr(index),
        Exit::WriteMsr(index, value) => return Served::WriteMsr(index, value),
        Exit::TripleFault => return Served::TripleFault,
        Exit::Failed(error) => return Served::Failed(error),
        Exit::InterruptWindow | Exit::TprChanged | Exit::Kicked => {}
    }
    Served::Done
}
