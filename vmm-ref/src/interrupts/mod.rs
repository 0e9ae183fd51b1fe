// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Where the crates meet: lines and messages come in from devices, vCPUs are told.
//!
//! Legacy lines, the 8259A pair and the IOAPIC sit behind one lock ([`Chipset`]). Messages, MSI
//! and IPI alike, take none: the destination map is a snapshot, posting is atomic. Whom to wake
//! or kick is collected while the lock is held and acted upon after it is released.

mod chipset;
mod line;
mod ports;
mod vcpus;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use irq_routing::{ConnectError, Delivery, Gsi, InterruptMessage, SourceId};
use lapic_emulation::DestinationEntry;
use legacy_pic::Acknowledge;

use crate::alarm::Alarm;
use crate::cli::Topology;
use crate::devices::SharedClock;
use crate::stats::{LineStats, VcpuReport, VcpuStats};
use crate::sync::lock;
pub use chipset::{Chipset, IntrWay};
pub use line::DeviceLine;
pub use ports::{IoApicPage, PicPorts};
pub use vcpus::{CpuSet, VcpuPort, Vcpus};

/// No vCPU's index.
const NOBODY: usize = usize::MAX;

/// The interrupt side of a machine, shared by all its threads.
pub struct Interrupts {
    chipset: Mutex<Chipset>,
    vcpus: Vcpus,
    alarm: OnceLock<Arc<Alarm>>,
    clock: SharedClock,
    /// The vCPU at which the 8259A pair's INTR is high, or [`NOBODY`]: published so that it need
    /// not take the lock to see it.
    intr_at: AtomicUsize,
}

impl Interrupts {
    /// Controllers after reset, for `cpus` vCPUs.
    pub fn new(topology: Topology, cpus: u32, clock: SharedClock) -> Arc<Self> {
        Arc::new(Interrupts {
            chipset: Mutex::new(Chipset::new(topology)),
            vcpus: Vcpus::new(cpus),
            alarm: OnceLock::new(),
            clock,
            intr_at: AtomicUsize::new(NOBODY),
        })
    }

    /// Sets the level that one source drives onto a GSI.
    pub fn set_irq(&self, source: SourceId, gsi: Gsi, level: bool) -> Delivery {
        self.with_chipset(|chipset, notify| {
            chipset.set_irq(source, gsi, level, &self.vcpus, notify)
        })
    }

    /// Raises and lowers a source.
    pub fn pulse(&self, source: SourceId, gsi: Gsi) -> Delivery {
        self.with_chipset(|chipset, notify| chipset.pulse(source, gsi, &self.vcpus, notify))
    }

    /// Sends a message to the local APICs that it names.
    pub fn send(&self, message: InterruptMessage) -> Delivery {
        let mut notify = CpuSet::default();
        let delivery = self.vcpus.post(&message, &mut notify);
        self.vcpus.notify(notify);
        delivery
    }

    /// A local APIC's EOI broadcast.
    pub fn eoi(&self, vector: u8, now: u64) {
        self.with_chipset(|chipset, notify| chipset.eoi(vector, now, &self.vcpus, notify));
    }

    /// Whether INTR of the 8259A pair is high at this vCPU.
    pub fn intr(&self, cpu: usize) -> bool {
        self.intr_at.load(Ordering::Acquire) == cpu
    }

    /// How the 8259A pair's INTR gets to this vCPU from now on.
    pub fn set_intr_way(&self, cpu: usize, way: IntrWay) {
        self.with_chipset(|chipset, _| chipset.set_intr_way(cpu, way));
    }

    /// The CPU's acknowledge cycle; `None` if nothing asks for one any more and the pair is not
    /// initialised.
    pub fn inta(&self) -> Option<Acknowledge> {
        self.with_chipset(|chipset, notify| chipset.inta(&self.vcpus, notify))
    }

    fn connect(&self, gsi: Gsi) -> Result<SourceId, ConnectError> {
        self.chipset().connect(gsi)
    }

    fn disconnect(&self, source: SourceId, gsi: Gsi) {
        self.with_chipset(|chipset, notify| {
            chipset.disconnect(source, gsi, &self.vcpus, notify);
        });
    }

    fn pic_read(&self, port: u16, data: &mut [u8]) {
        self.with_chipset(|chipset, notify| chipset.pic_read(port, data, &self.vcpus, notify));
    }

    fn pic_write(&self, port: u16, data: &[u8]) {
        self.with_chipset(|chipset, notify| chipset.pic_write(port, data, &self.vcpus, notify));
    }

    fn ioapic_read(&self, offset: u64, data: &mut [u8]) {
        self.chipset().ioapic_read(offset, data);
    }

    fn ioapic_write(&self, offset: u64, data: &[u8]) {
        let now = self.clock.now();
        self.with_chipset(|chipset, notify| {
            chipset.ioapic_write(offset, data, now, &self.vcpus, notify);
        });
    }

    /// The timer for the IOAPIC's storm guard.
    pub fn set_alarm(&self, alarm: Arc<Alarm>) {
        let _ = self.alarm.set(alarm);
    }

    /// Lets the IOAPIC's storm guard go on.
    pub fn advance(&self, now: u64) {
        self.with_chipset(|chipset, notify| chipset.advance(now, &self.vcpus, notify));
    }

    /// The vCPUs, as senders see them.
    pub fn vcpus(&self) -> &Vcpus {
        &self.vcpus
    }

    /// A local APIC changed its id, mode or logical id.
    pub fn update_map(&self, cpu: usize, entry: DestinationEntry) {
        self.vcpus.update_map(cpu, entry);
        let now = self.clock.now();
        // Level interrupts that found no target are due again.
        self.with_chipset(|chipset, notify| chipset.retry(now, &self.vcpus, notify));
    }

    /// What happened on each line.
    pub fn line_stats(&self) -> Vec<LineStats> {
        self.chipset().line_stats().to_vec()
    }

    /// What a vCPU's thread and its senders counted together.
    pub fn vcpu_report(&self, cpu: usize, own: VcpuStats) -> VcpuReport {
        match self.vcpus.port(cpu) {
            Some(port) => VcpuReport::new(own, &port.stats),
            None => VcpuReport::default(),
        }
    }

    /// Runs `change` under the lock, publishes INTR, then notifies without the lock.
    fn with_chipset<T>(&self, change: impl FnOnce(&mut Chipset, &mut CpuSet) -> T) -> T {
        let mut notify = CpuSet::default();
        let mut chipset = self.chipset();
        let result = change(&mut chipset, &mut notify);
        let intr_at = chipset.drive_intr(&self.vcpus, &mut notify);
        let was = self.intr_at.swap(intr_at.unwrap_or(NOBODY), Ordering::AcqRel);
        // Under the lock, so that the last one set is the last one found.
        if let (Some(deadline), Some(alarm)) = (chipset.take_changed_deadline(), self.alarm.get()) {
            alarm.set(deadline);
        }
        drop(chipset);
        if let Some(cpu) = intr_at.filter(|cpu| *cpu != was) {
            notify.insert(cpu);
        }
        self.vcpus.notify(notify);
        result
    }

    /// A thread that panicked inside left the models consistent: they never unwind.
    fn chipset(&self) -> MutexGuard<'_, Chipset> {
        lock(&self.chipset)
    }
}
