// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! All vCPUs on one thread, in turn, on a virtual clock: the same guest takes the same interrupts
//! at the same times in every run.
//!
//! Nothing here depends on the host's time or on another thread. A turn ends after [`TURN`]
//! nanoseconds of virtual time, at HLT, or when somebody else's timer is due; when all sleep, time
//! goes to the next deadline at once. Input is looked at between the rounds.

use std::io;
use std::sync::Arc;

use super::{EndOnPanic, Step, VcpuThread};
use crate::backend::Vcpu;
use crate::clock::VirtualClock;
use crate::console::Input;
use crate::control::Control;
use crate::devices::Clock;
use crate::interrupts::Interrupts;
use crate::kick::ExitTimer;
use crate::main_loop::Timed;
use crate::stats::VcpuStats;

/// Virtual time of a turn in ns: as many instructions, or 20 port accesses.
const TURN: u64 = 20_000;
/// Nobody waits for a deadline at this time (ns) or later, in 292 years: a guest may set any, and
/// time that went there could not go on.
const NEVER: u64 = 1 << 63;

/// The vCPUs of a machine, and everything that waits for a time.
pub struct RoundRobin<B> {
    /// In the order of their indices.
    pub vcpus: Vec<VcpuThread<B>>,
    /// The machine's clock.
    pub clock: Arc<VirtualClock>,
    /// The machine's interrupts.
    pub interrupts: Arc<Interrupts>,
    /// How the machine ends.
    pub control: Arc<Control>,
    /// The devices' deadlines.
    pub timed: Vec<Timed>,
    /// What is typed.
    pub input: Input,
}

impl<B: Vcpu> RoundRobin<B> {
    /// Runs until the machine stops; reports what stopped it, if it was a vCPU.
    pub fn run(mut self) -> Vec<VcpuStats> {
        let mut guard = EndOnPanic { cpu: 0, control: self.control.clone() };
        self.prepare();
        while self.round(&mut guard) {}
        self.vcpus.into_iter().map(|vcpu| vcpu.local.into_stats(&vcpu.backend)).collect()
    }

    fn prepare(&mut self) {
        for vcpu in &mut self.vcpus {
            if let Some(port) = self.interrupts.vcpus().port(vcpu.local.cpu()) {
                port.attach();
            }
            if let Err(error) = vcpu.prepare() {
                vcpu.fail(&error);
            }
        }
    }

    /// A turn for each vCPU; `false` when the machine has ended.
    fn round(&mut self, guard: &mut EndOnPanic) -> bool {
        self.input.take(self.clock.now());
        let mut all_sleep = true;
        for cpu in 0..self.vcpus.len() {
            guard.cpu = cpu;
            match self.turn(cpu) {
                Step::Continue => all_sleep = false,
                Step::Sleep => {}
                Step::Stop => return false,
            }
        }
        if all_sleep && !self.requests_wait() {
            self.idle();
        }
        !self.control.has_ended()
    }

    /// Runs one vCPU for a while; whether it did anything but sleep.
    fn turn(&mut self, cpu: usize) -> Step {
        let end = self.clock.now().saturating_add(TURN);
        let mut did = Step::Sleep;
        loop {
            self.expire_alarms();
            let others = self.next_deadline(Some(cpu));
            match self.step(cpu, others.unwrap_or(u64::MAX).min(end)) {
                Ok(Step::Continue) if !self.control.has_ended() => did = Step::Continue,
                Ok(Step::Sleep) => return did,
                Ok(Step::Continue | Step::Stop) => return Step::Stop,
                Err(error) => {
                    self.vcpus[cpu].fail(&error);
                    return Step::Stop;
                }
            }
            let now = self.clock.now();
            // Another vCPU's timer is that vCPU's to look at.
            if now >= end || self.vcpu_deadline(Some(cpu)).is_some_and(|at| at <= now) {
                return did;
            }
        }
    }

    fn step(&mut self, cpu: usize, limit: u64) -> io::Result<Step> {
        let Some(port) = self.interrupts.vcpus().port(cpu) else { return Ok(Step::Stop) };
        let mut timer = TurnTimer { clock: &self.clock, limit };
        self.vcpus[cpu].step(port, &mut timer)
    }

    /// Everybody sleeps: the next thing that happens is a timer, or somebody types.
    fn idle(&mut self) {
        match self.next_deadline(None).filter(|at| *at < NEVER) {
            Some(at) => self.clock.advance_to(at),
            None => self.input.wait(),
        }
    }

    /// Lets devices do what is due.
    fn expire_alarms(&mut self) {
        let now = self.clock.now();
        for timed in &mut self.timed {
            if timed.alarm.expire(now) {
                (timed.expired)(now);
            }
        }
    }

    /// When a device or a vCPU, but for `without`, has something to do.
    fn next_deadline(&self, without: Option<usize>) -> Option<u64> {
        let devices = self.timed.iter().filter_map(|timed| timed.alarm.deadline()).min();
        [devices, self.vcpu_deadline(without)].into_iter().flatten().min()
    }

    fn vcpu_deadline(&self, without: Option<usize>) -> Option<u64> {
        let others = self.vcpus.iter().filter(|vcpu| Some(vcpu.local.cpu()) != without);
        others.filter_map(|vcpu| vcpu.local.next_deadline()).min()
    }

    fn requests_wait(&self) -> bool {
        self.interrupts.vcpus().ports().iter().any(|port| !port.mailbox.pending().is_empty())
    }
}

/// Ends a run at the vCPU's own deadline, or at the end of its turn.
struct TurnTimer<'a> {
    clock: &'a VirtualClock,
    limit: u64,
}

impl ExitTimer for TurnTimer<'_> {
    fn set(&mut self, deadline: Option<u64>) -> io::Result<()> {
        self.clock.set_limit(deadline.map_or(self.limit, |at| at.min(self.limit)));
        Ok(())
    }
}
