// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One vCPU: collect what came in, decide, enter the guest, serve the exit. Written once for all
//! backends, and for both ways to run vCPUs: each on a thread of its own, or all in turn
//! ([`RoundRobin`]).
//!
//! On a thread of its own nothing polls. A halted vCPU sleeps until its next deadline or a wake; a
//! running one is kicked, by a sender that has something to inject or by its own timer.

mod exit;
mod local;
mod round_robin;
#[cfg(test)]
pub(crate) mod tests;
mod threads;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use vcpu_events::{Activity, Injection, Request, Window};

use crate::backend::{Entry, Vcpu};
use crate::bus::Bus;
use crate::clock::monotonic_ns;
use crate::control::{Control, Ending};
use crate::interrupts::{Interrupts, VcpuPort};
use crate::kick::{self, ExitTimer, KickTimer};
use crate::stats::VcpuStats;
use exit::Served;
pub use local::{Local, LocalConfig};
pub use round_robin::RoundRobin;
pub use threads::VcpuThreads;

/// IA32_TSC_DEADLINE: the one register whose value is a TSC, so that it wants the true one.
const IA32_TSC_DEADLINE: u32 = 0x6e0;

/// What runs one vCPU, on a thread of its own or as one of a [`RoundRobin`].
pub struct VcpuThread<B> {
    backend: B,
    local: Local,
    interrupts: Arc<Interrupts>,
    bus: Arc<Bus>,
    control: Arc<Control>,
}

/// A machine that lost a vCPU to a fault of ours ends, rather than hang.
struct EndOnPanic {
    cpu: usize,
    control: Arc<Control>,
}

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            let (error, registers) = ("its thread panicked".into(), "registers unknown".into());
            self.control.overrule(Ending::VcpuFailed { cpu: self.cpu, error, registers });
        }
    }
}

/// How the vCPU goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// With the next step.
    Continue,
    /// It has nothing to do until its next deadline or a request.
    Sleep,
    /// Not at all.
    Stop,
}

impl<B: Vcpu> VcpuThread<B> {
    /// A vCPU after reset.
    pub fn new(
        backend: B,
        local: Local,
        interrupts: Arc<Interrupts>,
        bus: Arc<Bus>,
        control: Arc<Control>,
    ) -> Self {
        VcpuThread { backend, local, interrupts, bus, control }
    }

    /// Runs on this thread until the machine stops; reports what stopped it, if it was this vCPU.
    pub fn run(mut self) -> VcpuStats {
        let cpu = self.local.cpu();
        let _guard = EndOnPanic { cpu, control: self.control.clone() };
        if let Err(error) = self.run_until_stopped() {
            self.fail(&error);
        }
        self.local.into_stats(&self.backend)
    }

    /// Ends the machine, since this vCPU cannot go on.
    fn fail(&self, error: &io::Error) {
        let (cpu, registers) = (self.local.cpu(), self.backend.describe());
        self.control.end(Ending::VcpuFailed { cpu, error: error.to_string(), registers });
    }

    fn run_until_stopped(&mut self) -> io::Result<()> {
        // SAFETY: `binding` is dropped on every way out of this function, the backend outlives it.
        let binding = unsafe { kick::Binding::new(self.backend.kick_flag()) };
        let mut timer = KickTimer::new()?;
        let interrupts = self.interrupts.clone();
        let Some(port) = interrupts.vcpus().port(self.local.cpu()) else { return Ok(()) };
        port.attach();
        self.prepare()?;
        loop {
            binding.forget_kicks();
            match self.step(port, &mut timer)? {
                Step::Continue => {}
                Step::Sleep => self.sleep(port),
                Step::Stop => return Ok(()),
            }
        }
    }

    /// Before the first step: the first anchor of the computed TSC, and the backend's first
    /// IA32_APIC_BASE.
    fn prepare(&mut self) -> io::Result<()> {
        self.local.anchor_tsc(&self.backend);
        self.tell_base()
    }

    /// Once around: requests, interrupts, then the guest. Never waits.
    fn step(&mut self, port: &VcpuPort, timer: &mut impl ExitTimer) -> io::Result<Step> {
        if port.mailbox.take().contains(Request::VmDead) {
            return Ok(Step::Stop);
        }
        self.local.collect(&mut self.backend, &self.interrupts, port)?;
        self.local.publish(&self.interrupts);
        let window = self.inject()?;
        self.local.resume_for(window);
        if self.local.activity() != Activity::Active {
            return Ok(Step::Sleep);
        }
        timer.set(self.local.next_deadline())?;
        if port.mailbox.enter_guest().is_err() {
            return Ok(Step::Continue);
        }
        let entry = Entry { interrupt_window: window.interrupt, cr8: self.local.cr8() };
        self.enter(entry, port)
    }

    /// Hands over what the backend takes for this entry, and commits to each event after it was
    /// taken: what is refused stays pending. The window is for whatever is left then: an
    /// acknowledge cycle may leave INTR high.
    fn inject(&mut self) -> io::Result<Window> {
        let mut nmi = false;
        let window = loop {
            let decision = self.local.decide(&self.interrupts);
            match decision.inject {
                // The backend holds two, and delivers the second without an exit in between.
                Some(injection @ Injection::Nmi) => {
                    self.backend.inject_nmi()?;
                    self.local.commit_nmi(injection);
                    nmi = true;
                }
                // The backend would deliver it before the NMI.
                Some(Injection::Interrupt(_) | Injection::ExtInt) if nmi => {
                    break Window { interrupt: true, ..decision.window };
                }
                Some(Injection::Interrupt(vector)) => {
                    self.local.inject_interrupt(vector, &mut self.backend)?
                }
                Some(Injection::ExtInt) => {
                    self.local.inject_extint(&self.interrupts, &mut self.backend)?
                }
                // Exceptions, SMM and re-injection are the backend's own affair; INIT and SIPI
                // are handled when they are collected.
                Some(_) | None => break decision.window,
            }
        };
        self.local.count_window(window);
        Ok(window)
    }

    fn enter(&mut self, entry: Entry, port: &VcpuPort) -> io::Result<Step> {
        let exit = self.backend.run(entry);
        port.mailbox.exit_guest();
        self.local.stats.exits += 1;
        let (outcome, exit) = exit?;
        self.local.ran(&outcome);
        match exit::serve(exit, &mut self.local, &self.bus, &self.interrupts) {
            Served::Done | Served::Halted => {}
            Served::ReadMsr(index) => {
                let value = self.local.read_msr(index);
                self.backend.finish_read_msr(value);
            }
            Served::WriteMsr(index, value) => {
                if index == IA32_TSC_DEADLINE {
                    self.local.anchor_tsc(&self.backend);
                }
                let result = self.local.write_msr(index, value, &self.interrupts);
                self.backend.finish_write_msr(result);
            }
            Served::TripleFault => {
                let registers = self.backend.describe();
                self.control.end(Ending::TripleFault { cpu: self.local.cpu(), registers });
                return Ok(Step::Stop);
            }
            Served::Failed(error) => return Err(io::Error::other(error)),
        }
        self.tell_base()?;
        Ok(Step::Continue)
    }

    /// CPUID.1:EDX\[9\] follows IA32_APIC_BASE.
    fn tell_base(&mut self) -> io::Result<()> {
        match self.local.take_changed_base() {
            Some(base) => self.backend.set_apic_base(base),
            None => Ok(()),
        }
    }

    fn sleep(&mut self, port: &VcpuPort) {
        let deadline = self.local.next_deadline();
        if port.mailbox.block().is_ok() {
            let now = monotonic_ns();
            kick::sleep(deadline.map(|at| Duration::from_nanos(at.saturating_sub(now))));
        }
        port.mailbox.unblock();
    }
}
