// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The vCPUs' threads: on every way out all of them end, and nobody goes on before they have.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use vcpu_events::Request;

use super::{RoundRobin, VcpuThread};
use crate::backend::Vcpu;
use crate::devices::serial::OutputStop;
use crate::interrupts::Interrupts;
use crate::stats::VcpuStats;

/// The threads of one machine: one for each vCPU, or one for all of them. Dropping it ends them.
///
/// They run guest code that reaches guest memory through the hypervisor, so that memory must
/// outlive this.
pub struct VcpuThreads {
    interrupts: Arc<Interrupts>,
    serial_stop: OutputStop,
    threads: Vec<VcpuHandle>,
}

/// What a thread's vCPUs counted, or what it panicked with.
type Counted = thread::Result<Vec<VcpuStats>>;

struct VcpuHandle {
    /// The first of its vCPUs, or the only one.
    cpu: usize,
    handle: JoinHandle<Vec<VcpuStats>>,
}

impl VcpuThreads {
    /// No thread yet. `serial_stop` ends the wait of one that writes to the serial port.
    pub fn new(interrupts: Arc<Interrupts>, serial_stop: OutputStop) -> Self {
        VcpuThreads { interrupts, serial_stop, threads: Vec::new() }
    }

    /// Starts the next vCPU: they come in the order of their indices.
    ///
    /// # Errors
    /// If the host has no thread left.
    pub fn start<B: Vcpu + 'static>(&mut self, vcpu: VcpuThread<B>) -> io::Result<()> {
        let cpu = self.threads.len();
        let thread = thread::Builder::new().name(format!("vcpu{cpu}"));
        let handle = thread.spawn(move || vec![vcpu.run()])?;
        self.threads.push(VcpuHandle { cpu, handle });
        Ok(())
    }

    /// Starts the one thread of all vCPUs.
    ///
    /// # Errors
    /// If the host has no thread left.
    pub fn start_all<B: Vcpu + 'static>(&mut self, vcpus: RoundRobin<B>) -> io::Result<()> {
        let handle = thread::Builder::new().name("vcpus".into()).spawn(move || vcpus.run())?;
        self.threads.push(VcpuHandle { cpu: 0, handle });
        Ok(())
    }

    /// Ends all threads. What each one's vCPUs counted, or what it panicked with.
    pub fn end(mut self) -> Vec<Counted> {
        self.stop()
    }

    fn stop(&mut self) -> Vec<Counted> {
        let ports = self.interrupts.vcpus().ports();
        self.serial_stop.set();
        for port in ports {
            port.request(Request::VmDead);
        }
        self.threads
            .drain(..)
            .map(|VcpuHandle { cpu, handle }| {
                // One that waits in a system call of its own is not in the guest, so that the
                // mailbox calls for no signal. And one signal may come just before that call.
                let mut wait = Duration::from_micros(100);
                while !handle.is_finished() {
                    if let Some(port) = ports.get(cpu) {
                        port.interrupt();
                    }
                    thread::sleep(wait);
                    wait = (wait * 2).min(Duration::from_millis(20));
                }
                handle.join()
            })
            .collect()
    }
}

impl Drop for VcpuThreads {
    fn drop(&mut self) {
        // Whoever wants to know about panics calls `end`.
        let _ = self.stop();
    }
}
