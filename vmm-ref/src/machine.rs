// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The machine: memory, controllers, devices and vCPUs, put together from a [`VmConfig`] and run
//! until it ends.

use std::sync::Arc;

use anyhow::{anyhow, Context, Result};
use vm_memory::{GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

use crate::acpi::{self, AcpiConfig};
use crate::backend::{self, CpuidFacts, Vcpu, Vm};
use crate::board::{self, Board};
use crate::cli::{ClockChoice, Topology, VmConfig};
use crate::clock::TimeSource;
use crate::console::Console;
use crate::control::{Control, Ending};
use crate::devices::Clock;
use crate::interrupts::Interrupts;
use crate::kick;
use crate::layout;
use crate::loader::{self, MachineInfo};
use crate::main_loop;
use crate::stats::Report;
use crate::trace::Trace;
use crate::vcpu::{Local, LocalConfig, RoundRobin, VcpuThread, VcpuThreads};

/// A machine that is ready to run.
pub struct Machine {
    control: Arc<Control>,
    interrupts: Arc<Interrupts>,
    board: Board,
    vcpus: Vec<VcpuThread<Box<dyn Vcpu>>>,
    time: TimeSource,
    // The vCPUs belong to it.
    _vm: Box<dyn Vm>,
}

/// What outlives a machine: a guest that resets finds it again.
pub struct Host {
    /// The other end of its serial port.
    pub console: Console,
    /// Who hears of its interrupts.
    pub trace: Option<Arc<Trace>>,
}

/// How a machine ended.
pub struct Outcome {
    /// Why.
    pub ending: Ending,
    /// Where its interrupts went.
    pub report: Report,
}

impl Machine {
    /// Builds the machine on a backend and loads its guest.
    ///
    /// # Errors
    /// The chain says which part could not be had, and why.
    pub fn new(config: &VmConfig, kind: backend::Kind, host: &Host) -> Result<Self> {
        let time = match config.clock {
            ClockChoice::Host => TimeSource::Host,
            ClockChoice::Virtual => TimeSource::new_virtual(),
        };
        let memory = allocate(config.memory_bytes)?;
        let boot = load(config, &memory)?;
        let vm =
            backend::create(kind, &memory, &time).context("cannot create a virtual machine")?;
        log::info!("the backend forwards to us: {:?}", vm.forwarding());
        let control = Control::new().context("cannot create an event descriptor")?;
        let interrupts = Interrupts::new(config.topology, config.cpus, time.clock());
        let board = board::build(config, &interrupts, &control, &host.console, &time)?;
        let mut machine = Machine { control, interrupts, board, vcpus: Vec::new(), time, _vm: vm };
        for cpu in 0..config.cpus {
            let vcpu = machine
                .create_vcpu(config, cpu, &boot, host.trace.clone())
                .with_context(|| format!("cannot create vCPU {cpu}"))?;
            machine.vcpus.push(vcpu);
        }
        Ok(machine)
    }

    fn create_vcpu(
        &self,
        config: &VmConfig,
        cpu: u32,
        boot: &loader::Boot,
        trace: Option<Arc<Trace>>,
    ) -> Result<VcpuThread<Box<dyn Vcpu>>> {
        let apic = config.topology == Topology::IoApic;
        let facts = CpuidFacts { apic_id: cpu, cpus: config.cpus, apic };
        let mut backend = self._vm.create_vcpu(facts)?;
        let forwarding = self._vm.forwarding();
        let lapic = apic.then(|| lapic_emulation::Config {
            id: cpu,
            bsp: cpu == 0,
            tsc_hz: backend.tsc_hz(),
            x2apic: forwarding.x2apic && forwarding.apic_base,
            tsc_deadline: forwarding.tsc_deadline,
            physical_address_bits: self._vm.physical_address_bits(),
            ..Default::default()
        });
        let clock = self.time.clock();
        let local = Local::new(LocalConfig { cpu: cpu as usize, lapic, clock, trace })?;
        if let Some(entry) = local.destination_entry() {
            self.interrupts.update_map(cpu as usize, entry);
        }
        match cpu {
            0 => backend.set_boot_state(&boot.entry),
            _ => backend.init(),
        }
        .context("cannot set its registers")?;
        Ok(VcpuThread::new(
            backend,
            local,
            self.interrupts.clone(),
            self.board.bus.clone(),
            self.control.clone(),
        ))
    }

    /// Runs until the machine ends, for whatever reason; then every thread of it is gone.
    ///
    /// # Errors
    /// If the host has no threads or descriptors left.
    pub fn run(self, signals: &EventFd, host: &Host) -> Result<Outcome> {
        kick::install_handler().context("cannot install the kick signal's handler")?;
        let Machine { control, interrupts, board, vcpus, time, _vm } = self;
        let Board { timed, serial_stop, .. } = board;
        // Declared after the machine's parts, so dropped, and its threads ended, before them.
        let mut threads = VcpuThreads::new(interrupts.clone(), serial_stop);
        let timed = match &time {
            TimeSource::Host => {
                for vcpu in vcpus {
                    threads.start(vcpu).context("cannot start a vCPU's thread")?;
                }
                timed
            }
            TimeSource::Virtual(clock) => {
                let input = host.console.input().context("cannot read standard input")?;
                let clock = clock.clone();
                let (interrupts, control) = (interrupts.clone(), control.clone());
                let all = RoundRobin { vcpus, clock, interrupts, control, timed, input };
                threads.start_all(all).context("cannot start the vCPUs' thread")?;
                Vec::new()
            }
        };
        let ending = main_loop::run(&control, signals, timed);
        let counted = threads.end();
        let ending = ending.context("the main loop failed")?;
        // A vCPU's thread may have panicked since.
        let ending = control.ending().unwrap_or(ending);
        let mut report = Report { lines: interrupts.line_stats(), ..Report::default() };
        // What one that panicked counted is lost, and nobody asks for the others' then.
        let counted: Vec<_> = counted.into_iter().collect::<Result<_, _>>().unwrap_or_default();
        for own in counted.into_iter().flatten() {
            report.vcpus.push(interrupts.vcpu_report(report.vcpus.len(), own));
        }
        if let TimeSource::Virtual(clock) = time {
            let trace = host.trace.as_ref().map(|trace| trace.summary());
            report.virtual_time = trace.map(|trace| (clock.now(), trace));
        }
        Ok(Outcome { ending, report })
    }
}

fn allocate(bytes: u64) -> Result<GuestMemoryMmap> {
    let regions = layout::ram_regions(bytes);
    let ranges: Vec<_> =
        regions.iter().map(|(start, len)| (GuestAddress(*start), *len as usize)).collect();
    GuestMemoryMmap::from_ranges(&ranges)
        .map_err(|error| anyhow!("{error}"))
        .with_context(|| format!("cannot allocate {} MiB of guest memory", bytes >> 20))
}

fn load(config: &VmConfig, memory: &GuestMemoryMmap) -> Result<loader::Boot> {
    let topology = match config.topology {
        Topology::PicOnly => acpi::Topology::Pic,
        Topology::IoApic => acpi::Topology::IoApic(acpi::IoApic::default()),
    };
    let serial = config.serial != crate::cli::SerialMode::Off;
    // The one at port 0x64 can reset and no more: a driver would wait half a second for its answer.
    let i8042 = false;
    let tables = acpi::build(&AcpiConfig { topology, cpus: config.cpus, serial, i8042 })?;
    let rsdp = tables.write(memory).context("cannot place the ACPI tables")?;
    let initramfs = config.initramfs.as_deref();
    let info = MachineInfo { rsdp: Some(rsdp) };
    let boot = loader::load(memory, &config.kernel, initramfs, &config.cmdline, &info)
        .context("cannot load the guest")?;
    log::info!("guest: {:?} at {:#x?}, entry {:#x}", boot.kind, boot.kernel, boot.entry.rip);
    Ok(boot)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use vmm_sys_util::eventfd::EFD_NONBLOCK;

    use super::*;
    use crate::cli::Args;
    use crate::vcpu::tests::fake::{Back, Fake, Script};

    /// A machine of two vCPUs that do what is written in the scripts.
    fn machine(host: &Host, scripts: [&Arc<Script>; 2]) -> Machine {
        let args = ["vmm-ref", "--kernel", "none", "--cpus", "boot=2", "--serial", "off"];
        let config = Args::parse_from(args).config().unwrap();
        let time = TimeSource::Host;
        let vm = backend::create(backend::Kind::Soft, &allocate(1 << 20).unwrap(), &time).unwrap();
        let control = Control::new().unwrap();
        let interrupts = Interrupts::new(config.topology, config.cpus, time.clock());
        let board = board::build(&config, &interrupts, &control, &host.console, &time).unwrap();
        let vcpus = scripts.into_iter().enumerate().map(|(cpu, script)| {
            let lapic = lapic_emulation::Config { id: cpu as u32, ..Default::default() };
            let clock = time.clock();
            let local = LocalConfig { cpu, lapic: Some(lapic), clock, trace: None };
            let (local, backend) = (Local::new(local).unwrap(), Box::new(Fake::new(script)));
            let (bus, control) = (board.bus.clone(), control.clone());
            VcpuThread::new(backend as Box<dyn Vcpu>, local, interrupts.clone(), bus, control)
        });
        let vcpus = vcpus.collect();
        Machine { control, interrupts, board, vcpus, time, _vm: vm }
    }

    #[test]
    fn the_vcpu_whose_thread_panicked_is_named() {
        let host = Host { console: Console::new(), trace: None };
        let signals = EventFd::new(EFD_NONBLOCK).unwrap();
        let scripts = [Arc::<Script>::default(), Arc::default()];
        scripts[0].push(false, Back::Halt);
        scripts[1].push(false, Back::Panic);
        let machine = machine(&host, [&scripts[0], &scripts[1]]);
        let outcome = machine.run(&signals, &host).unwrap();
        let Ending::VcpuFailed { cpu, error, .. } = outcome.ending else { panic!() };
        assert_eq!((cpu, error.as_str()), (1, "its thread panicked"));
    }
}
