// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Wires: sources drive GSIs, GSIs drive pins, and a pin is the OR of everything that reaches it.

use alloc::vec::Vec;

use crate::resample::Due;
use crate::route::{Pin, RouteTable, MAX_ROUTES};
use crate::{Delivery, Gsi, Line, LineChange, Msi, SourceId, Target};

/// The chips behind the routes, as the router drives them.
///
/// `pic` and `ioapic` get the level of the whole pin, all sources and GSIs already OR-ed; the
/// router calls them for changes only. They run inside [`Router`]'s methods, so under whatever
/// lock the caller keeps around the router.
pub trait Targets {
    /// Sets the level of an 8259A input (0..16).
    fn pic(&mut self, pin: u8, level: bool) -> Delivery;
    /// Sets the level of an IOAPIC input (0..240).
    fn ioapic(&mut self, pin: u8, level: bool) -> Delivery;
    /// Sends a message: the rising edge of a GSI that is routed to one.
    fn msi(&mut self, msi: Msi) -> Delivery;
}

/// What a source wants to know about its interrupt's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Resample {
    /// Nothing: it lowers its level when the guest served the device.
    #[default]
    Never,
    /// It is told of each EOI and lowers or keeps its level itself.
    Notify,
    /// Its level is lowered at the EOI and it is told, to assert again if the device still
    /// wants service: for sources that can only raise, such as an eventfd
    /// (`KVM_IRQFD_FLAG_RESAMPLE` does the same).
    Deassert,
}

/// Why a source cannot be connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The GSI is not below [`MAX_ROUTES`].
    #[error("GSI {} is beyond the last one, {}", .0.0, MAX_ROUTES - 1)]
    InvalidGsi(Gsi),
    /// All [`SourceId::MAX`] sources of the GSI are taken.
    #[error("GSI {} already has {} sources", .0.0, SourceId::MAX)]
    NoSource(Gsi),
}

/// One GSI's wire and who drives it. Bit n of each mask is source n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) line: Line,
    pub(crate) connected: u64,
    pub(crate) notify: u64,
    pub(crate) deassert: u64,
    /// Sources that have not been told of an EOI yet.
    pub(crate) due: u64,
}

/// The GSI table with its wires.
///
/// A plain state machine: the caller locks it together with the chips it drives. Nothing is
/// allocated after [`Router::connect`] and [`Router::install`].
#[derive(Clone, Debug, Default)]
pub struct Router {
    pub(crate) table: RouteTable,
    /// By GSI, up to the highest that was ever connected.
    pub(crate) wires: Vec<Wire>,
    pub(crate) due: Due,
}

impl Router {
    /// A router without sources.
    pub fn new(table: RouteTable) -> Self {
        Router { table, ..Self::default() }
    }

    /// Sets the level that one source drives onto `gsi`.
    ///
    /// Sources are OR-ed: while another one holds the wire, or when this one already does,
    /// asserting is `Coalesced`. A source that is not connected, and a GSI that leads nowhere,
    /// are `Ignored`; otherwise the answers of all targets together. A message goes out on the
    /// wire's rising edge.
    pub fn set_irq(
        &mut self,
        source: SourceId,
        gsi: Gsi,
        level: bool,
        targets: &mut impl Targets,
    ) -> Delivery {
        let Some(wire) = self.wire_mut(gsi) else { return Delivery::Ignored };
        if wire.connected & bit(source) == 0 {
            return Delivery::Ignored;
        }
        match wire.line.set(source, level) {
            LineChange::None if level && !self.table.routes(gsi).is_empty() => Delivery::Coalesced,
            LineChange::None => Delivery::Ignored,
            LineChange::Rising | LineChange::Falling => self.drive(gsi, level, targets),
        }
    }

    /// Raises and lowers one source: an edge for whoever latches edges.
    ///
    /// The answer is that of the raise. While another source holds the wire there is no edge:
    /// `Coalesced`.
    pub fn pulse(&mut self, source: SourceId, gsi: Gsi, targets: &mut impl Targets) -> Delivery {
        let delivery = self.set_irq(source, gsi, true, targets);
        let _ = self.set_irq(source, gsi, false, targets);
        delivery
    }

    /// Takes a source of `gsi` for a device. Several devices may share a GSI.
    ///
    /// # Errors
    /// [`ConnectError`] for a GSI beyond the table and for a 65th source.
    pub fn connect(&mut self, gsi: Gsi, resample: Resample) -> Result<SourceId, ConnectError> {
        let index = gsi.0 as usize;
        if index >= MAX_ROUTES {
            return Err(ConnectError::InvalidGsi(gsi));
        }
        if self.wires.len() <= index {
            self.wires.resize(index + 1, Wire::default());
        }
        let wire = &mut self.wires[index];
        let source = SourceId::new(wire.connected.trailing_ones() as u8)
            .ok_or(ConnectError::NoSource(gsi))?;
        wire.connected |= bit(source);
        match resample {
            Resample::Never => {}
            Resample::Notify => wire.notify |= bit(source),
            Resample::Deassert => wire.deassert |= bit(source),
        }
        Ok(source)
    }

    /// Gives a source back. Its level goes away with it.
    pub fn disconnect(&mut self, source: SourceId, gsi: Gsi, targets: &mut impl Targets) {
        let _ = self.set_irq(source, gsi, false, targets);
        if let Some(wire) = self.wire_mut(gsi) {
            let keep = !bit(source);
            wire.connected &= keep;
            wire.notify &= keep;
            wire.deassert &= keep;
            wire.due &= keep;
            if wire.due == 0 {
                self.due.remove(gsi);
            }
        }
    }

    /// Whether somebody has this source of `gsi`.
    pub fn is_connected(&self, source: SourceId, gsi: Gsi) -> bool {
        self.wires.get(gsi.0 as usize).is_some_and(|wire| wire.connected & bit(source) != 0)
    }

    /// The level of the wire of `gsi`.
    pub fn level(&self, gsi: Gsi) -> bool {
        self.wires.get(gsi.0 as usize).is_some_and(|wire| wire.line.level())
    }

    /// The level that a pin has: the OR of the GSIs that lead to it.
    pub fn pin_level(&self, pin: Pin) -> bool {
        self.table.gsis(pin).iter().any(|gsi| self.level(*gsi))
    }

    /// The table in force.
    pub fn table(&self) -> &RouteTable {
        &self.table
    }

    /// Puts the next table in force; gives the former one back.
    ///
    /// Levels move with their wires: pins that lose their last asserted GSI are lowered first,
    /// then pins that gain one are raised. A wire that is already high sends no message.
    pub fn install(&mut self, table: RouteTable, targets: &mut impl Targets) -> RouteTable {
        let before = self.pin_levels();
        let former = core::mem::replace(&mut self.table, table);
        let after = self.pin_levels();
        for level in [false, true] {
            for index in 0..Pin::COUNT {
                if before.get(index) != after.get(index) && after.get(index) == level {
                    let _ = set_pin(targets, Pin::from_index(index), level);
                }
            }
        }
        former
    }

    /// Shows every asserted pin to chips that do not know it yet: after a restore with new
    /// chips. Chips whose own state was restored already have these levels and see no change.
    pub fn present(&self, targets: &mut impl Targets) {
        let levels = self.pin_levels();
        for index in (0..Pin::COUNT).filter(|index| levels.get(*index)) {
            let _ = set_pin(targets, Pin::from_index(index), true);
        }
    }

    pub(crate) fn wire_mut(&mut self, gsi: Gsi) -> Option<&mut Wire> {
        self.wires.get_mut(gsi.0 as usize)
    }

    /// Carries a changed wire to its targets.
    pub(crate) fn drive(&self, gsi: Gsi, level: bool, targets: &mut impl Targets) -> Delivery {
        self.table.targets(gsi).fold(Delivery::Ignored, |sum, target| {
            sum + match (target.pin(), target) {
                (Some(pin), _) if self.held_by_another(pin, gsi) => match level {
                    true => Delivery::Coalesced,
                    false => Delivery::Ignored,
                },
                (Some(pin), _) => set_pin(targets, pin, level),
                (None, Target::Msi(msi)) if level => targets.msi(msi),
                (None, _) => Delivery::Ignored,
            }
        })
    }

    fn held_by_another(&self, pin: Pin, gsi: Gsi) -> bool {
        self.table.gsis(pin).iter().any(|other| *other != gsi && self.level(*other))
    }

    fn pin_levels(&self) -> PinLevels {
        let mut levels = PinLevels::default();
        let asserted = self.wires.iter().enumerate().filter(|(_, wire)| wire.line.level());
        for (gsi, _) in asserted {
            let pins = self.table.targets(Gsi(gsi as u32)).filter_map(|target| target.pin());
            pins.filter_map(Pin::index).for_each(|index| levels.set(index));
        }
        levels
    }
}

fn set_pin(targets: &mut impl Targets, pin: Pin, level: bool) -> Delivery {
    match pin {
        Pin::Pic(pin) => targets.pic(pin, level),
        Pin::IoApic(pin) => targets.ioapic(pin, level),
    }
}

pub(crate) fn bit(source: SourceId) -> u64 {
    1 << source.index()
}

/// One bit for each pin of each chip.
#[derive(Clone, Copy, Default)]
struct PinLevels([u64; Pin::COUNT / 64]);

impl PinLevels {
    fn get(&self, index: usize) -> bool {
        self.0[index / 64] & 1 << (index % 64) != 0
    }

    fn set(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }
}
