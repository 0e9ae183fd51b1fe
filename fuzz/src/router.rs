// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The GSI table and its wires: sources that come and go, routes that change under asserted
//! lines, EOIs and resampling.

use std::collections::{BTreeMap, BTreeSet};

use irq_routing::{
    Delivery, Gsi, Msi, Pin, Resample, Route, RouteTable, Router, RouterState, SourceId, Target,
    Targets, WireState,
};

use crate::code::{pick, Num, Scenario};

/// A run.
pub type Input = Scenario<Setup, Op>;

fields! {
    /// The table to begin with.
    pub struct Setup {
        table: u8,
    }
}

ops! {
    /// What devices, guest and VMM can do.
    pub enum Op {
        Connect { gsi: Num, resample: u8 },
        /// The n-th connected source.
        Disconnect { n: u8 },
        Set { n: u8, level: bool },
        Pulse { n: u8 },
        /// A source that may not exist.
        SetAny { source: u8, gsi: Num, level: bool },
        /// One change of the edit in preparation.
        Add { gsi: Num, target: u8, pin: u8 },
        Replace { gsi: u8, pins: [u8; 2] },
        Remove { gsi: Num },
        Install,
        Eoi { ioapic: bool, pin: u8 },
        NextResample,
        SaveRestore,
        Restore { gsi: u8, masks: [u8; 5] },
    }
}

/// Pins of both chips, by index: 0..16 and 16..256.
#[derive(Clone)]
struct Chips {
    levels: [bool; 256],
    messages: u32,
}

impl Chips {
    fn set(&mut self, index: usize, level: bool) -> Delivery {
        assert_ne!(self.levels[index], level, "pin {index}: the router calls for changes only");
        self.levels[index] = level;
        Delivery::from_count(level.into())
    }
}

impl Targets for Chips {
    fn pic(&mut self, pin: u8, level: bool) -> Delivery {
        self.set(pin.into(), level)
    }

    fn ioapic(&mut self, pin: u8, level: bool) -> Delivery {
        self.set(16 + usize::from(pin), level)
    }

    fn msi(&mut self, _msi: Msi) -> Delivery {
        self.messages += 1;
        Delivery::Delivered(1)
    }
}

#[derive(Clone, Copy, Debug)]
struct Source {
    level: bool,
    resample: Resample,
}

struct Rig {
    router: Router,
    chips: Chips,
    /// The edit in preparation, as the table it would give.
    next: RouteTable,
    sources: BTreeMap<(Gsi, SourceId), Source>,
    due: BTreeSet<(Gsi, SourceId)>,
}

/// Runs the operations and compares every pin with the OR of its sources after each.
pub fn run(input: &Input) {
    let table = match input.setup.table % 3 {
        0 => RouteTable::legacy(24),
        1 => RouteTable::pic_only(),
        _ => RouteTable::new(),
    };
    let mut rig = Rig {
        router: Router::new(table.clone()),
        chips: Chips { levels: [false; 256], messages: 0 },
        next: table,
        sources: BTreeMap::new(),
        due: BTreeSet::new(),
    };
    for op in &input.ops {
        rig.apply(op);
        rig.check();
    }
    rig.finish();
}

/// Mostly one of a few GSIs, so that they are shared.
fn gsi(n: Num) -> Gsi {
    Gsi(if n.0 < 0x100 { n.0 as u32 % 32 } else { n.0 as u32 })
}

fn target(kind: u8, pin: u8) -> Target {
    match kind % 3 {
        0 => Target::Pic(pin),
        1 => Target::IoApic(pin),
        _ => Target::Msi(Msi { address: 0xfee0_0000, data: pin.into() }),
    }
}

impl Rig {
    fn nth(&self, n: u8) -> Option<(Gsi, SourceId)> {
        let count = self.sources.len().max(1);
        self.sources.keys().nth(usize::from(n) % count).copied()
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Connect { gsi: n, resample } => self.connect(gsi(*n), *resample),
            Op::Disconnect { n } => {
                if let Some((gsi, source)) = self.nth(*n) {
                    self.disconnect(gsi, source);
                }
            }
            Op::Set { n, level } => {
                if let Some((gsi, source)) = self.nth(*n) {
                    self.set(gsi, source, *level);
                }
            }
            Op::Pulse { n } => self.pulse(*n),
            Op::SetAny { source, gsi: n, level } => {
                if let Some(source) = SourceId::new(*source) {
                    self.set(gsi(*n), source, *level);
                }
            }
            Op::Add { gsi: n, target: kind, pin } => self.add(gsi(*n), target(*kind, *pin)),
            Op::Replace { gsi, pins: [pic, ioapic] } => {
                let targets = [Target::Pic(*pic), Target::IoApic(*ioapic)];
                let mut edit = self.next.edit();
                let legal = edit.set(Gsi((*gsi).into()), &targets).is_ok();
                assert_eq!(legal, *pic < 16 && *ioapic < 240);
                self.build(edit.build());
            }
            Op::Remove { gsi: n } => {
                let mut edit = self.next.edit();
                edit.remove(gsi(*n));
                self.build(edit.build());
                assert!(self.next.routes(gsi(*n)).is_empty());
            }
            Op::Install => {
                let (former, messages) = (self.router.table().clone(), self.chips.messages);
                assert_eq!(self.router.install(self.next.clone(), &mut self.chips), former);
                assert_eq!(self.chips.messages, messages, "a wire that is high sends nothing");
            }
            Op::Eoi { ioapic, pin } => self.eoi(*ioapic, *pin),
            Op::NextResample => self.next_resample(),
            Op::SaveRestore => self.save_restore(),
            Op::Restore { gsi, masks } => self.restore_any(*gsi, *masks),
        }
    }

    fn connect(&mut self, gsi: Gsi, resample: u8) {
        let resample = pick(&[Resample::Never, Resample::Notify, Resample::Deassert], resample);
        // A table of thousands of wires is possible, and slow to compare after each step.
        if (64..4095).contains(&gsi.0) {
            return;
        }
        let taken = self.sources.keys().filter(|(other, _)| *other == gsi).count();
        match self.router.connect(gsi, resample) {
            Ok(source) => {
                let before = self.sources.insert((gsi, source), Source { level: false, resample });
                assert!(before.is_none(), "a source that somebody has");
            }
            Err(_) => assert!(gsi.0 >= 4096 || taken == 64),
        }
    }

    fn disconnect(&mut self, gsi: Gsi, source: SourceId) {
        self.router.disconnect(source, gsi, &mut self.chips);
        self.sources.remove(&(gsi, source));
        self.due.remove(&(gsi, source));
        assert!(!self.router.is_connected(source, gsi));
    }

    fn set(&mut self, gsi: Gsi, source: SourceId, level: bool) {
        let (messages, before) = (self.chips.messages, self.wire(gsi));
        let answer = self.router.set_irq(source, gsi, level, &mut self.chips);
        let Some(known) = self.sources.get_mut(&(gsi, source)) else {
            assert_eq!(answer, Delivery::Ignored, "nobody has that source");
            return;
        };
        let again = known.level && level;
        known.level = level;
        let rises = !before && level;
        let is_msi = |target: &Target| target.pin().is_none();
        let sends = self.router.table().targets(gsi).filter(is_msi).count() as u32;
        assert_eq!(self.chips.messages - messages, if rises { sends } else { 0 });
        if self.router.table().routes(gsi).is_empty() || !level {
            assert_eq!(answer, Delivery::Ignored);
        } else if again || !rises {
            // A second source of an asserted wire, or the same one again.
            assert_eq!(answer, Delivery::Coalesced);
        } else {
            assert_ne!(answer, Delivery::Ignored, "a rise that reached something");
        }
    }

    fn pulse(&mut self, n: u8) {
        let Some((gsi, source)) = self.nth(n) else { return };
        let (messages, wire) = (self.chips.messages, self.wire(gsi));
        let _ = self.router.pulse(source, gsi, &mut self.chips);
        if let Some(known) = self.sources.get_mut(&(gsi, source)) {
            known.level = false;
        }
        assert!(!wire || self.chips.messages == messages, "no edge on a wire that is held");
    }

    /// A refused change leaves the edit as it was.
    fn add(&mut self, gsi: Gsi, target: Target) {
        let mut edit = self.next.edit();
        let result = edit.add(gsi, target).map(|_| ());
        let table = edit.build();
        if result.is_err() {
            assert_eq!(table.as_ref(), Ok(&self.next));
        } else if let Ok(table) = &table {
            assert!(table.targets(gsi).any(|present| present == target));
        }
        self.build(table);
    }

    fn build(&mut self, table: Result<RouteTable, irq_routing::RouteError>) {
        let Ok(table) = table else { return };
        for route in table.iter() {
            assert!(table.routes(route.gsi).contains(&route));
            if let Some(pin) = route.target.pin() {
                assert!(table.gsis(pin).contains(&route.gsi), "both directions");
            }
        }
        let rebuilt = RouteTable::from_routes(table.iter()).expect("its own routes");
        assert_eq!(rebuilt, table);
        self.next = table;
    }

    fn eoi(&mut self, ioapic: bool, pin: u8) {
        let pin = if ioapic { Pin::IoApic(pin) } else { Pin::Pic(pin) };
        let gsis: Vec<Gsi> = self.router.table().gsis(pin).to_vec();
        let listens = |(gsi, _): &(Gsi, SourceId), s: &Source| {
            gsis.contains(gsi) && s.resample != Resample::Never
        };
        let wanted = self.sources.iter().any(|(key, source)| listens(key, source));
        assert_eq!(self.router.wants_eoi(pin), wanted);
        for (key, source) in self.sources.iter_mut() {
            if listens(key, source) {
                self.due.insert(*key);
                source.level &= source.resample != Resample::Deassert;
            }
        }
        assert_eq!(self.router.eoi(pin, &mut self.chips), !self.due.is_empty());
    }

    fn next_resample(&mut self) {
        match self.router.next_resample() {
            Some(key) => assert!(self.due.remove(&key), "{key:?} was told, or has no EOI"),
            None => assert!(self.due.is_empty(), "{:?} are never told", self.due),
        }
    }

    fn save_restore(&mut self) {
        let state = self.router.state();
        let restored = Router::from_state(&state).expect("reachable");
        assert_eq!(restored.state(), state, "save, restore, save");
        self.router = restored;
        // Chips that know nothing learn every level, and only those.
        let mut fresh = Chips { levels: [false; 256], messages: 0 };
        self.router.present(&mut fresh);
        assert_eq!((fresh.levels, fresh.messages), (self.chips.levels, 0));
    }

    fn restore_any(&mut self, gsi: u8, masks: [u8; 5]) {
        let [connected, asserted, notify, deassert, due] = masks.map(u64::from);
        let wire = WireState { gsi: Gsi(gsi.into()), connected, asserted, notify, deassert, due };
        let state = RouterState { routes: self.router.state().routes, wires: vec![wire] };
        let Ok(router) = Router::from_state(&state) else { return };
        assert_eq!(router.state(), state, "save, restore, save");
        self.router = router;
        let sources = (0..64).filter(|n| connected >> n & 1 != 0).filter_map(SourceId::new);
        self.sources.clear();
        self.due.clear();
        for source in sources {
            let has = |mask: u64| mask >> source.index() & 1 != 0;
            let resample = match (has(notify), has(deassert)) {
                (true, _) => Resample::Notify,
                (_, true) => Resample::Deassert,
                _ => Resample::Never,
            };
            let key = (wire.gsi, source);
            self.sources.insert(key, Source { level: has(asserted), resample });
            if has(due) {
                self.due.insert(key);
            }
        }
        self.chips.levels = [false; 256];
        self.router.present(&mut self.chips);
    }

    fn wire(&self, gsi: Gsi) -> bool {
        self.sources.iter().any(|((of, _), source)| *of == gsi && source.level)
    }

    /// Each pin is the OR of the sources of the GSIs that lead to it.
    fn check(&self) {
        let asserted: BTreeSet<Gsi> =
            self.sources.iter().filter(|(_, s)| s.level).map(|((gsi, _), _)| *gsi).collect();
        let mut levels = [false; 256];
        for gsi in &asserted {
            assert!(self.router.level(*gsi));
            for Route { target, .. } in self.router.table().routes(*gsi) {
                match target {
                    Target::Pic(pin) => levels[usize::from(*pin)] = true,
                    Target::IoApic(pin) => levels[16 + usize::from(*pin)] = true,
                    Target::Msi(_) => {}
                }
            }
        }
        assert_eq!(self.chips.levels, levels);
    }

    /// Sources that go away take their levels along, and every EOI is told.
    fn finish(&mut self) {
        self.save_restore();
        while !self.due.is_empty() {
            self.next_resample();
        }
        self.next_resample();
        while let Some((gsi, source)) = self.nth(0) {
            self.disconnect(gsi, source);
        }
        assert_eq!(self.chips.levels, [false; 256], "a level without a source");
    }
}

/// Inputs to start from.
pub fn seeds() -> Vec<(&'static str, Input)> {
    let connect = |gsi: u64, resample| Op::Connect { gsi: Num(gsi), resample };
    let seed = |table, ops| Input { setup: Setup { table }, ops };
    let shared = vec![
        connect(11, 1),
        connect(11, 2),
        Op::Set { n: 0, level: true },
        Op::Set { n: 1, level: true },
        Op::Eoi { ioapic: true, pin: 11 },
        Op::SaveRestore,
        Op::NextResample,
        Op::NextResample,
        Op::Set { n: 0, level: false },
        Op::Disconnect { n: 0 },
    ];
    let rewired = vec![
        connect(5, 0),
        connect(20, 2),
        Op::Set { n: 0, level: true },
        Op::Set { n: 1, level: true },
        Op::Replace { gsi: 5, pins: [7, 20] },
        Op::Install,
        Op::Set { n: 0, level: false },
        Op::Remove { gsi: Num(20) },
        Op::Add { gsi: Num(20), target: 2, pin: 0x41 },
        Op::Install,
        Op::Pulse { n: 1 },
        Op::Remove { gsi: Num(5) },
        Op::Install,
    ];
    let refused = vec![
        Op::Add { gsi: Num(30), target: 2, pin: 1 },
        Op::Add { gsi: Num(30), target: 1, pin: 3 },
        Op::Add { gsi: Num(3), target: 1, pin: 240 },
        Op::Add { gsi: Num(5000), target: 1, pin: 3 },
        Op::Install,
        connect(4096, 0),
        Op::SetAny { source: 63, gsi: Num(3), level: true },
        Op::Restore { gsi: 9, masks: [7, 3, 1, 2, 3] },
        Op::NextResample,
        Op::Restore { gsi: 9, masks: [1, 2, 0, 0, 0] },
    ];
    vec![("shared", seed(0, shared)), ("rewired", seed(0, rewired)), ("refused", seed(2, refused))]
}
