// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What is benchmarked: CPUs with their maps and descriptors, and a board with the legacy chips.

use ioapic::{spec, IoApic, PinSet, Rte};
use irq_routing::{
    Delivery, DeliveryMode, DestinationMode, Gsi, InterruptMessage, Msi, Pin, Resample, RouteTable,
    Router, SourceId, Targets, TriggerMode,
};
use lapic_emulation::{
    deliver, ApicMode, Config, DestinationMap, Ipi, Lapic, LapicEvents, Now, PostedInterrupts,
};
use legacy_pic::PicPair;

pub const NOW: Now = Now { ns: 0, tsc: 0 };

/// A message to one APIC id.
pub fn fixed(destination: u32, vector: u8) -> InterruptMessage {
    InterruptMessage {
        destination,
        destination_mode: DestinationMode::Physical,
        delivery_mode: DeliveryMode::Fixed,
        trigger_mode: TriggerMode::Edge,
        vector,
    }
}

/// n CPUs that run, with software-enabled APICs in one mode.
pub struct Machine {
    pub lapics: Vec<Lapic>,
    pub posted: Vec<PostedInterrupts>,
    pub map: DestinationMap,
}

impl Machine {
    pub fn new(vcpus: usize, mode: ApicMode) -> Self {
        let lapics: Vec<Lapic> = (0..vcpus as u32).map(|id| running(id, mode)).collect();
        let entries: Vec<_> = lapics.iter().map(Lapic::destination_entry).collect();
        let posted = (0..vcpus).map(|_| PostedInterrupts::new()).collect();
        Machine { lapics, posted, map: DestinationMap::new(&entries) }
    }

    /// The owner's part: sync, look, accept, EOI. Returns the vector that was broadcast.
    pub fn take_and_end(&mut self, vcpu: usize) -> (Option<u8>, Option<u8>) {
        let lapic = &mut self.lapics[vcpu];
        let _ = lapic.sync(&self.posted[vcpu]);
        let vector = lapic.pending();
        if let Some(vector) = vector {
            lapic.accept(vector);
        }
        (vector, lapic.eoi(&mut ()))
    }
}

fn running(id: u32, mode: ApicMode) -> Lapic {
    // Every CPU a BSP: none waits for a start-up IPI.
    let mut lapic = Lapic::new(Config { id, ..Config::default() }).unwrap();
    let logical = 1u32 << (24 + id % 8);
    for (register, value) in [(0xf0, 0x1ff), (0xd0, logical)] {
        lapic.mmio_write(register, &value.to_le_bytes(), NOW, &mut ());
    }
    if mode == ApicMode::X2apic {
        let base = lapic.apic_base() | 1 << 10;
        lapic.msr_write(0x1b, base, NOW, &mut ()).unwrap();
    }
    lapic
}

/// One CPU behind a GSI table, an IOAPIC and an 8259A pair.
pub struct Board {
    router: Router,
    source: SourceId,
    chips: Chips,
    cpu: Machine,
}

struct Chips {
    pic: PicPair,
    ioapic: IoApic,
    messages: Messages,
}

/// Where the IOAPIC's messages wait until the lock would be released.
#[derive(Default)]
struct Messages {
    waiting: Option<InterruptMessage>,
}

impl ioapic::IoApicEvents for Messages {
    fn message(&mut self, message: InterruptMessage) -> Delivery {
        self.waiting = Some(message);
        Delivery::Delivered(1)
    }
}

impl Targets for Chips {
    fn pic(&mut self, pin: u8, level: bool) -> Delivery {
        self.pic.set_irq(pin, level).unwrap_or(Delivery::Ignored)
    }
    fn ioapic(&mut self, pin: u8, level: bool) -> Delivery {
        self.ioapic
            .set_irq(pin, SourceId::FIRST, level, &mut self.messages)
            .unwrap_or(Delivery::Ignored)
    }
    fn msi(&mut self, _msi: Msi) -> Delivery {
        Delivery::Ignored
    }
}

/// The last level vector that the guest ended.
#[derive(Default)]
struct Eoi(Option<u8>);

impl LapicEvents for Eoi {
    fn ipi(&mut self, _ipi: Ipi) {}
    fn eoi_broadcast(&mut self, vector: u8) {
        self.0 = Some(vector);
    }
    fn map_changed(&mut self) {}
}

const GSI: Gsi = Gsi(4);

impl Board {
    pub fn new(level: bool) -> Self {
        let mut router = Router::new(RouteTable::legacy(24));
        let source = router.connect(GSI, Resample::Never).unwrap();
        let mut chips = Chips {
            pic: PicPair::new(),
            ioapic: IoApic::new(ioapic::Config::default()).unwrap(),
            messages: Messages::default(),
        };
        for (port, byte) in [(0x20, 0x11), (0x21, 0x30), (0x21, 0x04), (0x21, 0x01)] {
            chips.pic.write(port, &[byte]).unwrap();
        }
        let entry = Rte::new().with_vector(0x41).with_level(level).into_bits() as u32;
        for (offset, value) in [(spec::IOREGSEL, 0x10 + 2 * GSI.0), (spec::IOWIN, entry)] {
            let _ = chips.ioapic.write(offset, &value.to_le_bytes(), &mut chips.messages);
        }
        Board { router, source, chips, cpu: Machine::new(1, ApicMode::Xapic) }
    }

    /// Line up, message, posting, acceptance; line down, EOI, its broadcast, both steps of it.
    pub fn interrupt(&mut self) -> Option<u8> {
        let Board { router, source, chips, cpu } = self;
        let _ = router.set_irq(*source, GSI, true, chips);
        if let Some(message) = chips.messages.waiting.take() {
            let _ = deliver(&cpu.map, &cpu.posted, &message, |_| {});
        }
        let lapic = &mut cpu.lapics[0];
        let _ = lapic.sync(&cpu.posted[0]);
        let vector = lapic.pending()?;
        lapic.accept(vector);
        let _ = router.set_irq(*source, GSI, false, chips);
        let mut ended = Eoi::default();
        let _ = lapic.eoi(&mut ended);
        if let Some(vector) = ended.0 {
            let pins = chips.ioapic.eoi(vector, &mut chips.messages);
            pins.iter().for_each(|pin| {
                router.eoi(Pin::IoApic(pin), chips);
            });
            let pins: PinSet = pins;
            let _ = chips.ioapic.service(pins, 0, &mut chips.messages);
        }
        Some(vector)
    }

    /// The same line by INTR and the acknowledge cycle, as on a machine without APICs.
    pub fn pic_interrupt(&mut self) -> Option<u8> {
        let Board { router, source, chips, .. } = self;
        let _ = router.set_irq(*source, GSI, true, chips);
        chips.messages.waiting = None;
        let vector = if chips.pic.intr() { chips.pic.inta() } else { None };
        let _ = router.set_irq(*source, GSI, false, chips);
        let _ = chips.pic.write(0x20, &[0x20]);
        vector
    }
}
