// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A backend that does what a test wrote down, and writes down what the loop does.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex};

use crate::backend::{Entry, Exit, GeneralProtection, Outcome, Vcpu};
use crate::loader;

/// What the loop asked of the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// An entry: was the interrupt window asked for, and CR8.
    Run { window: bool, cr8: u8 },
    /// An interrupt was queued.
    Interrupt(u8),
    /// An NMI was queued.
    Nmi,
    /// The registers after INIT.
    Init,
    /// The registers after SIPI.
    StartUp(u8),
    /// IA32_APIC_BASE.
    Base(u64),
    /// An MSR access ended: did it succeed?
    Msr(bool),
}

/// An entry without a window, with CR8 0.
pub const RUN: Call = Call::Run { window: false, cr8: 0 };
/// An entry that asks for the window.
pub const RUN_FOR_WINDOW: Call = Call::Run { window: true, cr8: 0 };

/// Why the guest comes back.
#[derive(Clone, Copy, Debug)]
pub enum Back {
    Halt,
    Window,
    Kicked,
    TripleFault,
    /// Not the guest, the loop itself goes wrong.
    Panic,
    Out(u16, u8),
    Store(u64, u32),
    WriteMsr(u32, u64),
}

/// What all parts of a test see of the backend.
#[derive(Default)]
pub struct Script {
    exits: Mutex<VecDeque<(Outcome, Back)>>,
    calls: Mutex<Vec<Call>>,
    changed: Condvar,
    refusals: Mutex<u32>,
    held_tsc: Mutex<Option<u64>>,
}

impl Script {
    /// The guest's next exit: `open` if it could take an interrupt there.
    pub fn push(&self, open: bool, back: Back) {
        let outcome = Outcome { interrupt_flag: open, window_open: open, ..Default::default() };
        self.push_outcome(outcome, back);
    }

    pub fn push_outcome(&self, outcome: Outcome, back: Back) {
        self.exits.lock().unwrap().push_back((outcome, back));
    }

    /// The hypervisor will refuse this many injections.
    pub fn refuse(&self, injections: u32) {
        *self.refusals.lock().unwrap() = injections;
    }

    /// The time-stamp counter stands still, as KVM holds it while the vCPU is out.
    pub fn hold_tsc(&self, at: u64) {
        *self.held_tsc.lock().unwrap() = Some(at);
    }

    /// What was asked since the last call.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    /// Waits for a call.
    pub fn wait_for(&self, call: Call) {
        let calls = self.calls.lock().unwrap();
        drop(self.changed.wait_while(calls, |calls| !calls.contains(&call)).unwrap());
    }

    fn note(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
        self.changed.notify_all();
    }

    fn inject(&self, call: Call) -> io::Result<()> {
        let mut refusals = self.refusals.lock().unwrap();
        if *refusals != 0 {
            *refusals -= 1;
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.note(call);
        Ok(())
    }
}

/// The vCPU that follows a [`Script`]. After its last line it returns as if it were kicked.
pub struct Fake {
    script: Arc<Script>,
    flag: Box<u8>,
    data: [u8; 4],
}

impl Fake {
    pub fn new(script: &Arc<Script>) -> Self {
        Fake { script: script.clone(), flag: Box::new(0), data: [0; 4] }
    }
}

impl Vcpu for Fake {
    fn kick_flag(&mut self) -> *mut u8 {
        &raw mut *self.flag
    }

    fn run(&mut self, entry: Entry) -> io::Result<(Outcome, Exit<'_>)> {
        self.script.note(Call::Run { window: entry.interrupt_window, cr8: entry.cr8 });
        let next = self.script.exits.lock().unwrap().pop_front();
        let (outcome, back) = next.unwrap_or((Outcome::default(), Back::Kicked));
        let exit = match back {
            Back::Halt => Exit::Halt,
            Back::Window => Exit::InterruptWindow,
            Back::Kicked => Exit::Kicked,
            Back::TripleFault => Exit::TripleFault,
            Back::Panic => panic!("as the test wants it"),
            Back::Out(port, value) => {
                self.data[0] = value;
                Exit::PortWrite { port, size: 1, data: &self.data[..1] }
            }
            Back::Store(address, value) => {
                self.data = value.to_le_bytes();
                Exit::MmioWrite(address, &self.data)
            }
            Back::WriteMsr(index, value) => Exit::WriteMsr(index, value),
        };
        Ok((outcome, exit))
    }

    fn finish_read_msr(&mut self, value: Result<u64, GeneralProtection>) {
        self.script.note(Call::Msr(value.is_ok()));
    }

    fn finish_write_msr(&mut self, result: Result<(), GeneralProtection>) {
        self.script.note(Call::Msr(result.is_ok()));
    }

    fn inject_interrupt(&mut self, vector: u8) -> io::Result<()> {
        self.script.inject(Call::Interrupt(vector))
    }

    fn inject_nmi(&mut self) -> io::Result<()> {
        self.script.inject(Call::Nmi)
    }

    fn set_boot_state(&mut self, _: &loader::Entry) -> io::Result<()> {
        Ok(())
    }

    fn init(&mut self) -> io::Result<()> {
        self.script.note(Call::Init);
        Ok(())
    }

    fn start_up(&mut self, vector: u8) -> io::Result<()> {
        self.script.note(Call::StartUp(vector));
        Ok(())
    }

    fn set_apic_base(&mut self, base: u64) -> io::Result<()> {
        self.script.note(Call::Base(base));
        Ok(())
    }

    fn tsc_hz(&self) -> u64 {
        1_000_000_000
    }

    fn tsc(&self) -> u64 {
        let held = *self.script.held_tsc.lock().unwrap();
        held.unwrap_or_else(crate::clock::monotonic_ns)
    }

    fn describe(&self) -> String {
        "a fake".into()
    }
}
