// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The vCPU loop against a scripted backend: each test is a row of exits and what the loop made of
//! them.

mod events;
pub(crate) mod fake;
mod interrupts;
mod round_robin;
mod threads;

use std::sync::Arc;

use irq_routing::{DeliveryMode, DestinationMode, Gsi, InterruptMessage, TriggerMode};
use vm_device::bus::PioAddress;
use vm_device::DevicePio;

use super::{Local, LocalConfig, Step, VcpuThread};
use crate::bus::Bus;
use crate::cli::Topology;
use crate::clock::monotonic_ns;
use crate::control::Control;
use crate::devices::{IrqLine, SharedClock};
use crate::interrupts::{DeviceLine, Interrupts, PicPorts, VcpuPort};
use crate::kick::{self, KickTimer};
use fake::{Back, Call, Fake, Script, RUN, RUN_FOR_WINDOW};

/// One vCPU, stepped by the test on its own thread.
struct Rig {
    vcpu: VcpuThread<Fake>,
    script: Arc<Script>,
    interrupts: Arc<Interrupts>,
    control: Arc<Control>,
    timer: KickTimer,
}

impl Rig {
    /// The bootstrap processor of a machine with APICs: virtual wire, software-enabled.
    fn bsp() -> Self {
        Self::new(Topology::IoApic, 0)
    }

    /// An application processor: waits for its SIPI.
    fn ap() -> Self {
        Self::new(Topology::IoApic, 1)
    }

    /// The CPU of a machine without APICs.
    fn pic_only() -> Self {
        Self::new(Topology::PicOnly, 0)
    }

    fn new(topology: Topology, cpu: usize) -> Self {
        Self::with_bus(topology, cpu, bus)
    }

    fn with_bus(topology: Topology, cpu: usize, bus: impl FnOnce(&Arc<Interrupts>) -> Bus) -> Self {
        kick::install_handler().unwrap();
        let clock: SharedClock = Arc::new(monotonic_ns);
        let interrupts = Interrupts::new(topology, 2, clock.clone());
        let lapic = (topology == Topology::IoApic).then(|| lapic_emulation::Config {
            id: cpu as u32,
            bsp: cpu == 0,
            ..Default::default()
        });
        let local = Local::new(LocalConfig { cpu, lapic, clock, trace: None }).unwrap();
        if let Some(entry) = local.destination_entry() {
            interrupts.update_map(cpu, entry);
        }
        let script = Arc::new(Script::default());
        let control = Control::new().unwrap();
        let bus = Arc::new(bus(&interrupts));
        let backend = Fake::new(&script);
        let mut vcpu = VcpuThread::new(backend, local, interrupts.clone(), bus, control.clone());
        vcpu.tell_base().unwrap();
        let base = 0xfee0_0800 | if cpu == 0 { 0x100 } else { 0 };
        let expected = if topology == Topology::IoApic { base } else { 0 };
        assert_eq!(script.take(), [Call::Base(expected)]);
        Rig { vcpu, script, interrupts, control, timer: KickTimer::new().unwrap() }
    }

    /// Once around the loop; what it asked of the backend.
    fn step(&mut self) -> Vec<Call> {
        let (_, calls) = self.try_step();
        calls
    }

    /// As [`Rig::step`], on to the next entry: a request of the vCPU to itself comes in between.
    fn step_to_entry(&mut self) -> Vec<Call> {
        let mut calls = Vec::new();
        while !calls.iter().any(|call| matches!(call, Call::Run { .. })) {
            calls.extend(self.step());
        }
        calls
    }

    fn try_step(&mut self) -> (std::io::Result<Step>, Vec<Call>) {
        let interrupts = self.interrupts.clone();
        let port: &VcpuPort = interrupts.vcpus().port(self.vcpu.local.cpu()).unwrap();
        let step = self.vcpu.step(port, &mut self.timer);
        (step, self.script.take())
    }

    /// The guest leaves with this exit, able to take an interrupt.
    fn exit_open(&mut self, back: Back) -> Vec<Call> {
        self.script.push(true, back);
        self.step()
    }

    /// The guest leaves with this exit, with interrupts off.
    fn exit_closed(&mut self, back: Back) -> Vec<Call> {
        self.script.push(false, back);
        self.step()
    }

    fn send(&self, message: InterruptMessage) {
        let _ = self.interrupts.send(message);
    }

    /// A fixed, edge-triggered vector to this vCPU.
    fn send_vector(&self, vector: u8) {
        self.send(self.message(DeliveryMode::Fixed, vector));
    }

    fn message(&self, delivery_mode: DeliveryMode, vector: u8) -> InterruptMessage {
        message_to(self.vcpu.local.cpu(), delivery_mode, vector)
    }

    /// Writes a port of the 8259A pair as another CPU would.
    fn pic(&self, port: u16, value: u8) {
        PicPorts(self.interrupts.clone()).pio_write(PioAddress(port), 0, &[value]);
    }

    /// Initialises the pair: vectors 0x20 and 0x28, all but IRQ 0 to 3 masked.
    fn init_pic(&self, icw4: u8) {
        for (port, value) in [
            (0x20, 0x11),
            (0x21, 0x20),
            (0x21, 4),
            (0x21, icw4),
            (0xa0, 0x11),
            (0xa1, 0x28),
            (0xa1, 2),
            (0xa1, 1),
            (0x21, 0xf0),
            (0xa1, 0xff),
        ] {
            self.pic(port, value);
        }
    }

    fn pulse(&self, gsi: u32) {
        DeviceLine::connect(&self.interrupts, Gsi(gsi)).unwrap().pulse();
    }
}

fn message_to(cpu: usize, delivery_mode: DeliveryMode, vector: u8) -> InterruptMessage {
    InterruptMessage {
        destination: cpu as u32,
        destination_mode: DestinationMode::Physical,
        delivery_mode,
        trigger_mode: TriggerMode::Edge,
        vector,
    }
}

fn bus(interrupts: &Arc<Interrupts>) -> Bus {
    let mut bus = Bus::default();
    for (first, count) in [(0x20, 2), (0xa0, 2)] {
        bus.add_ports(first, count, Arc::new(PicPorts(interrupts.clone()))).unwrap();
    }
    bus
}
