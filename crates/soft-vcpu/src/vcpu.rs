// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The vCPU as the VMM sees it.

use std::sync::Arc;

use vcpu_events::{Event, Interruptibility, Window};

use crate::block::BlockCache;
use crate::config::Config;
use crate::cpu::Cpu;
use crate::exit::Exit;
use crate::io::{GeneralProtection, Request};
use crate::mem::{Member, Running};
use crate::segment::Segment;
use crate::state::{InvalidState, State};

/// A software x86-64 CPU.
///
/// [`Vcpu::run`] executes guest code until something needs the VMM. An exit that reads wants its
/// value by [`Vcpu::complete`] (or [`Vcpu::complete_msr`]) before the next run.
pub struct Vcpu {
    pub(crate) cpu: Cpu,
    pub(crate) cache: BlockCache,
    pub(crate) member: Arc<Member>,
    /// The event whose delivery the last exit interrupted.
    idt_vectoring: Option<Event>,
    /// The event whose delivery made the access that the last exit asked for.
    pub(crate) delivery_asked: Option<Event>,
}

/// Brings a vCPU out of [`Vcpu::run`], from any thread or signal handler.
#[derive(Clone, Debug)]
pub struct Kick {
    member: Arc<Member>,
}

impl Kick {
    /// Ends the run under way, or else the next one, with [`Exit::Kicked`].
    pub fn kick(&self) {
        self.member.kick.store(1, std::sync::atomic::Ordering::SeqCst);
    }

    /// The byte that [`Kick::kick`] sets to 1, for a signal handler; valid as long as `self`.
    pub fn as_ptr(&self) -> *mut u8 {
        self.member.kick.as_ptr()
    }
}

/// The table has no [`Msr::Stored`](crate::Msr::Stored) of this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("MSR {0:#x} does not store what is written to it")]
pub struct NotStored(pub u32);

/// An event waits already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{waiting:?} was injected and has not been delivered yet")]
pub struct Occupied {
    /// The event that waits.
    pub waiting: Event,
}

impl Vcpu {
    /// A vCPU after reset: the boot processor's state.
    pub fn new(config: Config) -> Self {
        let (member_index, member) = config.memory.join();
        let mut cpu = Cpu::new(config, member_index);
        cpu.reset();
        Vcpu {
            cpu,
            cache: BlockCache::default(),
            member,
            idt_vectoring: None,
            delivery_asked: None,
        }
    }

    /// Executes guest code until something needs the VMM, or `budget` instructions are done. With
    /// 0, an instruction or a delivery whose access the last exit asked for is ended, and nothing
    /// else: no other event, window or kick is looked at.
    ///
    /// An access that the last exit asked for and that was not completed reads as all ones.
    pub fn run(&mut self, budget: u64) -> Exit {
        if let Some(request) = self.cpu.io.asked() {
            self.cpu.io.answer(Ok(unanswered(request)));
        }
        let interrupted = self.cpu.vectoring.take();
        self.delivery_asked =
            self.delivery_asked.or(interrupted).filter(|_| self.cpu.io.is_active());
        // Whatever ends the run, a panic of the clock's included.
        let running = Running::enter(self.member.clone());
        self.attend();
        let exit = self.run_inside(budget);
        drop(running);
        self.idt_vectoring = self.cpu.vectoring;
        exit
    }

    /// The value for [`Exit::PortRead`] or [`Exit::MmioRead`]; bits beyond its size are ignored.
    pub fn complete(&mut self, value: u64) {
        self.cpu.io.answer(Ok(value));
    }

    /// The value for [`Exit::MsrRead`] (ignored for [`Exit::MsrWrite`]), or #GP(0).
    pub fn complete_msr(&mut self, result: Result<u64, GeneralProtection>) {
        self.cpu.io.answer(result);
    }

    /// Injects an event as a VM entry does: the next run delivers it first.
    ///
    /// An exception or a software interrupt is delivered at once. An external interrupt or an NMI
    /// that does not get through (RFLAGS.IF, a shadow) waits in a slot of its own until it does;
    /// so it does not stand in the way when [`Vcpu::idt_vectoring`] has to be injected again. The
    /// instruction behind a [`Vcpu::complete`]d exit ends before.
    ///
    /// # Errors
    /// [`Occupied`]: one event of each of these two sorts at a time.
    pub fn inject(&mut self, event: Event) -> Result<(), Occupied> {
        let slot = self.cpu.slot(&event);
        match *slot {
            Some(waiting) => Err(Occupied { waiting }),
            None => {
                *slot = Some(event);
                Ok(())
            }
        }
    }

    /// The event that was injected and has not been delivered yet; of two, the one that comes
    /// first.
    pub fn injected(&self) -> Option<Event> {
        self.cpu.injected.or(self.cpu.waiting)
    }

    /// IDT-vectoring information: the event whose delivery the last exit interrupted (its stack or
    /// table was not memory, or a fault of it exits). It is lost unless that very event is
    /// injected again.
    pub fn idt_vectoring(&self) -> Option<Event> {
        self.idt_vectoring
    }

    /// Asks for [`Exit::InterruptWindow`] or [`Exit::NmiWindow`] at the first boundary where such
    /// an event gets through; stays until it is changed.
    pub fn request_window(&mut self, window: Window) {
        self.cpu.window = window;
    }

    /// What gets through now.
    pub fn interruptibility(&self) -> Interruptibility {
        self.cpu.interruptibility()
    }

    /// Exceptions (bit n is vector n) that exit instead of being delivered.
    pub fn set_exception_exits(&mut self, vectors: u32) {
        self.cpu.exception_exits = vectors;
    }

    /// A handle to bring the vCPU out of [`Vcpu::run`].
    pub fn kick_handle(&self) -> Kick {
        Kick { member: self.member.clone() }
    }

    /// CR8, bits 3:0: TPR bits 7:4.
    pub fn cr8(&self) -> u8 {
        self.cpu.cr8
    }

    /// Changes CR8.
    pub fn set_cr8(&mut self, cr8: u8) {
        self.cpu.cr8 = cr8 & 15;
    }

    /// Tells IA32_APIC_BASE, which CPUID.1:EDX\[9\] follows (bit 11).
    pub fn set_apic_base(&mut self, base: u64) {
        self.cpu.msr.apic_base = base;
    }

    /// The time-stamp counter as the guest would read it.
    pub fn tsc(&self) -> u64 {
        self.cpu.tsc.read(self.cpu.executed)
    }

    /// Instructions executed, deliveries of events included.
    pub fn executed(&self) -> u64 {
        self.cpu.executed
    }

    /// The state after RESET.
    pub fn reset(&mut self) {
        self.cpu.reset();
        self.idt_vectoring = None;
    }

    /// The state after INIT (SDM vol. 3, "Processor State After Reset").
    pub fn init(&mut self) {
        self.cpu.init();
        self.idt_vectoring = None;
    }

    /// Starts in real mode at `vector << 12` (SIPI).
    pub fn start_up(&mut self, vector: u8) {
        let selector = u16::from(vector) << 8;
        self.cpu.set_segment(crate::segment::CS, Segment::real(selector, 0xb));
        self.cpu.rip = 0;
    }

    /// All of the state.
    pub fn state(&self) -> State {
        State::of(&self.cpu)
    }

    /// Replaces the state. A half-done access of the last exit is dropped.
    ///
    /// # Errors
    /// [`InvalidState`]: no processor is in such a state; nothing was changed.
    pub fn set_state(&mut self, state: &State) -> Result<(), InvalidState> {
        state.apply(&mut self.cpu)?;
        self.idt_vectoring = None;
        Ok(())
    }

    /// What an [`Msr::Stored`](crate::Msr::Stored) holds now, which [`State`] does not have.
    pub fn stored_msr(&self, index: u32) -> Option<u64> {
        self.cpu.msr_table.stored(index)
    }

    /// Changes what an [`Msr::Stored`](crate::Msr::Stored) holds.
    ///
    /// # Errors
    /// [`NotStored`]: the table has no such MSR.
    pub fn set_stored_msr(&mut self, index: u32, value: u64) -> Result<(), NotStored> {
        match self.cpu.msr_table.store(index, value) {
            true => Ok(()),
            false => Err(NotStored(index)),
        }
    }
}

fn unanswered(request: Request) -> u64 {
    match request {
        Request::PortWrite { .. } | Request::MmioWrite { .. } | Request::MsrWrite { .. } => 0,
        Request::PortRead { .. } | Request::MmioRead { .. } | Request::MsrRead { .. } => u64::MAX,
    }
}
