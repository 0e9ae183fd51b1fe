// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A device's side and a machine's side of its interrupts: a shared PCI INTx line with resample,
//! and MSI-X.
//!
//! `cargo run -p irq-routing --example device_interrupts`

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use irq_routing::msix::CONTROL_ENABLE;
use irq_routing::{
    ConnectError, Delivery, GroupError, Gsi, InterruptSourceGroup, LegacyGroup, LineBackend, Msi,
    MsiBackend, MsiFormat, MsixGroup, Pin, Resample, RouteTable, Router, SourceId, Targets,
    TriggerMode,
};

/// The chips behind the router: a real machine calls `PicPair::set_irq` and `IoApic::set_irq`.
#[derive(Default)]
struct Chips {
    levels: Vec<(Pin, bool)>,
}

impl Targets for Chips {
    fn pic(&mut self, pin: u8, level: bool) -> Delivery {
        self.levels.push((Pin::Pic(pin), level));
        Delivery::Delivered(1)
    }
    fn ioapic(&mut self, pin: u8, level: bool) -> Delivery {
        self.levels.push((Pin::IoApic(pin), level));
        Delivery::Delivered(1)
    }
    fn msi(&mut self, msi: Msi) -> Delivery {
        println!("  a GSI routed to a message: {:#x}", msi.address);
        Delivery::Delivered(1)
    }
}

/// The machine: one lock for the router and the chips it drives, none for messages.
#[derive(Default)]
struct Machine {
    lines: Mutex<(Router, Chips)>,
}

/// What the crate asks of a machine that has lines.
impl LineBackend for Machine {
    type Notifier = Infallible;

    fn connect(&self, gsi: Gsi, resample: Resample) -> Result<SourceId, ConnectError> {
        self.lines.lock().unwrap().0.connect(gsi, resample)
    }
    fn disconnect(&self, source: SourceId, gsi: Gsi) {
        let (router, chips) = &mut *self.lines.lock().unwrap();
        router.disconnect(source, gsi, chips);
    }
    fn is_connected(&self, source: SourceId, gsi: Gsi) -> bool {
        self.lines.lock().unwrap().0.is_connected(source, gsi)
    }
    fn set_irq(&self, source: SourceId, gsi: Gsi, level: bool) -> Delivery {
        let (router, chips) = &mut *self.lines.lock().unwrap();
        router.set_irq(source, gsi, level, chips)
    }
    fn pulse(&self, source: SourceId, gsi: Gsi) -> Delivery {
        let (router, chips) = &mut *self.lines.lock().unwrap();
        router.pulse(source, gsi, chips)
    }
}

/// What the crate asks of a machine that has messages. `lapic_emulation::deliver_msi` is what to
/// call with a local APIC in user space, KVM_SIGNAL_MSI with one in the kernel.
impl MsiBackend for Machine {
    type Notifier = Infallible;

    fn send(&self, msi: Msi) -> Delivery {
        match msi.decode(MsiFormat::Xapic) {
            Ok(message) => {
                println!("  vector {:#x} to APIC {}", message.vector, message.destination);
                Delivery::Delivered(1)
            }
            Err(_) => Delivery::Ignored,
        }
    }
}

impl Machine {
    /// An IOAPIC pin's interrupt ended: who is to be asked? Called between `IoApic::eoi` and
    /// `IoApic::service`; the lock is not held while a device is asked.
    fn pin_ended(&self, pin: u8, mut ask: impl FnMut(Gsi, SourceId)) {
        {
            let (router, chips) = &mut *self.lines.lock().unwrap();
            router.eoi(Pin::IoApic(pin), chips);
        }
        loop {
            let next = self.lines.lock().unwrap().0.next_resample();
            let Some((gsi, source)) = next else { return };
            ask(gsi, source);
        }
    }
}

/// Two PCI functions on one INTx line, one of them passed through by eventfds, which can raise
/// and be told of an EOI, but not lower.
fn shared_line(machine: &Arc<Machine>) -> Result<(), GroupError> {
    let gsi = Gsi(10);
    let level = TriggerMode::Level;
    let nic = LegacyGroup::new(machine.clone(), gsi, level, Resample::Never)?;
    let passed_through = LegacyGroup::new(machine.clone(), gsi, level, Resample::Deassert)?;
    nic.enable()?;
    passed_through.enable()?;

    // The wire is the OR of both; both chips hear of it once.
    let _ = nic.trigger(0)?;
    assert_eq!(passed_through.trigger(0)?, Delivery::Coalesced);
    assert!(machine.lines.lock().unwrap().0.level(gsi));

    // The guest serves the NIC, which lowers its level itself; then the EOI takes the other
    // level away and asks for it.
    nic.deassert(0)?;
    let mut asked = 0;
    machine.pin_ended(10, |_, source| {
        assert_eq!(source, passed_through.source());
        let device_still_wants = false;
        let _ = passed_through.set_level(device_still_wants);
        asked += 1;
    });
    assert_eq!(asked, 1);
    let levels = core::mem::take(&mut machine.lines.lock().unwrap().1.levels);
    println!("line 10: {levels:?}");
    let both = |level| [(Pin::Pic(10), level), (Pin::IoApic(10), level)];
    assert_eq!(levels, [both(true), both(false)].concat());
    Ok(())
}

/// A device with two MSI-X vectors. Guest accesses to its table and capability go to the group.
fn message_signalled(machine: &Arc<Machine>) -> Result<(), GroupError> {
    println!("MSI-X:");
    let group = MsixGroup::new(machine.clone(), 2)?;
    let address: u32 = 0xfee0_0000 | 1 << 12;
    for (offset, dword) in [(16, address), (20, 0), (24, 0x51)] {
        group.write_table(offset, &dword.to_le_bytes())?;
    }
    group.set_control(CONTROL_ENABLE)?;

    // Raised while the entry is masked (as after reset): pending, not lost.
    assert_eq!(group.trigger(1)?, Delivery::Coalesced);
    let mut pending = [0];
    group.read_pba(0, &mut pending);
    assert_eq!(pending, [1 << 1]);
    // Unmasking sends it.
    group.write_table(28, &0u32.to_le_bytes())?;
    assert!(!group.is_pending(1)?);
    // From now on a trigger is one atomic load and a send.
    assert_eq!(group.trigger(1)?, Delivery::Delivered(1));
    Ok(())
}

fn main() -> Result<(), GroupError> {
    let router = Router::new(RouteTable::legacy(24));
    let machine = Arc::new(Machine { lines: Mutex::new((router, Chips::default())) });
    shared_line(&machine)?;
    message_signalled(&machine)?;
    println!("size_of Router: {} bytes, and 40 for each GSI", size_of::<Router>());
    Ok(())
}

#[test]
fn the_example_runs() {
    main().unwrap();
}
