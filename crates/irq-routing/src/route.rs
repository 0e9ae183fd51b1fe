// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The GSI table: which pins and messages a global system interrupt reaches.
//!
//! A table is a value. It is changed by building the next one ([`RouteTable::edit`]) and then
//! swapping it in ([`crate::Router::install`], an `ArcSwap`, `KVM_SET_GSI_ROUTING`), so a change
//! of any size is one rebuild and either happens whole or not at all.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::{Gsi, Msi};

/// GSIs that a table can route, and the routes that it can hold: 4096 each, as KVM's
/// `KVM_MAX_IRQ_ROUTES`.
pub const MAX_ROUTES: usize = 4096;
/// Input pins of the 8259A pair, the cascade included.
pub const PIC_PINS: u8 = 16;
/// Input pins that an IOAPIC's index register can address (82093AA, "IOREGSEL": two 8-bit
/// indices for each pin from 0x10 on; its pin count field ends at 239).
pub const IOAPIC_PINS: u8 = 240;

/// Where a GSI leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Target {
    /// An 8259A input: 0..=7 on the master, 8..=15 on the slave.
    Pic(u8),
    /// An IOAPIC input, 0..240.
    IoApic(u8),
    /// A message.
    Msi(Msi),
}

/// A pin of a chip, without the message case of [`Target`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pin {
    /// An 8259A input, 0..16.
    Pic(u8),
    /// An IOAPIC input, 0..240.
    IoApic(u8),
}

impl Pin {
    /// Pins of all chips together.
    pub(crate) const COUNT: usize = PIC_PINS as usize + IOAPIC_PINS as usize;

    /// 0..256, or `None` for a pin that no chip has.
    pub(crate) fn index(self) -> Option<usize> {
        match self {
            Pin::Pic(pin) if pin < PIC_PINS => Some(pin.into()),
            Pin::IoApic(pin) if pin < IOAPIC_PINS => Some(usize::from(PIC_PINS) + usize::from(pin)),
            _ => None,
        }
    }

    /// The inverse of [`Pin::index`].
    pub(crate) fn from_index(index: usize) -> Self {
        match index.checked_sub(PIC_PINS.into()) {
            None => Pin::Pic(index as u8),
            Some(pin) => Pin::IoApic(pin as u8),
        }
    }
}

impl Target {
    /// The pin, unless the target is a message.
    pub fn pin(self) -> Option<Pin> {
        match self {
            Target::Pic(pin) => Some(Pin::Pic(pin)),
            Target::IoApic(pin) => Some(Pin::IoApic(pin)),
            Target::Msi(_) => None,
        }
    }

    fn validate(self) -> Result<(), RouteError> {
        match self.pin() {
            Some(pin) if pin.index().is_none() => Err(RouteError::InvalidPin(pin)),
            _ => Ok(()),
        }
    }

    /// KVM's "one irqchip at most once, or a single message": the two 8259As count apart.
    fn conflicts_with(self, other: Target) -> bool {
        match (self, other) {
            (Target::Pic(a), Target::Pic(b)) => a / 8 == b / 8,
            (Target::Pic(_), Target::IoApic(_)) | (Target::IoApic(_), Target::Pic(_)) => false,
            _ => true,
        }
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Route {
    /// From this GSI.
    pub gsi: Gsi,
    /// To this pin or message.
    pub target: Target,
}

/// Why a route cannot be in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The GSI is not below [`MAX_ROUTES`].
    #[error("GSI {} is beyond the last one, {}", .0.0, MAX_ROUTES - 1)]
    InvalidGsi(Gsi),
    /// The chip has no such pin.
    #[error("{0:?} does not exist")]
    InvalidPin(Pin),
    /// The GSI already leads to that chip, or one of the two targets is a message: a GSI has
    /// either one message or at most one pin of each chip (Linux, `setup_routing_entry`).
    #[error("GSI {} already has a route that excludes the new one", .0.0)]
    Conflict(Gsi),
    /// More than [`MAX_ROUTES`] routes.
    #[error("more than {} routes", MAX_ROUTES)]
    TooMany,
}

/// GSI -> pins and messages, looked up in constant time.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RouteTable {
    /// Sorted by GSI.
    routes: Vec<Route>,
    /// `routes[first[g]..first[g + 1]]` are GSI g's; as long as the highest GSI needs.
    first: Vec<u16>,
    /// GSIs that lead to a pin, sorted by pin and GSI.
    by_pin: Vec<Gsi>,
    /// `by_pin[pin_first[p]..pin_first[p + 1]]` are pin p's; empty in an empty table.
    pin_first: Vec<u16>,
}

impl RouteTable {
    /// A table without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The PC's wiring of an 8259A pair and an IOAPIC of `ioapic_pins` pins: ISA lines reach
    /// both, IRQ0 arrives at IOAPIC pin 2, everything else at the pin of its own number (what
    /// the MADT's interrupt source override for IRQ0 says; ACPI, "Interrupt Source Override
    /// Structure"). GSI 2 leads nowhere: it is the cascade.
    pub fn legacy(ioapic_pins: u8) -> Self {
        let pins = ioapic_pins.min(IOAPIC_PINS);
        let ioapic = (0..pins).filter_map(|pin| match pin {
            0 => None,
            2 => Some(Route { gsi: Gsi(0), target: Target::IoApic(2) }),
            _ => Some(Route { gsi: Gsi(pin.into()), target: Target::IoApic(pin) }),
        });
        Self::build(pic_routes().chain(ioapic).collect())
    }

    /// The wiring of a machine that has the 8259A pair only: identity, without the cascade.
    pub fn pic_only() -> Self {
        Self::build(pic_routes().collect())
    }

    /// A table of exactly these routes.
    ///
    /// # Errors
    /// As [`Edit::add`]; nothing is built then.
    pub fn from_routes(routes: impl IntoIterator<Item = Route>) -> Result<Self, RouteError> {
        let empty = Self::new();
        let mut edit = empty.edit();
        for route in routes {
            edit.add(route.gsi, route.target)?;
        }
        edit.build()
    }

    /// Where `gsi` leads; empty for one without routes.
    pub fn routes(&self, gsi: Gsi) -> &[Route] {
        range(&self.first, gsi.0 as usize).and_then(|r| self.routes.get(r)).unwrap_or(&[])
    }

    /// Where `gsi` leads.
    pub fn targets(&self, gsi: Gsi) -> impl Iterator<Item = Target> + '_ {
        self.routes(gsi).iter().map(|route| route.target)
    }

    /// The GSIs that lead to `pin`, in ascending order.
    pub fn gsis(&self, pin: Pin) -> &[Gsi] {
        pin.index()
            .and_then(|index| range(&self.pin_first, index))
            .and_then(|r| self.by_pin.get(r))
            .unwrap_or(&[])
    }

    /// All routes, by ascending GSI.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Route> + '_ {
        self.routes.iter().copied()
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Starts a change. Nothing happens to this table; [`Edit::build`] makes the next one.
    pub fn edit(&self) -> Edit<'_> {
        Edit { table: self, changes: BTreeMap::new() }
    }

    /// Sorts and indexes valid routes.
    fn build(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|route| route.gsi);
        let gsis = routes.last().map_or(0, |route| route.gsi.0 as usize + 1);
        let first = offsets(gsis, routes.iter().map(|route| route.gsi.0 as usize));
        let mut pins: Vec<(usize, Gsi)> = routes
            .iter()
            .filter_map(|route| Some((route.target.pin()?.index()?, route.gsi)))
            .collect();
        pins.sort_unstable();
        let count = if pins.is_empty() { 0 } else { Pin::COUNT };
        let pin_first = offsets(count, pins.iter().map(|(pin, _)| *pin));
        let by_pin = pins.into_iter().map(|(_, gsi)| gsi).collect();
        RouteTable { routes, first, by_pin, pin_first }
    }
}

fn pic_routes() -> impl Iterator<Item = Route> {
    (0..PIC_PINS)
        .filter(|pin| *pin != 2)
        .map(|pin| Route { gsi: Gsi(pin.into()), target: Target::Pic(pin) })
}

/// For sorted `keys` below `count`: where each key's run starts, and the end.
fn offsets(count: usize, keys: impl Iterator<Item = usize>) -> Vec<u16> {
    if count == 0 {
        return Vec::new();
    }
    let mut ends = alloc::vec![0u16; count + 1];
    for key in keys {
        ends[key + 1] += 1;
    }
    for index in 1..ends.len() {
        ends[index] += ends[index - 1];
    }
    ends
}

fn range(offsets: &[u16], index: usize) -> Option<core::ops::Range<usize>> {
    let start = *offsets.get(index)?;
    let end = *offsets.get(index.checked_add(1)?)?;
    Some(usize::from(start)..usize::from(end))
}

/// A change being prepared; dropping it forgets it.
#[derive(Clone, Debug)]
pub struct Edit<'a> {
    table: &'a RouteTable,
    /// What each touched GSI shall lead to.
    changes: BTreeMap<Gsi, Vec<Target>>,
}

impl Edit<'_> {
    /// Adds a target to those of `gsi`. Adding one that is already there changes nothing.
    ///
    /// # Errors
    /// [`RouteError::InvalidGsi`], [`RouteError::InvalidPin`], [`RouteError::Conflict`]; the
    /// edit stays as it was.
    pub fn add(&mut self, gsi: Gsi, target: Target) -> Result<&mut Self, RouteError> {
        check_gsi(gsi)?;
        target.validate()?;
        let table = self.table;
        let targets = self.changes.entry(gsi).or_insert_with(|| table.targets(gsi).collect());
        if targets.contains(&target) {
            return Ok(self);
        }
        if targets.iter().any(|present| present.conflicts_with(target)) {
            return Err(RouteError::Conflict(gsi));
        }
        targets.push(target);
        Ok(self)
    }

    /// Replaces all targets of `gsi`.
    ///
    /// # Errors
    /// As [`Edit::add`]; the edit stays as it was.
    pub fn set(&mut self, gsi: Gsi, targets: &[Target]) -> Result<&mut Self, RouteError> {
        check_gsi(gsi)?;
        let before = self.changes.insert(gsi, Vec::new());
        for target in targets {
            if let Err(error) = self.add(gsi, *target) {
                match before {
                    Some(before) => self.changes.insert(gsi, before),
                    None => self.changes.remove(&gsi),
                };
                return Err(error);
            }
        }
        Ok(self)
    }

    /// Removes all routes of `gsi`; one without routes is left as it is.
    pub fn remove(&mut self, gsi: Gsi) -> &mut Self {
        if check_gsi(gsi).is_ok() {
            self.changes.insert(gsi, Vec::new());
        }
        self
    }

    /// The next table.
    ///
    /// # Errors
    /// [`RouteError::TooMany`].
    pub fn build(&self) -> Result<RouteTable, RouteError> {
        let kept = self.table.iter().filter(|route| !self.changes.contains_key(&route.gsi));
        let changed = self.changes.iter().flat_map(|(gsi, targets)| {
            targets.iter().map(|target| Route { gsi: *gsi, target: *target })
        });
        let routes: Vec<Route> = kept.chain(changed).collect();
        if routes.len() > MAX_ROUTES {
            return Err(RouteError::TooMany);
        }
        Ok(RouteTable::build(routes))
    }
}

fn check_gsi(gsi: Gsi) -> Result<(), RouteError> {
    if (gsi.0 as usize) < MAX_ROUTES {
        Ok(())
    } else {
        Err(RouteError::InvalidGsi(gsi))
    }
}
