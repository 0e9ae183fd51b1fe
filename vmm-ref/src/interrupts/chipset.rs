// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What sits behind the one lock: routes and wires, the 8259A pair, the IOAPIC.

use ioapic::{IoApic, IoApicEvents, PinSet};
use irq_routing::wire::{OpenWires, Wire, WireChange, WireMode};
use irq_routing::{
    ConnectError, Delivery, Gsi, InterruptMessage, Msi, MsiFormat, Pin, Resample, RouteTable,
    Router, SourceId, Targets,
};
use legacy_pic::{Acknowledge, PicPair};

use super::vcpus::{CpuSet, Vcpus};
use crate::cli::Topology;
use crate::layout;
use crate::stats::LineStats;

/// IOAPIC pins.
pub const IOAPIC_PINS: u8 = 24;
/// The IOAPIC pin that INTR of the 8259A pair is wired to.
const VIRTUAL_WIRE_PIN: u8 = 0;

/// What a vCPU leaves open for the 8259A pair's INTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IntrWay {
    /// Nothing.
    #[default]
    Closed,
    /// It has no local APIC, or has disabled it.
    Direct,
    /// LINT0, as an unmasked ExtINT entry.
    Lint0,
}

/// The legacy interrupt controllers and the wires that lead to them.
pub struct Chipset {
    router: Router,
    chips: Chips,
    /// From the 8259A pair's INTR to the one who owns it.
    wire: Wire,
    /// vCPUs by what they leave open for INTR: no local APIC in between, or LINT0.
    direct: CpuSet,
    lint0: CpuSet,
    lines: Vec<LineStats>,
    /// What the storm guard's alarm is set to.
    deadline: Option<u64>,
}

struct Chips {
    pic: PicPair,
    ioapic: Option<IoApic>,
    /// Drives the IOAPIC's pins: the router has already OR-ed the devices.
    source: SourceId,
}

impl Chipset {
    /// Controllers after reset.
    pub fn new(topology: Topology) -> Self {
        let (table, ioapic) = match topology {
            Topology::PicOnly => (RouteTable::pic_only(), None),
            Topology::IoApic => {
                let config = ioapic::Config {
                    base: layout::IOAPIC,
                    pins: IOAPIC_PINS,
                    ..Default::default()
                };
                (RouteTable::legacy(IOAPIC_PINS), IoApic::new(config).ok())
            }
        };
        Chipset {
            router: Router::new(table),
            chips: Chips { pic: PicPair::new(), ioapic, source: SourceId::FIRST },
            wire: Wire::default(),
            direct: CpuSet::default(),
            lint0: CpuSet::default(),
            lines: vec![LineStats::default(); usize::from(IOAPIC_PINS)],
            deadline: None,
        }
    }

    pub(super) fn connect(&mut self, gsi: Gsi) -> Result<SourceId, ConnectError> {
        self.router.connect(gsi, Resample::Never)
    }

    pub(super) fn disconnect(
        &mut self,
        source: SourceId,
        gsi: Gsi,
        vcpus: &Vcpus,
        notify: &mut CpuSet,
    ) {
        self.router.disconnect(source, gsi, &mut Driver { chips: &mut self.chips, vcpus, notify });
    }

    pub(super) fn set_irq(
        &mut self,
        source: SourceId,
        gsi: Gsi,
        level: bool,
        vcpus: &Vcpus,
        notify: &mut CpuSet,
    ) -> Delivery {
        let mut driver = Driver { chips: &mut self.chips, vcpus, notify };
        let delivery = self.router.set_irq(source, gsi, level, &mut driver);
        if level {
            self.count(gsi, |line| line.raise(delivery));
        }
        delivery
    }

    pub(super) fn pulse(
        &mut self,
        source: SourceId,
        gsi: Gsi,
        vcpus: &Vcpus,
        notify: &mut CpuSet,
    ) -> Delivery {
        let mut driver = Driver { chips: &mut self.chips, vcpus, notify };
        let delivery = self.router.pulse(source, gsi, &mut driver);
        self.count(gsi, |line| line.raise(delivery));
        delivery
    }

    /// EOI in two steps: remote IRR is cleared and the sources get their say, then what is still
    /// asserted is sent again.
    pub(super) fn eoi(&mut self, vector: u8, now: u64, vcpus: &Vcpus, notify: &mut CpuSet) {
        let Some(ioapic) = &mut self.chips.ioapic else { return };
        let pins = ioapic.eoi(vector, &mut Poster { vcpus, notify });
        for pin in pins {
            self.end(Pin::IoApic(pin), vcpus, notify);
        }
        self.service(pins, now, vcpus, notify);
    }

    pub(super) fn inta(&mut self, vcpus: &Vcpus, notify: &mut CpuSet) -> Option<Acknowledge> {
        let acknowledge = self.chips.pic.acknowledge();
        // INTR falls with each acknowledge cycle, also when the next request raises it at once
        // (8259A, "Interrupt Sequence"): an edge-triggered pin needs that edge.
        let lowered = self.wire.set_intr(false);
        self.chips.carry(lowered, vcpus, notify);
        self.after_pic(vcpus, notify);
        acknowledge
    }

    pub(super) fn pic_read(
        &mut self,
        port: u16,
        data: &mut [u8],
        vcpus: &Vcpus,
        notify: &mut CpuSet,
    ) {
        // A wider access than a byte finds nobody, as an unclaimed port does.
        if self.chips.pic.read(port, data).is_err() {
            data.fill(0xff);
        }
        // A poll is an acknowledge cycle.
        self.after_pic(vcpus, notify);
    }

    pub(super) fn pic_write(&mut self, port: u16, data: &[u8], vcpus: &Vcpus, notify: &mut CpuSet) {
        if let Err(error) = self.chips.pic.write(port, data) {
            log::debug!("8259A: {error}");
        }
        self.after_pic(vcpus, notify);
    }

    pub(super) fn ioapic_read(&mut self, offset: u64, data: &mut [u8]) {
        match &mut self.chips.ioapic {
            Some(ioapic) => ioapic.read(offset, data),
            None => data.fill(0xff),
        }
    }

    pub(super) fn ioapic_write(
        &mut self,
        offset: u64,
        data: &[u8],
        now: u64,
        vcpus: &Vcpus,
        notify: &mut CpuSet,
    ) {
        let Some(ioapic) = &mut self.chips.ioapic else { return };
        let pins = ioapic.write(offset, data, &mut Poster { vcpus, notify });
        self.service(pins, now, vcpus, notify);
    }

    /// The storm guard's deadline, if it is another one than at the last call.
    pub(super) fn take_changed_deadline(&mut self) -> Option<Option<u64>> {
        let deadline = self.chips.ioapic.as_ref().and_then(IoApic::next_deadline);
        let changed = deadline != self.deadline;
        self.deadline = deadline;
        changed.then_some(deadline)
    }

    pub(super) fn advance(&mut self, now: u64, vcpus: &Vcpus, notify: &mut CpuSet) {
        if let Some(ioapic) = &mut self.chips.ioapic {
            let _ = ioapic.advance(now, &mut Poster { vcpus, notify });
        }
    }

    /// Sends again what no local APIC took.
    pub(super) fn retry(&mut self, now: u64, vcpus: &Vcpus, notify: &mut CpuSet) {
        self.service(PinSet::ALL, now, vcpus, notify);
    }

    /// How INTR gets to this vCPU from now on.
    pub(super) fn set_intr_way(&mut self, cpu: usize, way: IntrWay) {
        self.direct.set(cpu, way == IntrWay::Direct);
        self.lint0.set(cpu, way == IntrWay::Lint0);
    }

    /// Carries INTR to who owns the wire now. Returns the vCPU at which it is high, if it is one.
    pub(super) fn drive_intr(&mut self, vcpus: &Vcpus, notify: &mut CpuSet) -> Option<usize> {
        let intr = self.chips.pic.intr();
        let open = OpenWires {
            intr: self.direct.first(),
            lint0: self.lint0.first(),
            ioapic: self.chips.extint_pin(),
        };
        // A request that is gone does not move to the next owner.
        let lowered = self.wire.set_intr(self.wire.intr() && intr);
        self.chips.carry(lowered, vcpus, notify);
        let moved = self.wire.update(open);
        self.chips.carry(moved, vcpus, notify);
        let raised = self.wire.set_intr(intr);
        self.chips.carry(raised, vcpus, notify);
        match self.wire.asserted()? {
            WireMode::Intr { cpu } | WireMode::Lint0 { cpu } => Some(cpu as usize),
            WireMode::IoApic { .. } | WireMode::Closed => None,
        }
    }

    pub(super) fn line_stats(&self) -> &[LineStats] {
        &self.lines
    }

    fn service(&mut self, pins: PinSet, now: u64, vcpus: &Vcpus, notify: &mut CpuSet) {
        if let Some(ioapic) = &mut self.chips.ioapic {
            let _ = ioapic.service(pins, now, &mut Poster { vcpus, notify });
        }
    }

    /// Tells the sources of the 8259A inputs whose service ended.
    fn after_pic(&mut self, vcpus: &Vcpus, notify: &mut CpuSet) {
        let ended = self.chips.pic.drain_eoi();
        for pin in (0..16).filter(|pin| ended & 1 << pin != 0) {
            self.end(Pin::Pic(pin), vcpus, notify);
        }
    }

    fn end(&mut self, pin: Pin, vcpus: &Vcpus, notify: &mut CpuSet) {
        let _ = self.router.eoi(pin, &mut Driver { chips: &mut self.chips, vcpus, notify });
        let gsis = self.router.table().gsis(pin);
        for gsi in gsis {
            if let Some(line) = self.lines.get_mut(gsi.0 as usize) {
                line.eoi += 1;
            }
        }
    }

    fn count(&mut self, gsi: Gsi, count: impl FnOnce(&mut LineStats)) {
        if let Some(line) = self.lines.get_mut(gsi.0 as usize) {
            count(line);
        }
    }
}

impl Chips {
    /// The pin behind INTR, while its entry is an open virtual wire.
    fn extint_pin(&self) -> Option<u8> {
        let ioapic = self.ioapic.as_ref()?;
        ioapic.extint_pin(VIRTUAL_WIRE_PIN).then_some(VIRTUAL_WIRE_PIN)
    }

    /// Shows the IOAPIC its end of the wire; the vCPUs look at theirs.
    fn carry(&mut self, change: WireChange, vcpus: &Vcpus, notify: &mut CpuSet) {
        let Some(ioapic) = &mut self.ioapic else { return };
        let poster = &mut Poster { vcpus, notify };
        for (end, level) in [(change.lowered, false), (change.raised, true)] {
            if let Some(WireMode::IoApic { pin }) = end {
                // The pin is the one that was open.
                let _ = ioapic.set_irq(pin, self.source, level, poster);
            }
        }
    }
}

/// The router's chips, with the way out for their messages.
struct Driver<'a> {
    chips: &'a mut Chips,
    vcpus: &'a Vcpus,
    notify: &'a mut CpuSet,
}

impl Targets for Driver<'_> {
    fn pic(&mut self, pin: u8, level: bool) -> Delivery {
        self.chips.pic.set_irq(pin, level).unwrap_or(Delivery::Ignored)
    }

    fn ioapic(&mut self, pin: u8, level: bool) -> Delivery {
        let poster = &mut Poster { vcpus: self.vcpus, notify: self.notify };
        match &mut self.chips.ioapic {
            Some(ioapic) => {
                let source = self.chips.source;
                ioapic.set_irq(pin, source, level, poster).unwrap_or(Delivery::Ignored)
            }
            None => Delivery::Ignored,
        }
    }

    fn msi(&mut self, msi: Msi) -> Delivery {
        match msi.decode(MsiFormat::Xapic) {
            Ok(message) => self.vcpus.post(&message, self.notify),
            Err(error) => {
                log::warn!("{error}");
                Delivery::Ignored
            }
        }
    }
}

/// Posts the IOAPIC's messages; notifying comes after the lock.
struct Poster<'a> {
    vcpus: &'a Vcpus,
    notify: &'a mut CpuSet,
}

impl IoApicEvents for Poster<'_> {
    fn message(&mut self, message: InterruptMessage) -> Delivery {
        self.vcpus.post(&message, self.notify)
    }
}
