// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The vCPUs as senders see them: post, then wake or kick whoever needs it.

use std::borrow::Borrow;
use std::sync::{Mutex, OnceLock};

use arc_swap::ArcSwap;
use irq_routing::{Delivery, InterruptMessage};
use lapic_emulation::{
    deliver, deliver_ipi, ApicMode, DestinationEntry, DestinationMap, Ipi, PostedInterrupts,
};
use vcpu_events::{Mailbox, Notify, Request};

use crate::kick::Target;
use crate::stats::SenderStats;
use crate::sync::lock;

/// One vCPU's atomics. Its thread owns everything else.
#[derive(Default)]
pub struct VcpuPort {
    /// Interrupts on their way to the local APIC.
    pub posted: PostedInterrupts,
    /// Requests to the thread, and where it is.
    pub mailbox: Mailbox,
    /// What senders count.
    pub stats: SenderStats,
    target: OnceLock<Target>,
}

impl VcpuPort {
    /// Called by the vCPU's thread before its first entry.
    pub fn attach(&self) {
        let _ = self.target.set(Target::current());
    }

    /// Interrupts a system call of the thread, wherever it is.
    pub fn interrupt(&self) {
        if let Some(target) = self.target.get() {
            target.kick();
        }
    }

    /// Makes a request and does what the mailbox says must be done.
    pub fn request(&self, request: Request) {
        let notify = self.mailbox.make_request(request);
        // Before it is attached the thread has yet to look at its requests for the first time.
        let Some(target) = self.target.get() else { return };
        match notify {
            Notify::None => {}
            Notify::Kick => {
                self.stats.kick();
                target.kick();
            }
            Notify::Wake => {
                self.stats.wake();
                target.wake();
            }
        }
    }
}

impl Borrow<PostedInterrupts> for VcpuPort {
    fn borrow(&self) -> &PostedInterrupts {
        &self.posted
    }
}

/// A set of vCPUs, at most 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuSet(u64);

impl CpuSet {
    /// Adds a vCPU.
    pub fn insert(&mut self, cpu: usize) {
        self.0 |= 1 << (cpu & 63);
    }

    /// Adds or removes a vCPU.
    pub(super) fn set(&mut self, cpu: usize, on: bool) {
        self.0 = self.0 & !(1 << (cpu & 63)) | u64::from(on) << (cpu & 63);
    }

    pub(super) fn first(self) -> Option<u32> {
        (self.0 != 0).then_some(self.0.trailing_zeros())
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        (0..64).filter(move |cpu| self.0 & 1 << cpu != 0)
    }
}

/// All vCPUs and the map that leads to them.
pub struct Vcpus {
    ports: Box<[VcpuPort]>,
    map: ArcSwap<DestinationMap>,
    /// What the map is built from.
    entries: Mutex<Vec<DestinationEntry>>,
}

impl Vcpus {
    pub(super) fn new(cpus: u32) -> Self {
        Vcpus {
            ports: (0..cpus).map(|_| VcpuPort::default()).collect(),
            map: ArcSwap::from_pointee(DestinationMap::new(&[])),
            entries: Mutex::new((0..cpus).map(absent).collect()),
        }
    }

    /// One vCPU's atomics.
    pub fn port(&self, cpu: usize) -> Option<&VcpuPort> {
        self.ports.get(cpu)
    }

    /// All of them.
    pub fn ports(&self) -> &[VcpuPort] {
        &self.ports
    }

    /// Posts to every target of `message` and adds those that must be notified.
    pub(super) fn post(&self, message: &InterruptMessage, notify: &mut CpuSet) -> Delivery {
        let map = self.map.load();
        deliver(&map, &self.ports, message, |cpu| notify.insert(cpu))
    }

    /// Carries out an ICR write of `source`.
    pub fn send_ipi(&self, source: usize, ipi: &Ipi) -> Delivery {
        let mut notify = CpuSet::default();
        let map = self.map.load();
        let delivery = deliver_ipi(&map, &self.ports, source, ipi, |cpu| notify.insert(cpu));
        drop(map);
        self.notify(notify);
        delivery
    }

    /// Makes each of them look at what was posted.
    pub(super) fn notify(&self, cpus: CpuSet) {
        for cpu in cpus.iter() {
            if let Some(port) = self.ports.get(cpu) {
                port.request(Request::Event);
            }
        }
    }

    pub(super) fn update_map(&self, cpu: usize, entry: DestinationEntry) {
        let mut entries = lock(&self.entries);
        if let Some(slot) = entries.get_mut(cpu) {
            *slot = entry;
        }
        // Under the lock, so that maps are swapped in the order of the changes.
        self.map.store(DestinationMap::new(&entries).into());
    }
}

/// A vCPU without a local APIC, or whose local APIC has not told its entry yet.
fn absent(id: u32) -> DestinationEntry {
    DestinationEntry { id, mode: ApicMode::Disabled, ldr: 0, dfr: !0, software_enabled: false }
}
