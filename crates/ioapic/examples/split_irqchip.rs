// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The IOAPIC of a split-irqchip VMM: KVM has the local APICs, this process the IOAPIC.
//! Redirection entries become MSIs (KVM_SIGNAL_MSI), EOIs come back as KVM_EXIT_IOAPIC_EOI.
//!
//! `cargo run -p ioapic --example split_irqchip --features kvm`
//!
//! With /dev/kvm the messages go into a real local APIC; without, they are printed.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::time::Instant;

use ioapic::{spec, Config, IoApic, IoApicEvents, PinSet, Rte};
use irq_routing::{
    Delivery, DeliveryMode, DestinationMode, Gsi, InterruptMessage, Msi, MsiFormat, Route,
    SourceId, Target, TriggerMode, BROADCAST,
};
use kvm_bindings::{
    kvm_enable_cap, kvm_irq_routing_entry, kvm_msi, KvmIrqRouting, KVM_CAP_SPLIT_IRQCHIP,
};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};

/// GSIs that KVM scans for EOI exits: one for each pin's vector, and one for the vector that it
/// had before, which may still be in service.
const RESERVED_GSIS: u64 = 48;

/// The two calls that an IOAPIC in user space needs.
trait Hypervisor {
    /// KVM_SIGNAL_MSI: how many local APICs took it.
    fn signal_msi(&self, msi: kvm_msi) -> io::Result<u32>;
    /// KVM_SET_GSI_ROUTING. A real VMM adds its devices' routes, from GSI 48 on.
    fn set_gsi_routing(&self, entries: &[kvm_irq_routing_entry]) -> io::Result<()>;
}

impl Hypervisor for VmFd {
    fn signal_msi(&self, msi: kvm_msi) -> io::Result<u32> {
        Ok(u32::try_from(VmFd::signal_msi(self, msi)?).unwrap_or(0))
    }
    fn set_gsi_routing(&self, entries: &[kvm_irq_routing_entry]) -> io::Result<()> {
        let routing =
            KvmIrqRouting::from_entries(entries).map_err(|_| io::ErrorKind::OutOfMemory)?;
        Ok(VmFd::set_gsi_routing(self, &routing)?)
    }
}

/// A level-triggered device that knows, when asked, whether it still wants service.
struct Device {
    pin: u8,
    source: SourceId,
    wants_service: AtomicBool,
}

/// The IOAPIC with its surroundings.
struct Chipset<H> {
    ioapic: Mutex<IoApic>,
    hypervisor: H,
    devices: Vec<Device>,
    start: Instant,
}

/// What the IOAPIC does to the world. A system call that never comes back into this process may
/// be made under the lock; a device may not be called from here.
struct Effects<'a, H> {
    hypervisor: &'a H,
    routes_changed: bool,
}

impl<H: Hypervisor> IoApicEvents for Effects<'_, H> {
    fn message(&mut self, message: InterruptMessage) -> Delivery {
        let msi = Msi::encode(&message, MsiFormat::Xapic).ok();
        let msi = msi.and_then(|msi| msi.to_kvm(MsiFormat::Xapic).ok());
        // 0: no local APIC took it. The pin then stays free, and `service` tries again.
        let taken = msi.and_then(|msi| self.hypervisor.signal_msi(msi).ok());
        Delivery::from_count(taken.unwrap_or(0))
    }

    fn routes_changed(&mut self) {
        self.routes_changed = true;
    }
}

impl<H: Hypervisor> Chipset<H> {
    /// A guest's store into the window at 0xfec00000 (KVM_EXIT_MMIO).
    fn mmio_write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let pins = self.with_ioapic(|ioapic, effects| ioapic.write(offset, data, effects))?;
        self.resample(pins)
    }

    /// KVM_EXIT_IOAPIC_EOI. Edge vectors do not come here.
    fn eoi_exit(&self, vector: u8) -> io::Result<()> {
        let pins = self.with_ioapic(|ioapic, effects| ioapic.eoi(vector, effects))?;
        self.resample(pins)
    }

    /// A device thread.
    fn set_irq(&self, device: &Device, level: bool) -> io::Result<Delivery> {
        device.wants_service.store(level, Ordering::SeqCst);
        let set = |ioapic: &mut IoApic, effects: &mut Effects<'_, H>| {
            ioapic.set_irq(device.pin, device.source, level, effects)
        };
        self.with_ioapic(set)?.map_err(io::Error::other)
    }

    /// Between the two steps of an EOI: ask, without the lock, then let the pins send again.
    /// Whoever forgets the second step has silenced these pins.
    fn resample(&self, pins: PinSet) -> io::Result<()> {
        for device in self.devices.iter().filter(|device| pins.contains(device.pin)) {
            let _ = self.set_irq(device, device.wants_service.load(Ordering::SeqCst))?;
        }
        let now = self.start.elapsed().as_nanos() as u64;
        let _ = self.with_ioapic(|ioapic, effects| ioapic.service(pins, now, effects))?;
        // The storm guard may hold a pin back: a timer for `next_deadline()`, which calls
        // `advance`, belongs here.
        Ok(())
    }

    fn with_ioapic<R>(
        &self,
        act: impl FnOnce(&mut IoApic, &mut Effects<'_, H>) -> R,
    ) -> io::Result<R> {
        let mut ioapic = self.ioapic.lock().unwrap();
        let mut effects = Effects { hypervisor: &self.hypervisor, routes_changed: false };
        let result = act(&mut ioapic, &mut effects);
        if effects.routes_changed {
            self.hypervisor.set_gsi_routing(&eoi_exits(&ioapic))?;
        }
        Ok(result)
    }
}

/// What tells KVM which EOIs must exit: a level-triggered MSI route for each level vector. Nothing
/// is ever sent through them, so they may address everyone.
fn eoi_exits(ioapic: &IoApic) -> Vec<kvm_irq_routing_entry> {
    let vectors = ioapic.level_vectors();
    let listed = (0..=255u8).filter(|v| vectors[usize::from(v >> 6)] & 1 << (v & 63) != 0);
    let message = |vector| InterruptMessage {
        destination: BROADCAST,
        destination_mode: DestinationMode::Physical,
        delivery_mode: DeliveryMode::Fixed,
        trigger_mode: TriggerMode::Level,
        vector,
    };
    let routes = listed.filter_map(|v| Msi::encode(&message(v), MsiFormat::Xapic).ok());
    let routes = (0..).zip(routes).map(|(n, msi)| Route { gsi: Gsi(n), target: Target::Msi(msi) });
    routes.filter_map(|route| route.to_kvm(MsiFormat::Xapic).ok()).collect()
}

fn chipset<H>(hypervisor: H) -> Chipset<H> {
    let device = Device { pin: 9, source: SourceId::FIRST, wants_service: AtomicBool::new(false) };
    Chipset {
        ioapic: Mutex::new(IoApic::new(Config::default()).expect("the default is legal")),
        hypervisor,
        devices: vec![device],
        start: Instant::now(),
    }
}

/// The life of one level interrupt whose device wants service twice.
fn level_interrupt<H: Hypervisor>(chipset: &Chipset<H>) -> io::Result<()> {
    // The guest: pin 9, level, vector 0x59, to APIC 0.
    let entry = Rte::new().with_vector(0x59).with_level(true).into_bits() as u32;
    chipset.mmio_write(spec::IOREGSEL, &0x22u32.to_le_bytes())?;
    chipset.mmio_write(spec::IOWIN, &entry.to_le_bytes())?;

    let device = &chipset.devices[0];
    assert_eq!(chipset.set_irq(device, true)?, Delivery::Delivered(1));
    assert_eq!(chipset.set_irq(device, true)?, Delivery::Coalesced);
    // The guest ends it without having served the device: sent again, once.
    chipset.eoi_exit(0x59)?;
    // Now it has.
    let _ = chipset.set_irq(device, false)?;
    chipset.eoi_exit(0x59)?;

    let ioapic = chipset.ioapic.lock().unwrap();
    let counters = ioapic.counters(9).expect("24 pins");
    println!("pin 9: sent {}, ended {}", counters.sent, counters.eois);
    assert_eq!((counters.sent, counters.eois, ioapic.unmatched_eois()), (2, 2, 0));
    Ok(())
}

/// A VM with a split irqchip and one vCPU whose local APIC the guest has enabled.
fn split_vm() -> io::Result<(VmFd, VcpuFd)> {
    let vm = Kvm::new()?.create_vm()?;
    let mut split = kvm_enable_cap { cap: KVM_CAP_SPLIT_IRQCHIP, ..Default::default() };
    split.args[0] = RESERVED_GSIS;
    vm.enable_cap(&split)?;
    let vcpu = vm.create_vcpu(0)?;
    let mut lapic = vcpu.get_lapic()?;
    lapic.regs[0xf1] |= 1; // SVR bit 8
    vcpu.set_lapic(&lapic)?;
    Ok((vm, vcpu))
}

/// A stand-in for KVM: prints, and counts what the guest would get.
struct Printer;

impl Hypervisor for Printer {
    fn signal_msi(&self, msi: kvm_msi) -> io::Result<u32> {
        println!("KVM_SIGNAL_MSI address {:#x} data {:#x}", msi.address_lo, msi.data);
        Ok(1)
    }
    fn set_gsi_routing(&self, entries: &[kvm_irq_routing_entry]) -> io::Result<()> {
        println!("KVM_SET_GSI_ROUTING: {} level vectors", entries.len());
        Ok(())
    }
}

fn main() -> io::Result<()> {
    println!("size_of IoApic: {} bytes, and its pins on the heap", size_of::<IoApic>());
    level_interrupt(&chipset(Printer))?;
    match Kvm::new() {
        Err(error) => println!("no /dev/kvm here ({error}): not tried there"),
        Ok(_) => {
            let (vm, vcpu) = split_vm()?;
            level_interrupt(&chipset(vm))?;
            // IRR's word for vectors 0x40..=0x5f.
            let irr = vcpu.get_lapic()?.regs[0x223] as u8;
            println!("KVM's local APIC: IRR[0x5f:0x58] = {irr:#x}");
            assert_eq!(irr, 1 << (0x59 - 0x58));
        }
    }
    Ok(())
}

#[test]
fn the_example_runs() {
    level_interrupt(&chipset(Printer)).unwrap();
}
