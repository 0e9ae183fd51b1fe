// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Why a vCPU stopped.

use vcpu_events::Exception;

/// Why [`crate::Vcpu::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Exit {
    /// IN or INS of `size` bytes (1, 2, 4): [`crate::Vcpu::complete`] with the value is due.
    PortRead {
        /// The port.
        port: u16,
        /// Bytes.
        size: u8,
    },
    /// OUT or OUTS of `size` bytes (1, 2, 4).
    PortWrite {
        /// The port.
        port: u16,
        /// Bytes.
        size: u8,
        /// The value; bits above `size` bytes are 0.
        value: u32,
    },
    /// A read of `size` bytes (1 to 8) where no memory is: [`crate::Vcpu::complete`] is due.
    MmioRead {
        /// Guest-physical address.
        address: u64,
        /// Bytes.
        size: u8,
    },
    /// A write of `size` bytes (1 to 8) where no memory is.
    MmioWrite {
        /// Guest-physical address.
        address: u64,
        /// Bytes.
        size: u8,
        /// The value; bits above `size` bytes are 0.
        value: u64,
    },
    /// RDMSR of an MSR that is [`crate::Msr::Exit`]: [`crate::Vcpu::complete_msr`] is due.
    MsrRead {
        /// The MSR.
        index: u32,
    },
    /// WRMSR to an MSR that is [`crate::Msr::Exit`]: [`crate::Vcpu::complete_msr`] is due.
    MsrWrite {
        /// The MSR.
        index: u32,
        /// The value.
        value: u64,
    },
    /// HLT, and no injected event gets through; RIP is behind it. The VMM decides when to run on;
    /// a window that it asked for may be open by now.
    Halt,
    /// The guest lowered CR8; RIP is behind the instruction.
    Cr8Lowered,
    /// An external interrupt can be injected, which [`crate::Vcpu::request_window`] asked for.
    InterruptWindow,
    /// An NMI can be injected, which [`crate::Vcpu::request_window`] asked for.
    NmiWindow,
    /// An exception that [`crate::Vcpu::set_exception_exits`] chose; nothing of its delivery was
    /// done. RIP is at the instruction for a fault.
    Exception(Exception),
    /// Somebody kicked this vCPU.
    Kicked,
    /// The budget of instructions is spent.
    Budget,
    /// A triple fault.
    Shutdown,
    /// The guest wants something that this CPU does not do; the text says what.
    Unsupported(&'static str),
}
