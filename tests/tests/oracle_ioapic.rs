// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The IOAPIC: lines, register writes, EOIs and the local APIC behind it, KVM's and ours.
//!
//! After each step IOREGSEL, id, all entries (with remote IRR), `irr`, and the local APIC's IRR,
//! ISR and TMR are compared, and what was read or acknowledged.
//!
//! Where KVM deviates:
//! * `LatchedEdge`: an edge on a masked pin stays in KVM's `irr` while the line is up, also when
//!   the pin is unmasked, and is not sent then; in ours it is lost (82093AA, "Interrupt Mask").
//! * `HiddenLevel`: what `KVM_GET_IRQCHIP` leaves out of `irr` because it was sent as an edge, it
//!   leaves out also once the pin is level-triggered, where it matters.
//! * `InService`: a level that rises again before its EOI is "ignored" (-1) to KVM's caller, and
//!   coalesced to ours; both see it at the EOI. Asserted.
//! * `MergedTrigger`: an edge request that meets a level request for the same vector in the local
//!   APIC makes it an edge in KVM; in ours it stays level, so that an EOI is broadcast. Asserted.
//! * Reserved registers read as ones in KVM, as 0 in ours (82093AA lists none of them). Asserted.
//! * Pin 8: KVM counts the RTC's interrupts as coalesced until their EOI. Not used.

use integration::oracle::apics::{OurApics, NOW};
use integration::oracle::ioapics::{entries, KvmIoApic};
use integration::oracle::{compare, Random};
use ioapic::{Config, IoApic, PinSet, Version};
use irq_routing::{Delivery, InterruptMessage, MsiFormat, SourceId};
use lapic_emulation::spec::{reg, svr};
use lapic_emulation::{deliver, LapicState};

const BASE: u32 = 0xfec0_0000;
const EOI: u32 = 0xfee0_00b0;

#[derive(Clone, Copy, Debug)]
enum Step {
    Toggle(u8),
    /// IOREGSEL, then IOWIN.
    Write(u8, u32),
    Read(u8),
    /// The CPU takes an interrupt, if there is one.
    Acknowledge,
    /// The CPU writes the local APIC's EOI register.
    Eoi,
}

struct Pair<'a> {
    kvm: &'a mut KvmIoApic,
    ioapic: IoApic,
    apics: OurApics,
    source: SourceId,
    /// `HiddenLevel`: pins whose last edge was sent.
    sent_edges: u32,
}

impl Pair<'_> {
    fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Toggle(pin) => self.toggle(pin)?,
            Step::Write(index, value) => self.write(index, value),
            Step::Read(index) => self.read(index)?,
            Step::Acknowledge => self.acknowledge(),
            Step::Eoi => self.eoi(),
        }
        self.check()
    }

    /// Runs one action of ours, whose messages go to our local APIC.
    fn ours<T>(
        &mut self,
        action: impl FnOnce(&mut IoApic, &mut dyn FnMut(InterruptMessage) -> Delivery) -> T,
    ) -> T {
        let apics = &self.apics;
        let mut edges = Vec::new();
        let mut send = |message: InterruptMessage| {
            if !message.trigger_mode.is_level() {
                edges.push(message.vector);
            }
            deliver(&apics.map, &apics.posted, &message, |_| {})
        };
        let result = action(&mut self.ioapic, &mut send);
        self.apics.sync(0);
        // `MergedTrigger`: KVM's local APIC believes the later of two messages.
        for vector in edges {
            let (word, bit) = (usize::from(vector) / 64, 1u64 << (vector % 64));
            self.apics.edit(0, |state| state.tmr[word] &= !bit);
        }
        result
    }

    fn toggle(&mut self, pin: u8) -> Result<(), String> {
        let high = !self.ioapic.line(pin).expect("a pin").level();
        let source = self.source;
        let entry = self.ioapic.entry(pin).expect("a pin");
        if high && !entry.level() {
            let sent = u32::from(!entry.masked()) << pin;
            self.sent_edges = self.sent_edges & !(1 << pin) | sent;
        }
        let kvm = self.kvm.line(pin, high);
        let ours = self
            .ours(|ioapic, mut send| ioapic.set_irq(pin, source, high, &mut send).expect("a pin"));
        let agree = match ours {
            Delivery::Ignored => kvm < 0,
            // `InService`.
            Delivery::Coalesced => kvm == if entry.remote_irr() { -1 } else { 0 },
            Delivery::Delivered(n) => kvm == n as i32,
        };
        // KVM says 1 for a line that falls.
        if high && !agree {
            return Err(format!("line {pin}: KVM says {kvm}, ours {ours:?}"));
        }
        Ok(())
    }

    fn write(&mut self, index: u8, value: u32) {
        for (offset, value) in [(0, u32::from(index)), (0x10, value)] {
            self.kvm.cpu.store(BASE + offset, value);
            self.ours(|ioapic, mut send| {
                let pins = ioapic.write(offset.into(), &value.to_le_bytes(), &mut send);
                let _ = ioapic.service(pins, 0, &mut send);
            });
        }
    }

    fn read(&mut self, index: u8) -> Result<(), String> {
        self.kvm.cpu.store(BASE, index.into());
        self.ours(|ioapic, mut send| {
            let _: PinSet = ioapic.write(0, &u32::from(index).to_le_bytes(), &mut send);
        });
        let mut ours = [0; 4];
        self.ioapic.read(0x10, &mut ours);
        let (kvm, ours) = (self.kvm.cpu.load(BASE + 0x10), u32::from_le_bytes(ours));
        let reserved = !matches!(index, 0..=2 | 0x10..=0x3f);
        match kvm == ours || (reserved && (kvm, ours) == (!0, 0)) {
            true => Ok(()),
            false => {
                Err(format!("register {index:#x} reads {kvm:#x} from KVM, {ours:#x} from ours"))
            }
        }
    }

    /// The kernel's page is changed as its CPU would change it: a KVM without hardware help
    /// acknowledges on delivery and would not leave the vector in service.
    fn acknowledge(&mut self) {
        let Some(vector) = self.apics.lapics[0].pending() else { return };
        self.apics.lapics[0].accept(vector);
        self.kvm.set_lapic(&self.apics.lapics[0].kvm_state(self.apics.id_format, NOW));
    }

    fn eoi(&mut self) {
        self.kvm.cpu.store(EOI, 0);
        let Some(vector) = self.apics.lapics[0].eoi(&mut ()) else { return };
        self.ours(|ioapic, mut send| {
            let pins = ioapic.eoi(vector, &mut send);
            let _ = ioapic.service(pins, 0, &mut send);
        });
    }

    /// `LatchedEdge`, `HiddenLevel`.
    fn check_irr(&self, kvm: u32, ours: u32) -> Result<(), String> {
        let edge =
            |pin: u8| self.ioapic.entry(pin).is_some_and(|entry| !entry.level() && !entry.masked());
        let up = |pin: u8| self.ioapic.line(pin).is_some_and(|line| line.level());
        let latched =
            (0..24).filter(|pin| edge(*pin) && up(*pin)).fold(0, |set, pin| set | 1 << pin);
        match (kvm ^ ours) & !(latched & kvm) & !(self.sent_edges & ours) {
            0 => Ok(()),
            _ => Err(format!("irr: KVM {kvm:#x}, ours {ours:#x}")),
        }
    }

    fn check(&self) -> Result<(), String> {
        let (kvm, ours) = (self.kvm.state(), self.ioapic.kvm_state().expect("24 pins"));
        for (pin, (kvm, ours)) in entries(&kvm).into_iter().zip(entries(&ours)).enumerate() {
            if kvm != ours {
                return Err(format!("entry {pin}: KVM {kvm:#x}, ours {ours:#x}"));
            }
        }
        if (kvm.ioregsel, kvm.id) != (ours.ioregsel, ours.id) {
            return Err("IOREGSEL or id".into());
        }
        self.check_irr(kvm.irr, ours.irr)?;
        let mut differences = self.apics.differences(0, &self.kvm.lapic());
        differences.retain(|(offset, ..)| (reg::ISR..reg::ESR).contains(offset));
        match differences.is_empty() {
            true => Ok(()),
            false => Err(format!("local APIC: (offset, ours, KVM's) {differences:x?}")),
        }
    }
}

/// Pins that the scripts use: all but 8.
fn random_pin(random: &mut Random) -> u8 {
    random
        .pick(&[0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23])
}

fn random_step(random: &mut Random) -> Step {
    let pin = if random.one_in(2) { random.pick(&[4, 5, 9, 19, 21]) } else { random_pin(random) };
    match random.below(16) {
        0..=3 => Step::Write(0x10 + 2 * pin, random_low(random, pin)),
        4 => Step::Write(0x11 + 2 * pin, if random.one_in(2) { 0 } else { 0xff00_0000 }),
        5 => Step::Read(random.below(0x40) as u8),
        6..=10 => Step::Toggle(pin),
        11..=13 => Step::Acknowledge,
        _ => Step::Eoi,
    }
}

/// Fixed or lowest priority, each pin with a vector of its own but for 19 and 21, which share one and
/// are level-triggered (KVM sends an edge that is latched as above with the EOI of its vector).
fn random_low(random: &mut Random, pin: u8) -> u32 {
    let shared = matches!(pin, 19 | 21);
    let vector = if shared { 0x30 + 8 * 19 } else { 0x30 + 8 * pin };
    let mode = u32::from(random.one_in(3)) << 8;
    // Polarity, delivery status and remote IRR (read-only), trigger mode.
    let bits = random.bits() as u32 & 0xf000 | u32::from(shared) << 15;
    let masked = u32::from(random.one_in(3)) << 16;
    u32::from(vector) | mode | bits | masked
}

fn start(kvm: &mut KvmIoApic) -> Pair<'_> {
    (0..24).for_each(|pin| {
        kvm.line(pin, false);
    });
    let state = LapicState { svr: svr::RESET | svr::ENABLE, ..LapicState::default() };
    let apics = OurApics::new(&[state], MsiFormat::Xapic);
    // KVM's has no EOI register.
    let config = Config { version: Version::V11, ..Config::default() };
    let ioapic = IoApic::new(config).expect("the default configuration");
    kvm.set_lapic(&apics.lapics[0].kvm_state(apics.id_format, NOW));
    kvm.set_state(ioapic.kvm_state().expect("24 pins"));
    Pair { kvm, ioapic, apics, source: SourceId::new(0).expect("a source"), sent_edges: 0 }
}

#[test]
fn ioa_4_lines_registers_and_eois_match_kvm() {
    let seed = 0x82093;
    let (mut random, mut kvm) = (Random::new(seed), KvmIoApic::new());
    for round in 0..200 {
        let script: Vec<Step> = (0..120).map(|_| random_step(&mut random)).collect();
        compare(&format!("seed {seed:#x} round {round}"), script, |script| {
            let mut pair = start(&mut kvm);
            pair.check()?;
            script.iter().try_for_each(|step| pair.step(*step))
        });
    }
}
