// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A software CPU behind [`Vcpu`].

use std::io;

use soft_vcpu::{Config, Event, Exit as SoftExit, Kick, Window};

use super::pace::Pace;
use super::{regs, TSC_HZ};
use crate::backend::{Entry, Exit, GeneralProtection, Outcome, Vcpu};
use crate::loader;

/// One vCPU.
pub struct SoftVcpu {
    vcpu: soft_vcpu::Vcpu,
    kick: Kick,
    pace: Pace,
    /// The bytes of the access that the last exit was for.
    data: [u8; 8],
    /// They are the answer to a read.
    reading: bool,
    /// NMIs that wait for the vCPU to let one through.
    nmis: u8,
}

impl SoftVcpu {
    pub(super) fn new(config: Config, pace: Pace) -> Self {
        let vcpu = soft_vcpu::Vcpu::new(config);
        let kick = vcpu.kick_handle();
        SoftVcpu { vcpu, kick, pace, data: [0; 8], reading: false, nmis: 0 }
    }

    /// Answers the read that the last exit was for.
    fn finish_access(&mut self) {
        if std::mem::take(&mut self.reading) {
            self.vcpu.complete(u64::from_le_bytes(self.data));
        }
    }

    /// Runs the guest; an NMI that waits goes in as soon as one gets through.
    fn run_inside(&mut self, interrupt_window: bool) -> io::Result<SoftExit> {
        loop {
            let free = self.vcpu.injected().is_none();
            if self.nmis != 0 && free && self.vcpu.interruptibility().nmi_allowed() {
                self.inject(Event::Nmi)?;
                self.nmis -= 1;
            }
            let window = Window { interrupt: interrupt_window, nmi: self.nmis != 0 };
            self.vcpu.request_window(window);
            self.pace.catch_up(self.vcpu.executed());
            let exit = self.vcpu.run(self.pace.budget());
            self.pace.ran(self.vcpu.executed(), &exit);
            match exit {
                SoftExit::NmiWindow => {}
                // Under a shadow until now, as between STI and HLT.
                SoftExit::Halt if self.nmis != 0 && self.vcpu.interruptibility().nmi_allowed() => {}
                exit => return Ok(exit),
            }
        }
    }

    fn inject(&mut self, event: Event) -> io::Result<()> {
        self.vcpu.inject(event).map_err(io::Error::other)
    }

    fn outcome(&self) -> Outcome {
        let now = self.vcpu.interruptibility();
        Outcome {
            interrupt_flag: now.interrupt_flag,
            window_open: now.interrupt_allowed(),
            cr8: self.vcpu.cr8(),
            nmi_blocked: now.nmi_blocked,
        }
    }

    fn translate(&mut self, exit: SoftExit) -> Exit<'_> {
        match exit {
            SoftExit::PortRead { port, size } => {
                Exit::PortRead { port, size, data: self.answer_room(size) }
            }
            SoftExit::PortWrite { port, size, value } => {
                Exit::PortWrite { port, size, data: self.written(size, value.into()) }
            }
            SoftExit::MmioRead { address, size } => Exit::MmioRead(address, self.answer_room(size)),
            SoftExit::MmioWrite { address, size, value } => {
                Exit::MmioWrite(address, self.written(size, value))
            }
            SoftExit::MsrRead { index } => Exit::ReadMsr(index),
            SoftExit::MsrWrite { index, value } => Exit::WriteMsr(index, value),
            SoftExit::Halt => Exit::Halt,
            SoftExit::Cr8Lowered => Exit::TprChanged,
            SoftExit::InterruptWindow => Exit::InterruptWindow,
            SoftExit::Kicked | SoftExit::Budget | SoftExit::NmiWindow => Exit::Kicked,
            SoftExit::Shutdown => Exit::TripleFault,
            SoftExit::Unsupported(what) => {
                Exit::Failed(format!("the software CPU does not do this: {what}"))
            }
            SoftExit::Exception(exception) => {
                Exit::Failed(format!("an exit that nothing here asked for: {exception:?}"))
            }
        }
    }

    /// Room for the answer: all ones, unless somebody fills it.
    fn answer_room(&mut self, size: u8) -> &mut [u8] {
        self.data = [0xff; 8];
        self.reading = true;
        let size = usize::from(size).min(self.data.len());
        &mut self.data[..size]
    }

    fn written(&mut self, size: u8, value: u64) -> &[u8] {
        self.data = value.to_le_bytes();
        let size = usize::from(size).min(self.data.len());
        &self.data[..size]
    }
}

impl Vcpu for SoftVcpu {
    fn kick_flag(&mut self) -> *mut u8 {
        self.kick.as_ptr()
    }

    fn run(&mut self, entry: Entry) -> io::Result<(Outcome, Exit<'_>)> {
        self.finish_access();
        self.vcpu.set_cr8(entry.cr8);
        let exit = self.run_inside(entry.interrupt_window)?;
        // An event whose delivery came upon a device goes on after the access.
        if let Some(event) = self.vcpu.idt_vectoring() {
            self.inject(event)?;
        }
        let outcome = self.outcome();
        Ok((outcome, self.translate(exit)))
    }

    fn finish_read_msr(&mut self, value: Result<u64, GeneralProtection>) {
        self.vcpu.complete_msr(value.map_err(|_| soft_vcpu::GeneralProtection));
    }

    fn finish_write_msr(&mut self, result: Result<(), GeneralProtection>) {
        let result = result.map(|()| 0).map_err(|_| soft_vcpu::GeneralProtection);
        self.vcpu.complete_msr(result);
    }

    fn inject_interrupt(&mut self, vector: u8) -> io::Result<()> {
        self.inject(Event::Interrupt(vector))
    }

    fn inject_nmi(&mut self) -> io::Result<()> {
        // One is about to be delivered, unless they are blocked; the processor latches one more.
        let blocked = self.vcpu.interruptibility().nmi_blocked;
        let latched_only = blocked || self.vcpu.injected() == Some(Event::Nmi);
        self.nmis = (self.nmis + 1).min(if latched_only { 1 } else { 2 });
        Ok(())
    }

    fn set_boot_state(&mut self, entry: &loader::Entry) -> io::Result<()> {
        regs::set_boot_state(&mut self.vcpu, entry).map_err(io::Error::other)
    }

    fn init(&mut self) -> io::Result<()> {
        self.vcpu.init();
        self.reading = false;
        self.nmis = 0;
        Ok(())
    }

    fn start_up(&mut self, vector: u8) -> io::Result<()> {
        self.vcpu.start_up(vector);
        Ok(())
    }

    fn set_apic_base(&mut self, base: u64) -> io::Result<()> {
        self.vcpu.set_apic_base(base);
        Ok(())
    }

    fn tsc_hz(&self) -> u64 {
        TSC_HZ
    }

    fn tsc(&self) -> u64 {
        self.pace.catch_up(self.vcpu.executed());
        self.vcpu.tsc()
    }

    fn tsc_is_exact(&self) -> bool {
        true
    }

    fn instructions(&self) -> Option<u64> {
        Some(self.vcpu.executed())
    }

    fn describe(&self) -> String {
        regs::describe(&self.vcpu)
    }
}
