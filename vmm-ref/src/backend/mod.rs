// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the vCPU loop needs of a hypervisor: run, inject, ask for a window, get and set state.
//!
//! The loop in [`crate::vcpu`] is written once against [`Vcpu`]; each backend is a module here, and
//! [`select()`] says which one runs a machine.

use std::io;

use vm_memory::GuestMemoryMmap;

use crate::clock::TimeSource;
use crate::loader;

pub mod kvm;
pub mod select;
pub mod soft;
mod topology;

pub use select::{select, Kind};

/// A virtual machine of a backend: makes the vCPUs over one guest memory.
pub trait Vm {
    /// Which of the local APIC's registers beyond its page can be ours here.
    fn forwarding(&self) -> Forwarding;

    /// Bits of a guest-physical address, 32 to 52: what lies above them in IA32_APIC_BASE is
    /// reserved.
    fn physical_address_bits(&self) -> u8;

    /// Creates vCPU `facts.apic_id` with its CPUID, in the state after reset.
    ///
    /// # Errors
    /// [`Error`] of the backend.
    fn create_vcpu(&self, facts: CpuidFacts) -> Result<Box<dyn Vcpu>, Error>;
}

/// What stops a machine from starting.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// On KVM.
    #[error(transparent)]
    Kvm(#[from] kvm::KvmError),
    /// The software CPU: see there.
    #[error(transparent)]
    Soft(#[from] soft::SoftError),
    /// KVM with a virtual clock.
    #[error("KVM runs in the host's time: a virtual clock needs the software CPU")]
    NeedsHostTime,
}

/// Creates a virtual machine over `memory`, whose time is `time`.
///
/// # Errors
/// [`Error`] of the backend.
pub fn create(
    kind: Kind,
    memory: &GuestMemoryMmap,
    time: &TimeSource,
) -> Result<Box<dyn Vm>, Error> {
    match (kind, time) {
        (Kind::Kvm, TimeSource::Host) => Ok(Box::new(kvm::KvmVm::new(memory)?)),
        (Kind::Kvm, TimeSource::Virtual(_)) => Err(Error::NeedsHostTime),
        (Kind::Soft, time) => Ok(Box::new(soft::SoftVm::new(memory, time)?)),
    }
}

/// Which accesses of an APIC's MSRs reach us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// Reads and writes of IA32_APIC_BASE.
    pub apic_base: bool,
    /// Accesses of 0x800 and up.
    pub x2apic: bool,
    /// Writes of IA32_TSC_DEADLINE.
    pub tsc_deadline: bool,
}

/// What a vCPU's CPUID says about its place in the machine.
#[derive(Clone, Copy, Debug)]
pub struct CpuidFacts {
    /// Initial APIC id.
    pub apic_id: u32,
    /// vCPUs of the machine.
    pub cpus: u32,
    /// Whether there is a local APIC at all.
    pub apic: bool,
}

/// One virtual CPU of a backend, owned by its thread.
pub trait Vcpu: Send {
    /// The byte that a kick sets to 1 so that the next [`Vcpu::run`] returns at once; valid as
    /// long as the vCPU. `run` clears it when it returns for that reason.
    fn kick_flag(&mut self) -> *mut u8;

    /// Runs guest code until something needs the VMM, and tells what it left: to be taken over
    /// before the exit is served, which may change the same things.
    ///
    /// # Errors
    /// What the hypervisor itself reports; a kick is [`Exit::Kicked`], not an error.
    fn run(&mut self, entry: Entry) -> io::Result<(Outcome, Exit<'_>)>;

    /// Ends RDMSR after [`Exit::ReadMsr`].
    fn finish_read_msr(&mut self, value: Result<u64, GeneralProtection>);

    /// Ends WRMSR after [`Exit::WriteMsr`].
    fn finish_write_msr(&mut self, result: Result<(), GeneralProtection>);

    /// Queues an external interrupt for the next entry.
    ///
    /// # Errors
    /// If the backend did not take it; then nothing is queued.
    fn inject_interrupt(&mut self, vector: u8) -> io::Result<()>;

    /// Queues an NMI; the backend holds it back while NMIs are blocked.
    ///
    /// # Errors
    /// If the backend did not take it.
    fn inject_nmi(&mut self) -> io::Result<()>;

    /// Puts the boot processor where the loader wants it.
    ///
    /// # Errors
    /// What the hypervisor reports for the registers.
    fn set_boot_state(&mut self, entry: &loader::Entry) -> io::Result<()>;

    /// The register state after INIT (Intel SDM vol. 3, "Processor State After Reset").
    ///
    /// # Errors
    /// What the hypervisor reports for the registers.
    fn init(&mut self) -> io::Result<()>;

    /// Starts execution at `vector << 12` in real mode (SIPI).
    ///
    /// # Errors
    /// What the hypervisor reports for the registers.
    fn start_up(&mut self, vector: u8) -> io::Result<()>;

    /// Tells the backend IA32_APIC_BASE, which CPUID.1:EDX\[9\] follows.
    ///
    /// # Errors
    /// What the hypervisor reports for the value.
    fn set_apic_base(&mut self, base: u64) -> io::Result<()>;

    /// The time-stamp counter's frequency in Hz.
    fn tsc_hz(&self) -> u64;

    /// The guest's time-stamp counter now.
    fn tsc(&self) -> u64;

    /// Whether [`Vcpu::tsc`] is what the guest would read, also while it does not run. KVM may
    /// hold it then.
    fn tsc_is_exact(&self) -> bool {
        false
    }

    /// Instructions that the guest executed, if the backend counts them.
    fn instructions(&self) -> Option<u64> {
        None
    }

    /// Registers, for a report to a person.
    fn describe(&self) -> String;
}

impl<V: Vcpu + ?Sized> Vcpu for Box<V> {
    fn kick_flag(&mut self) -> *mut u8 {
        (**self).kick_flag()
    }

    fn run(&mut self, entry: Entry) -> io::Result<(Outcome, Exit<'_>)> {
        (**self).run(entry)
    }

    fn finish_read_msr(&mut self, value: Result<u64, GeneralProtection>) {
        (**self).finish_read_msr(value);
    }

    fn finish_write_msr(&mut self, result: Result<(), GeneralProtection>) {
        (**self).finish_write_msr(result);
    }

    fn inject_interrupt(&mut self, vector: u8) -> io::Result<()> {
        (**self).inject_interrupt(vector)
    }

    fn inject_nmi(&mut self) -> io::Result<()> {
        (**self).inject_nmi()
    }

    fn set_boot_state(&mut self, entry: &loader::Entry) -> io::Result<()> {
        (**self).set_boot_state(entry)
    }

    fn init(&mut self) -> io::Result<()> {
        (**self).init()
    }

    fn start_up(&mut self, vector: u8) -> io::Result<()> {
        (**self).start_up(vector)
    }

    fn set_apic_base(&mut self, base: u64) -> io::Result<()> {
        (**self).set_apic_base(base)
    }

    fn tsc_hz(&self) -> u64 {
        (**self).tsc_hz()
    }

    fn tsc(&self) -> u64 {
        (**self).tsc()
    }

    fn tsc_is_exact(&self) -> bool {
        (**self).tsc_is_exact()
    }

    fn instructions(&self) -> Option<u64> {
        (**self).instructions()
    }

    fn describe(&self) -> String {
        (**self).describe()
    }
}

/// What an entry into the guest is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry {
    /// Exit as soon as an external interrupt could be taken.
    pub interrupt_window: bool,
    /// CR8 (TPR bits 7:4) as the guest sees it.
    pub cr8: u8,
}

/// What an exit from the guest leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// RFLAGS.IF.
    pub interrupt_flag: bool,
    /// An external interrupt can be queued now.
    pub window_open: bool,
    /// CR8 (TPR bits 7:4).
    pub cr8: u8,
    /// NMIs are blocked until IRET, if the backend tells: KVM does not.
    pub nmi_blocked: bool,
}

/// Why the guest stopped.
#[derive(Debug)]
pub enum Exit<'a> {
    /// `data` holds items of `size` bytes (1, 2 or 4), to be filled from `port`.
    PortRead {
        /// The port.
        port: u16,
        /// Bytes of each item.
        size: u8,
        /// One item after the other.
        data: &'a mut [u8],
    },
    /// `data` holds items of `size` bytes (1, 2 or 4), written to `port`.
    PortWrite {
        /// The port.
        port: u16,
        /// Bytes of each item.
        size: u8,
        /// One item after the other.
        data: &'a [u8],
    },
    /// A read of `data.len()` bytes (1 to 8) where no memory is.
    MmioRead(u64, &'a mut [u8]),
    /// A write of `data.len()` bytes (1 to 8) where no memory is.
    MmioWrite(u64, &'a [u8]),
    /// RDMSR of an MSR that the VMM owns; [`Vcpu::finish_read_msr`] is due.
    ReadMsr(u32),
    /// WRMSR of this value to an MSR that the VMM owns; [`Vcpu::finish_write_msr`] is due.
    WriteMsr(u32, u64),
    /// HLT; the instruction pointer is behind it.
    Halt,
    /// The window that was asked for is open.
    InterruptWindow,
    /// The guest lowered CR8.
    TprChanged,
    /// Somebody kicked this vCPU.
    Kicked,
    /// A triple fault.
    TripleFault,
    /// The backend cannot go on; the text says why.
    Failed(String),
}

/// The instruction raises #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralProtection;
