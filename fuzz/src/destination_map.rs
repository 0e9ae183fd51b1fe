// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Who a message is for: the map against a search through all APICs, and delivery on top of it.

use irq_routing::msi::MsiFormat;
use irq_routing::{
    Delivery, DeliveryMode, DestinationMode, InterruptMessage, Msi, TriggerMode, BROADCAST,
};
use lapic_emulation::{
    deliver, deliver_ipi, deliver_msi, set_local_intr, ApicMode, DestinationEntry, DestinationMap,
    Ipi, Lapic, PostedInterrupts, PostedState, Shorthand,
};

use crate::code::{pick, Num, Scenario};

/// A run.
pub type Input = Scenario<Setup, Op>;

fields! {
    /// Nothing: APICs are added by operations.
    pub struct Setup {
        /// vCPUs without a descriptor, from the last on.
        missing: u8,
    }
}

ops! {
    /// APICs come, then messages go to them.
    pub enum Op {
        /// Consecutive ids from `first`, as a machine has them.
        Many { count: u8, first: u8, mode: u8 },
        Add { id: Num, mode: u8, ldr: u8, dfr: u8, enabled: bool },
        Send { destination: Num, flags: u8, mode: u8, vector: u8 },
        SendMsi { address: Num, data: u32, format: u8 },
        Ipi { shorthand: u8, source: u8, destination: Num, flags: u8, mode: u8, vector: u8 },
        LocalIntr { vcpu: Option<u8>, lvt: Num },
        /// The owner takes what was posted and publishes a priority.
        Sync { vcpu: u8, tpr: u8 },
    }
}

/// vCPUs at most: the search is quadratic.
const MAX_VCPUS: usize = 300;
const MODES: [ApicMode; 3] = [ApicMode::Xapic, ApicMode::X2apic, ApicMode::Disabled];

struct Rig {
    entries: Vec<DestinationEntry>,
    map: DestinationMap,
    posted: Vec<PostedInterrupts>,
    missing: usize,
}

/// Runs the operations.
pub fn run(input: &Input) {
    let mut rig = Rig {
        entries: Vec::new(),
        map: DestinationMap::new(&[]),
        posted: Vec::new(),
        missing: usize::from(input.setup.missing % 4),
    };
    for op in &input.ops {
        rig.apply(op);
    }
}

impl Rig {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Many { count, first, mode } => {
                for n in 0..u32::from(count % 64) {
                    let id = u32::from(*first) + n;
                    self.add(entry(id, *mode, 1 << (n % 8), 0xf, true));
                }
                self.rebuild();
            }
            Op::Add { id, mode, ldr, dfr, enabled } => {
                let id = (id.0 as u32).min(BROADCAST - 1);
                self.add(entry(id, *mode, *ldr, *dfr, *enabled));
                self.rebuild();
            }
            Op::Send { destination, flags, mode, vector } => {
                let message = message(destination.0 as u32, *flags, *mode, *vector);
                let expected = self.search(&message);
                let found: Vec<_> = self.map.targets(&message).collect();
                assert_same(found, &expected);
                self.check_delivery(&message, expected, |rig, notify| {
                    deliver(&rig.map, &rig.posted, &message, notify)
                });
            }
            Op::SendMsi { address, data, format } => self.send_msi(address.0, *data, *format),
            Op::Ipi { shorthand, source, destination, flags, mode, vector } => {
                let message = message(destination.0 as u32, *flags, *mode, *vector);
                let ipi = Ipi { shorthand: Shorthand::from_bits(*shorthand), message };
                self.send_ipi(usize::from(*source), &ipi);
            }
            Op::LocalIntr { vcpu, lvt } => {
                let vcpu = vcpu.map(usize::from);
                let lvt = lvt.0 as u32;
                let answer = set_local_intr(&self.posted, vcpu, lvt, |_| {});
                let exists = vcpu.is_none_or(|vcpu| vcpu < self.posted.len());
                assert_eq!(answer.is_ok(), exists && lvt < 7);
            }
            Op::Sync { vcpu, tpr } => self.sync(*vcpu, *tpr),
        }
    }

    /// Ids are unique, as the map's documentation asks for.
    fn add(&mut self, entry: DestinationEntry) {
        let new = self.entries.iter().all(|other| other.id != entry.id);
        if new && self.entries.len() < MAX_VCPUS {
            self.entries.push(entry);
        }
    }

    fn rebuild(&mut self) {
        self.map = DestinationMap::new(&self.entries);
        assert_eq!(self.map.len(), self.entries.len());
        let count = self.entries.len().saturating_sub(self.missing);
        self.posted.truncate(count);
        self.posted.resize_with(count, PostedInterrupts::new);
    }

    fn sync(&mut self, vcpu: u8, tpr: u8) {
        let Some(posted) = self.posted.get(usize::from(vcpu)) else { return };
        let mut lapic = Lapic::new(Default::default()).expect("the default");
        lapic.set_cr8(tpr);
        let _ = lapic.sync(posted);
        assert_eq!(posted.state(), PostedState::default(), "everything was taken");
        assert_eq!(posted.priority(), tpr << 4);
    }

    fn send_msi(&mut self, address: u64, data: u32, format: u8) {
        let formats = [MsiFormat::Xapic, MsiFormat::Extended15, MsiFormat::X2apic32];
        let (msi, format) = (Msi { address, data }, pick(&formats, format));
        let mode = DeliveryMode::from_bits((data >> 8) as u8);
        let legal = (address >> 20) & 0xf_ffff == 0xfee
            && mode.is_ok_and(|mode| mode != DeliveryMode::StartUp);
        assert_eq!(msi.decode(format).is_ok(), legal);
        match msi.decode(format) {
            Err(error) => {
                let answer = deliver_msi(&self.map, &self.posted, msi, format, |_| {});
                assert_eq!(answer, Err(error));
            }
            Ok(message) => {
                let expected = self.search(&message);
                self.check_delivery(&message, expected, |rig, notify| {
                    deliver_msi(&rig.map, &rig.posted, msi, format, notify).expect("decoded")
                });
            }
        }
    }

    fn send_ipi(&mut self, source: usize, ipi: &Ipi) {
        let mode = ipi.message.delivery_mode;
        let takes = |index: &usize| accepts(&self.entries[*index], mode);
        let all = || (0..self.entries.len()).filter(takes);
        let expected: Vec<_> = match ipi.shorthand {
            Shorthand::None => self.search(&ipi.message),
            Shorthand::SelfOnly => all().filter(|index| *index == source).collect(),
            Shorthand::AllIncludingSelf => all().collect(),
            Shorthand::AllExcludingSelf => all().filter(|index| *index != source).collect(),
        };
        self.check_delivery(&ipi.message, expected, |rig, notify| {
            deliver_ipi(&rig.map, &rig.posted, source, ipi, notify)
        });
    }

    /// Every APIC asked in turn (Intel SDM vol. 3, "Determining IPI Destination").
    fn search(&self, message: &InterruptMessage) -> Vec<usize> {
        let matches =
            |entry: &DestinationEntry| match (message.destination, message.destination_mode) {
                (BROADCAST, _) => true,
                // An xAPIC compares 8 bits, and all of them set are its broadcast.
                (0xff, _) if entry.mode != ApicMode::X2apic => true,
                (id, DestinationMode::Physical) => entry.id == id,
                (mda, DestinationMode::Logical) => logical(entry, mda),
            };
        let takes =
            |entry: &DestinationEntry| matches(entry) && accepts(entry, message.delivery_mode);
        let all = self.entries.iter().enumerate();
        all.filter(|(_, entry)| takes(entry)).map(|(index, _)| index).collect()
    }

    /// Delivers and looks into every descriptor: whoever is meant has it, nobody else has.
    fn check_delivery(
        &self,
        message: &InterruptMessage,
        mut expected: Vec<usize>,
        send: impl FnOnce(&Self, &mut dyn FnMut(usize)) -> Delivery,
    ) {
        let states = || self.posted.iter().map(PostedInterrupts::state).collect::<Vec<_>>();
        let before = states();
        let mut notified = Vec::new();
        let delivery = send(self, &mut |index| notified.push(index));
        let after = states();
        let lowest = message.delivery_mode == DeliveryMode::LowestPriority;
        if lowest {
            expected = self.winner(&expected, &before, &after);
        } else {
            expected.retain(|index| *index < self.posted.len());
        }
        for (index, (old, new)) in before.iter().zip(&after).enumerate() {
            let told = notified.iter().filter(|told| **told == index).count();
            assert_eq!(told == 1, !old.outstanding && new.outstanding, "vCPU {index} sleeps on");
            assert!(told <= 1 && (old == new || expected.contains(&index) || lowest));
            if expected.contains(&index) && !lowest {
                assert!(holds(new, message), "vCPU {index} lost {message:?}");
            }
        }
        if let Delivery::Delivered(count) = delivery {
            assert!(count as usize <= expected.len().max(1));
        }
        let changed = before.iter().zip(&after).filter(|(old, new)| old != new).count();
        let count = if let Delivery::Delivered(count) = delivery { count as usize } else { 0 };
        assert!(changed <= count, "{changed} descriptors changed, {delivery:?}");
        assert!(!expected.is_empty() || delivery == Delivery::Ignored);
    }

    /// Of the candidates one with the lowest priority class has it.
    fn winner(
        &self,
        candidates: &[usize],
        before: &[PostedState],
        after: &[PostedState],
    ) -> Vec<usize> {
        let class = |index: usize| self.posted.get(index).map_or(0xf, |p| p.priority() >> 4);
        let lowest = candidates.iter().map(|index| class(*index)).min();
        for (index, _) in before.iter().zip(after).enumerate().filter(|(_, (a, b))| a != b) {
            assert!(candidates.contains(&index), "vCPU {index} was not addressed");
            assert_eq!(Some(class(index)), lowest, "vCPU {index} was not the lowest");
        }
        candidates.to_vec()
    }
}

fn entry(id: u32, mode: u8, ldr: u8, dfr: u8, enabled: bool) -> DestinationEntry {
    DestinationEntry {
        id,
        mode: pick(&MODES, mode),
        ldr: u32::from(ldr) << 24,
        dfr: u32::from(dfr) << 28 | 0x0fff_ffff,
        software_enabled: enabled,
    }
}

fn message(destination: u32, flags: u8, mode: u8, vector: u8) -> InterruptMessage {
    InterruptMessage {
        destination,
        destination_mode: DestinationMode::from_bit(flags & 1 != 0),
        delivery_mode: DeliveryMode::from_bits(mode).unwrap_or(DeliveryMode::Fixed),
        trigger_mode: TriggerMode::from_bit(flags & 2 != 0),
        vector,
    }
}

fn logical(entry: &DestinationEntry, mda: u32) -> bool {
    if entry.mode == ApicMode::X2apic {
        return entry.id >> 4 == mda >> 16 && mda & 1 << (entry.id & 15) != 0;
    }
    let (Ok(mda), id) = (u8::try_from(mda), (entry.ldr >> 24) as u8) else { return false };
    match entry.dfr >> 28 {
        0xf => mda & id != 0,
        0 => mda >> 4 == id >> 4 && mda & id & 0xf != 0,
        _ => false,
    }
}

fn accepts(entry: &DestinationEntry, mode: DeliveryMode) -> bool {
    let vectored =
        matches!(mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority | DeliveryMode::ExtInt);
    entry.mode != ApicMode::Disabled && (entry.software_enabled || !vectored)
}

fn holds(state: &PostedState, message: &InterruptMessage) -> bool {
    let signals = state.signals;
    match message.delivery_mode {
        DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
            let map = if message.trigger_mode.is_level() { state.level } else { state.edge };
            map[usize::from(message.vector >> 6)] >> (message.vector & 63) & 1 != 0
        }
        DeliveryMode::Smi => signals.smi,
        DeliveryMode::Nmi => signals.nmi > 0,
        DeliveryMode::Init => signals.init && signals.sipi.is_none(),
        DeliveryMode::StartUp => signals.sipi.is_some(),
        DeliveryMode::ExtInt => signals.extint,
    }
}

/// The same vCPUs, each once, in any order.
fn assert_same(mut found: Vec<usize>, expected: &[usize]) {
    found.sort_unstable();
    assert_eq!(found, expected);
}

/// Inputs to start from.
pub fn seeds() -> Vec<(&'static str, Input)> {
    let setup = Setup { missing: 0 };
    let send = |destination: u64, flags, mode| Op::Send {
        destination: Num(destination),
        flags,
        mode,
        vector: 0x41,
    };
    let add = |id, mode, ldr, dfr| Op::Add { id: Num(id), mode, ldr, dfr, enabled: true };
    let flat = vec![
        Op::Many { count: 8, first: 0, mode: 0 },
        send(0x0f, 1, 1),
        Op::Sync { vcpu: 1, tpr: 3 },
        send(0x0f, 1, 1),
        send(0xffff_ffff, 0, 0),
        send(3, 2, 4),
        Op::SendMsi { address: Num(0xfee0_300c), data: 0x4051, format: 0 },
    ];
    let cluster = vec![
        add(0, 0, 0x11, 0),
        add(1, 0, 0x12, 0),
        add(2, 0, 0x21, 0),
        add(3, 0, 0x0f, 0xf),
        add(4, 0, 0xff, 7),
        send(0x13, 1, 0),
        send(0x2f, 1, 5),
        Op::LocalIntr { vcpu: None, lvt: Num(2) },
    ];
    let x2apic = vec![
        Op::Many { count: 20, first: 0xf8, mode: 1 },
        add(0x1_0003, 1, 0, 0xf),
        send(0xff, 0, 0),
        send(0x000f_ff00, 1, 1),
        Op::Ipi { shorthand: 3, source: 2, destination: Num(0), flags: 0, mode: 5, vector: 0 },
        Op::Ipi { shorthand: 3, source: 2, destination: Num(0), flags: 0, mode: 6, vector: 8 },
        Op::SendMsi { address: Num(0x1_0000_fee0_3000), data: 0x61, format: 2 },
    ];
    vec![
        ("flat", Input { setup: setup.clone(), ops: flat }),
        ("cluster", Input { setup: setup.clone(), ops: cluster }),
        ("x2apic", Input { setup, ops: x2apic }),
    ]
}
