// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A KVM vCPU behind [`Vcpu`].

use std::io;

use kvm_bindings::kvm_run;
use kvm_ioctls::{VcpuExit, VcpuFd};

use super::{failed, inject, msr, regs};
use crate::backend::{Entry, Exit, GeneralProtection, Outcome, Vcpu};
use crate::loader;

/// One vCPU's file descriptor and its shared page.
pub struct KvmVcpu {
    fd: VcpuFd,
    run: RunPage,
}

/// The vCPU's shared page: mapped by, and valid as long as, the descriptor beside it.
struct RunPage(*mut kvm_run);

// SAFETY: the page is shared memory of this process; which thread looks at it does not matter,
// and `KvmVcpu` hands out access through `&mut self` alone.
unsafe impl Send for RunPage {}

impl KvmVcpu {
    pub(super) fn new(mut fd: VcpuFd) -> Self {
        let run = RunPage(fd.get_kvm_run());
        KvmVcpu { fd, run }
    }
}

impl Vcpu for KvmVcpu {
    fn kick_flag(&mut self) -> *mut u8 {
        // SAFETY: the page is mapped as long as `self.fd` lives; only an address is formed.
        unsafe { &raw mut (*self.run.0).immediate_exit }
    }

    fn run(&mut self, entry: Entry) -> io::Result<(Outcome, Exit<'_>)> {
        let run = self.fd.get_kvm_run();
        run.request_interrupt_window = u8::from(entry.interrupt_window);
        run.cr8 = u64::from(entry.cr8);
        let page = self.run.0;
        let exit = match self.fd.run() {
            Ok(exit) => translate(exit, page),
            Err(error) if [libc::EINTR, libc::EAGAIN].contains(&error.errno()) => {
                // SAFETY: the page is mapped as long as `self.fd` lives, and nothing borrows it here.
                unsafe { (*page).immediate_exit = 0 };
                Exit::Kicked
            }
            Err(error) => return Err(failed("KVM_RUN")(error)),
        };
        Ok((outcome(page), exit))
    }

    fn finish_read_msr(&mut self, value: Result<u64, GeneralProtection>) {
        // SAFETY: after KVM_EXIT_X86_RDMSR `msr` is the live member; all of it is plain numbers.
        let msr = unsafe { &mut self.fd.get_kvm_run().__bindgen_anon_1.msr };
        msr.error = value.is_err().into();
        msr.data = value.unwrap_or(0);
    }

    fn finish_write_msr(&mut self, result: Result<(), GeneralProtection>) {
        // SAFETY: after KVM_EXIT_X86_WRMSR `msr` is the live member; all of it is plain numbers.
        let msr = unsafe { &mut self.fd.get_kvm_run().__bindgen_anon_1.msr };
        msr.error = result.is_err().into();
    }

    fn inject_interrupt(&mut self, vector: u8) -> io::Result<()> {
        inject::interrupt(&self.fd, vector)
    }

    fn inject_nmi(&mut self) -> io::Result<()> {
        self.fd.nmi().map_err(failed("KVM_NMI"))
    }

    fn set_boot_state(&mut self, entry: &loader::Entry) -> io::Result<()> {
        regs::set_boot_state(&self.fd, entry).map_err(failed("setting the boot registers"))
    }

    fn init(&mut self) -> io::Result<()> {
        regs::init(&self.fd).map_err(failed("setting the registers for INIT"))
    }

    fn start_up(&mut self, vector: u8) -> io::Result<()> {
        regs::start_up(&self.fd, vector).map_err(failed("setting the registers for SIPI"))
    }

    fn set_apic_base(&mut self, base: u64) -> io::Result<()> {
        msr::write(&self.fd, msr::IA32_APIC_BASE, base)
            .map_err(failed("telling KVM IA32_APIC_BASE"))
    }

    fn tsc_hz(&self) -> u64 {
        u64::from(self.fd.get_tsc_khz().unwrap_or(0)) * 1000
    }

    fn tsc(&self) -> u64 {
        msr::read(&self.fd, msr::IA32_TSC).unwrap_or(0)
    }

    fn describe(&self) -> String {
        regs::describe(&self.fd)
    }
}

/// `run` is a vCPU's mapped page.
fn outcome(run: *const kvm_run) -> Outcome {
    // SAFETY: the page is mapped; KVM has written these fields at the exit, and what an exit
    // borrows of the page lies elsewhere.
    let (if_flag, ready, cr8) =
        unsafe { ((*run).if_flag, (*run).ready_for_interrupt_injection, (*run).cr8) };
    let (interrupt_flag, window_open) = (if_flag != 0, ready != 0);
    Outcome { interrupt_flag, window_open, cr8: cr8 as u8 & 0xf, nmi_blocked: false }
}

/// `run` is where `exit` was read from.
fn translate(exit: VcpuExit<'_>, run: *const kvm_run) -> Exit<'_> {
    match exit {
        VcpuExit::IoIn(port, data) => {
            // SAFETY: the exit reason is KVM_EXIT_IO, so `io` is the live member; `run` is the
            // mapped page, and the slice lies behind the structure, not in it.
            let size = unsafe { (*run).__bindgen_anon_1.io.size };
            Exit::PortRead { port, size, data }
        }
        VcpuExit::IoOut(port, data) => {
            // SAFETY: as for IoIn.
            let size = unsafe { (*run).__bindgen_anon_1.io.size };
            Exit::PortWrite { port, size, data }
        }
        VcpuExit::MmioRead(address, data) => Exit::MmioRead(address, data),
        VcpuExit::MmioWrite(address, data) => Exit::MmioWrite(address, data),
        VcpuExit::X86Rdmsr(msr) => Exit::ReadMsr(msr.index),
        VcpuExit::X86Wrmsr(msr) => Exit::WriteMsr(msr.index, msr.data),
        VcpuExit::Hlt => Exit::Halt,
        VcpuExit::IrqWindowOpen => Exit::InterruptWindow,
        VcpuExit::SetTpr => Exit::TprChanged,
        VcpuExit::Intr => Exit::Kicked,
        VcpuExit::Shutdown => Exit::TripleFault,
        VcpuExit::InternalError => {
            // SAFETY: the exit reason is KVM_EXIT_INTERNAL_ERROR: `internal` is the live member.
            let suberror = unsafe { (*run).__bindgen_anon_1.internal.suberror };
            Exit::Failed(internal_error(suberror))
        }
        VcpuExit::FailEntry(reason, cpu) => Exit::Failed(format!(
            "KVM could not enter the guest on host CPU {cpu}: hardware reason {reason:#x}"
        )),
        other => Exit::Failed(format!("KVM exit that nothing here asked for: {other:?}")),
    }
}

fn internal_error(suberror: u32) -> String {
    let what = match suberror {
        1 => "an instruction that KVM cannot emulate",
        2 => "an exception while another one was being delivered",
        3 => "an exit while an event was being delivered",
        4 => "an exit that KVM does not know",
        _ => "an unknown cause",
    };
    format!("KVM internal error {suberror}: {what}")
}
