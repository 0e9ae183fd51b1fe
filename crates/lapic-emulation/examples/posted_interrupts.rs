// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A local APIC for each vCPU thread, and everyone else posting: device threads, IPIs, the start
//! of the other CPUs.
//!
//! `cargo run -p lapic-emulation --example posted_interrupts`

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use irq_routing::{Delivery, Msi, MsiFormat};
use lapic_emulation::spec::reg;
use lapic_emulation::{
    deliver_ipi, deliver_msi, Config, DestinationEntry, DestinationMap, Ipi, Lapic, LapicEvents,
    Now, PostedInterrupts, StartState,
};

const VCPUS: usize = 4;
const SENDERS: usize = 3;
const MESSAGES: u32 = 10_000;
/// A device's vector whose handler on vCPU 0 interrupts all other CPUs.
const DEVICE: u8 = 0x41;
const IPI: u8 = 0xf1;

/// What all threads share. Sending takes the map's lock only to copy a pointer; `arc-swap` does
/// without.
struct Machine {
    posted: Vec<PostedInterrupts>,
    map: Mutex<Arc<DestinationMap>>,
    entries: Mutex<Vec<DestinationEntry>>,
    threads: OnceLock<Vec<Thread>>,
    delivered: AtomicU32,
    handled: AtomicU32,
    online: AtomicU32,
    stop: AtomicBool,
}

impl Machine {
    /// Wakes a vCPU thread that sleeps. `unpark` keeps: one that comes before `park` ends it. For
    /// a CPU that runs guest code, `vcpu_events::Mailbox` tells a kick from a wake.
    fn notify(&self, vcpu: usize) {
        if let Some(threads) = self.threads.get() {
            threads[vcpu].unpark();
        }
    }

    /// A device's message, from any thread.
    fn send_msi(&self, msi: Msi) {
        let map = self.map.lock().unwrap().clone();
        let sent = deliver_msi(&map, &self.posted, msi, MsiFormat::Xapic, |vcpu| self.notify(vcpu));
        self.count(sent.unwrap_or(Delivery::Ignored));
    }

    fn send_ipi(&self, source: usize, ipi: &Ipi) {
        let map = self.map.lock().unwrap().clone();
        self.count(deliver_ipi(&map, &self.posted, source, ipi, |vcpu| self.notify(vcpu)));
    }

    fn count(&self, delivery: Delivery) {
        if let Delivery::Delivered(targets) = delivery {
            self.delivered.fetch_add(targets, SeqCst);
        }
    }

    /// The guest moved or enabled a local APIC: build the next map and swap it in.
    fn publish(&self, vcpu: usize, entry: DestinationEntry) {
        let mut entries = self.entries.lock().unwrap();
        entries[vcpu] = entry;
        *self.map.lock().unwrap() = Arc::new(DestinationMap::new(&entries));
    }
}

/// One vCPU's events: where its local APIC's effects go.
struct Events<'a> {
    machine: &'a Machine,
    vcpu: usize,
    map_changed: bool,
}

impl LapicEvents for Events<'_> {
    fn ipi(&mut self, ipi: Ipi) {
        self.machine.send_ipi(self.vcpu, &ipi);
    }
    fn eoi_broadcast(&mut self, _vector: u8) {
        // A level-triggered interrupt ended: `IoApic::eoi`, the sources, `IoApic::service`.
    }
    fn map_changed(&mut self) {
        self.map_changed = true;
    }
}

/// One vCPU's thread with what it owns.
struct Vcpu<'a> {
    lapic: Lapic,
    events: Events<'a>,
}

impl<'a> Vcpu<'a> {
    fn new(machine: &'a Machine, vcpu: usize) -> Self {
        let config = Config { id: vcpu as u32, bsp: vcpu == 0, ..Config::default() };
        let lapic = Lapic::new(config).expect("a small id is legal");
        Vcpu { lapic, events: Events { machine, vcpu, map_changed: false } }
    }

    fn run(&mut self) {
        let machine = self.events.machine;
        if self.events.vcpu == 0 {
            self.guest_enables_apic();
            self.guest_starts_the_others();
        }
        while !machine.stop.load(SeqCst) {
            self.take_what_was_posted();
            while let Some(vector) = self.lapic.pending() {
                // Inject it; once the CPU has taken it:
                assert!(self.lapic.accept(vector));
                self.guest_handler(vector);
            }
            // A real vCPU sleeps until `next_deadline` at most and calls `advance` then.
            thread::park();
        }
    }

    /// `sync` comes before every look at `pending` and before the CPU sleeps.
    fn take_what_was_posted(&mut self) {
        let machine = self.events.machine;
        let synced = self.lapic.sync(&machine.posted[self.events.vcpu]);
        // NMIs and SMIs are reported once: hand them to `vcpu_events::Events`.
        assert_eq!((synced.nmi, synced.smi), (0, false));
        if synced.init && self.lapic.take_init(&mut self.events) {
            machine.handled.fetch_add(1, SeqCst); // ... and reset the CPU's registers
        }
        if self.lapic.start_state() == StartState::WaitForSipi {
            if let Some(page) = self.lapic.take_sipi() {
                assert_eq!(page, 0x10); // ... and start at page << 12 in real mode
                machine.handled.fetch_add(1, SeqCst);
                self.guest_enables_apic();
            }
        }
    }

    fn guest_handler(&mut self, vector: u8) {
        if vector == DEVICE {
            self.store(reg::ICR, 0x000c_4000 | u32::from(IPI)); // all but self
        }
        self.store(reg::EOI, 0);
        self.events.machine.handled.fetch_add(1, SeqCst);
    }

    fn guest_enables_apic(&mut self) {
        self.store(reg::SVR, 0x1ff);
        self.events.machine.online.fetch_add(1, SeqCst);
    }

    fn guest_starts_the_others(&mut self) {
        self.store(reg::ICR, 0x000c_4500); // INIT to all but self
        self.store(reg::ICR, 0x000c_4610); // start-up, page 0x10
    }

    /// A guest's store into its register page.
    fn store(&mut self, register: u16, value: u32) {
        let now = Now { ns: 0, tsc: 0 };
        self.lapic.mmio_write(register.into(), &value.to_le_bytes(), now, &mut self.events);
        if core::mem::take(&mut self.events.map_changed) {
            self.events.machine.publish(self.events.vcpu, self.lapic.destination_entry());
        }
    }
}

fn machine() -> Machine {
    let entry = |vcpu| {
        let config = Config { id: vcpu as u32, bsp: vcpu == 0, ..Config::default() };
        Lapic::new(config).expect("a small id is legal").destination_entry()
    };
    let entries: Vec<_> = (0..VCPUS).map(entry).collect();
    Machine {
        posted: (0..VCPUS).map(|_| PostedInterrupts::new()).collect(),
        map: Mutex::new(Arc::new(DestinationMap::new(&entries))),
        entries: Mutex::new(entries),
        threads: OnceLock::new(),
        delivered: AtomicU32::new(0),
        handled: AtomicU32::new(0),
        online: AtomicU32::new(0),
        stop: AtomicBool::new(false),
    }
}

/// One vector for each sender and CPU; the first sender's to vCPU 0 is `DEVICE`.
fn device_thread(machine: &Machine, sender: usize) {
    for n in 0..MESSAGES {
        let target = n % VCPUS as u32;
        let vector = match (sender, target) {
            (0, 0) => DEVICE,
            _ => 0x50 + sender as u32 as u8,
        };
        machine
            .send_msi(Msi { address: 0xfee0_0000 | u64::from(target) << 12, data: vector.into() });
    }
}

fn main() {
    let machine = &machine();
    let ready = &Barrier::new(VCPUS + 1);
    // What never comes is waited for no longer than this.
    let give_up = Instant::now() + Duration::from_secs(60);
    let until = |done: &dyn Fn() -> bool| {
        while !done() && Instant::now() < give_up {
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        let vcpu_thread = |vcpu| {
            move || {
                ready.wait();
                Vcpu::new(machine, vcpu).run();
            }
        };
        let vcpus: Vec<_> = (0..VCPUS).map(|vcpu| scope.spawn(vcpu_thread(vcpu))).collect();
        let threads = vcpus.iter().map(|handle| handle.thread().clone()).collect();
        let _ = machine.threads.set(threads);
        ready.wait();
        until(&|| machine.online.load(SeqCst) == VCPUS as u32);

        let senders: Vec<_> =
            (0..SENDERS).map(|n| scope.spawn(move || device_thread(machine, n))).collect();
        senders.into_iter().for_each(|sender| sender.join().unwrap());

        // Everything that was delivered is handled, exactly once.
        until(&|| machine.handled.load(SeqCst) == machine.delivered.load(SeqCst));
        machine.stop.store(true, SeqCst);
        (0..VCPUS).for_each(|vcpu| machine.notify(vcpu));
    });
    let delivered = machine.delivered.load(SeqCst);
    assert_eq!(machine.online.load(SeqCst), VCPUS as u32);
    assert_eq!(machine.handled.load(SeqCst), delivered);
    println!("{delivered} interrupts were delivered and handled, the others merged with them");
    println!("size_of Lapic: {} bytes", size_of::<Lapic>());
    println!("size_of PostedInterrupts: {} bytes", size_of::<PostedInterrupts>());
}

#[test]
fn the_example_runs() {
    main();
}
