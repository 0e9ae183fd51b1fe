// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Who a message is for (Intel SDM vol. 3, "Determining IPI Destination", "Logical Destination
//! Mode in x2APIC Mode").
//!
//! A [`DestinationMap`] is an immutable snapshot of every local APIC's addresses. Looking up costs
//! a hash probe per physical or x2APIC target and one list step per xAPIC logical target; nothing
//! is allocated or locked. Build a new one when [`LapicEvents::map_changed`] is called and swap
//! it in.
//!
//! [`LapicEvents::map_changed`]: crate::LapicEvents::map_changed

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use irq_routing::{DeliveryMode, DestinationMode, InterruptMessage, BROADCAST};

use crate::base::ApicMode;
use crate::spec::dfr;

/// What the map must know of one local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DestinationEntry {
    /// 32-bit id. Ids are unique; of two equal ones the first is found.
    pub id: u32,
    /// From IA32_APIC_BASE; a disabled one gets no message.
    pub mode: ApicMode,
    /// Logical destination register as the xAPIC holds it (id in bits 31:24). In x2APIC mode it
    /// follows from the id and is not read.
    pub ldr: u32,
    /// Destination format register (model in bits 31:28).
    pub dfr: u32,
    /// SVR bit 8: without it only INIT, NMI, SMI and SIPI get in ("Local APIC State After It
    /// Has Been Software Disabled").
    pub software_enabled: bool,
}

/// An 8-bit destination that an xAPIC takes for everyone, whoever sent it; an x2APIC does not.
const XAPIC_BROADCAST: u32 = 0xff;

/// Flat: one list per bit of the logical id; cluster: one per cluster and member bit.
const FLAT_LISTS: usize = 8;
const LISTS: usize = FLAT_LISTS + 16 * 4;

/// An xAPIC in the list of one of its logical bits.
#[derive(Clone, Copy, Debug)]
struct Member {
    index: u32,
    logical: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    id: u32,
    mode: ApicMode,
    software_enabled: bool,
}

/// A snapshot of every local APIC's addresses, by vCPU index.
#[derive(Debug)]
pub struct DestinationMap {
    slots: Vec<Slot>,
    ids: IdTable,
    /// `members[starts[list]..starts[list + 1]]` is the list.
    starts: [u32; LISTS + 1],
    members: Vec<Member>,
    /// Where lowest-priority arbitration begins to look among equals.
    rotor: AtomicU32,
}

impl DestinationMap {
    /// The map of these APICs; entry n is vCPU n. At most `u32::MAX` entries are looked at.
    pub fn new(entries: &[DestinationEntry]) -> Self {
        let entries = &entries[..entries.len().min(u32::MAX as usize)];
        let (starts, members) = logical_lists(entries);
        DestinationMap {
            slots: entries
                .iter()
                .map(|e| Slot { id: e.id, mode: e.mode, software_enabled: e.software_enabled })
                .collect(),
            ids: IdTable::new(entries),
            starts,
            members,
            rotor: AtomicU32::new(0),
        }
    }

    /// How many vCPUs the map knows.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The vCPUs that the message addresses and that would take it; before arbitration, so a
    /// lowest-priority message has all its candidates here.
    pub fn targets(&self, message: &InterruptMessage) -> Targets<'_> {
        let kind = match (message.destination, message.destination_mode) {
            (BROADCAST, _) => Kind::All { next: 0, except: None },
            (XAPIC_BROADCAST, mode) => Kind::Xapics { next: 0, logical: mode.is_logical() },
            (id, DestinationMode::Physical) => Kind::One(self.ids.get(id)),
            (id, DestinationMode::Logical) => Kind::Logical(Logical::new(id)),
        };
        Targets { map: self, mode: message.delivery_mode, kind }
    }

    /// The vCPUs that take a broadcast of this delivery mode, but for `except`.
    pub fn all(&self, mode: DeliveryMode, except: Option<usize>) -> Targets<'_> {
        Targets { map: self, mode, kind: Kind::All { next: 0, except } }
    }

    /// The only vCPU that the shorthand "self" can mean, if it takes messages at all.
    pub fn only(&self, index: usize, mode: DeliveryMode) -> Targets<'_> {
        Targets { map: self, mode, kind: Kind::One(u32::try_from(index).ok()) }
    }

    /// Of the candidates the one whose priority class, bits 7:4 of what `priority` returns, is
    /// lowest; equals take turns (Intel SDM vol. 3, "Lowest Priority Delivery Mode").
    pub fn arbitrate(
        &self,
        candidates: Targets<'_>,
        priority: impl Fn(usize) -> u8,
    ) -> Option<usize> {
        let rotor = self.rotor.load(Ordering::Relaxed);
        // Distance from the rotor, so that everyone is behind the one chosen last.
        let key = |index: usize| (priority(index) >> 4, (index as u32).wrapping_sub(rotor));
        let winner = candidates.min_by_key(|index| key(*index))?;
        // A race between senders makes a turn unfair, never wrong.
        self.rotor.store((winner as u32).wrapping_add(1), Ordering::Relaxed);
        Some(winner)
    }

    fn accepts(&self, index: usize, mode: DeliveryMode) -> bool {
        let Some(slot) = self.slots.get(index) else { return false };
        match mode {
            _ if slot.mode == ApicMode::Disabled => false,
            DeliveryMode::Fixed | DeliveryMode::LowestPriority | DeliveryMode::ExtInt => {
                slot.software_enabled
            }
            DeliveryMode::Smi | DeliveryMode::Nmi | DeliveryMode::Init | DeliveryMode::StartUp => {
                true
            }
        }
    }

    /// The next vCPU from `from` on that [`XAPIC_BROADCAST`] means.
    fn takes_xapic_broadcast(&self, from: usize, logical: bool) -> Option<usize> {
        let means = |id: u32| match logical {
            // Bits 7:0 of cluster 0.
            true => id < 8,
            false => id == XAPIC_BROADCAST,
        };
        let slots = self.slots.iter().enumerate().skip(from);
        let mut found = slots.filter(|(_, slot)| slot.mode != ApicMode::X2apic || means(slot.id));
        found.next().map(|(index, _)| index)
    }

    fn list(&self, list: usize) -> &[Member] {
        let (from, to) = (self.starts[list] as usize, self.starts[list + 1] as usize);
        self.members.get(from..to).unwrap_or(&[])
    }
}

/// The vCPU indices of [`DestinationMap::targets`], each once.
#[derive(Clone, Debug)]
pub struct Targets<'a> {
    map: &'a DestinationMap,
    mode: DeliveryMode,
    kind: Kind<'a>,
}

#[derive(Clone, Debug)]
enum Kind<'a> {
    One(Option<u32>),
    All {
        next: usize,
        except: Option<usize>,
    },
    /// Every xAPIC, and the x2APICs that [`XAPIC_BROADCAST`] addresses as an id or logically.
    Xapics {
        next: usize,
        logical: bool,
    },
    Logical(Logical<'a>),
}

impl Iterator for Targets<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        loop {
            let index = match &mut self.kind {
                Kind::One(index) => index.take()? as usize,
                Kind::All { next, .. } if *next >= self.map.len() => return None,
                Kind::All { next, except } => {
                    let index = *next;
                    *next += 1;
                    if *except == Some(index) {
                        continue;
                    }
                    index
                }
                Kind::Xapics { next, logical } => {
                    let index = self.map.takes_xapic_broadcast(*next, *logical)?;
                    *next = index + 1;
                    index
                }
                Kind::Logical(logical) => logical.next(self.map)?,
            };
            if self.map.accepts(index, self.mode) {
                return Some(index);
            }
        }
    }
}

/// A walk over the APICs that share a bit with a message's logical destination.
#[derive(Clone, Debug)]
struct Logical<'a> {
    destination: u32,
    /// x2APIC ids still to look up: bits 15:0 of the destination.
    x2apic: u16,
    /// xAPIC lists still to visit: bits 7:0 flat, 11:8 members of the addressed cluster.
    lists: u16,
    /// The list that is being visited, and the bit of the logical id that it stands for.
    list: core::slice::Iter<'a, Member>,
    bit: u8,
}

impl<'a> Logical<'a> {
    fn new(destination: u32) -> Self {
        // An xAPIC compares 8 bits; more of them only an x2APIC can mean.
        let lists = match u8::try_from(destination) {
            Ok(mda) => u16::from(mda) | u16::from(mda & 0xf) << 8,
            Err(_) => 0,
        };
        Logical { destination, x2apic: destination as u16, lists, list: [].iter(), bit: 0 }
    }

    fn next(&mut self, map: &'a DestinationMap) -> Option<usize> {
        self.next_x2apic(map).or_else(|| self.next_xapic(map))
    }

    /// The logical id of an x2APIC is its id in another notation: cluster `id >> 4`, bit
    /// `id & 15`.
    fn next_x2apic(&mut self, map: &DestinationMap) -> Option<usize> {
        while self.x2apic != 0 {
            let bit = self.x2apic.trailing_zeros();
            self.x2apic &= self.x2apic - 1;
            let index = map.ids.get((self.destination >> 16) << 4 | bit);
            let index = index.map(|index| index as usize);
            if let Some(index) =
                index.filter(|i| map.slots.get(*i).is_some_and(|s| s.mode == ApicMode::X2apic))
            {
                return Some(index);
            }
        }
        None
    }

    fn next_xapic(&mut self, map: &'a DestinationMap) -> Option<usize> {
        loop {
            for member in self.list.by_ref() {
                // Whoever shares a lower bit too was met there.
                let lower = (1u8 << self.bit) - 1;
                if member.logical & self.destination as u8 & lower == 0 {
                    return Some(member.index as usize);
                }
            }
            self.open_next_list(map)?;
        }
    }

    fn open_next_list(&mut self, map: &'a DestinationMap) -> Option<()> {
        if self.lists == 0 {
            return None;
        }
        let list = self.lists.trailing_zeros() as usize;
        self.lists &= self.lists - 1;
        let cluster = (self.destination as usize >> 4) & 0xf;
        let (index, bit) = match list.checked_sub(FLAT_LISTS) {
            None => (list, list),
            Some(bit) => (FLAT_LISTS + cluster * 4 + bit, bit),
        };
        self.list = map.list(index).iter();
        self.bit = bit as u8;
        Some(())
    }
}

/// Sorts the xAPICs into the lists of their logical ids: count, sum up, place.
fn logical_lists(entries: &[DestinationEntry]) -> ([u32; LISTS + 1], Vec<Member>) {
    let mut starts = [0u32; LISTS + 1];
    for entry in entries {
        for_each_list(entry, |list, _| starts[list + 1] += 1);
    }
    for list in 0..LISTS {
        starts[list + 1] += starts[list];
    }
    let mut next = starts;
    let mut members = alloc::vec![Member { index: 0, logical: 0 }; starts[LISTS] as usize];
    for (index, entry) in entries.iter().enumerate() {
        for_each_list(entry, |list, logical| {
            members[next[list] as usize] = Member { index: index as u32, logical };
            next[list] += 1;
        });
    }
    (starts, members)
}

fn for_each_list(entry: &DestinationEntry, mut visit: impl FnMut(usize, u8)) {
    if entry.mode != ApicMode::Xapic {
        return;
    }
    let id = (entry.ldr >> 24) as u8;
    let (first, logical) = match (entry.dfr >> 28) as u8 {
        dfr::FLAT => (0, id),
        dfr::CLUSTER => (FLAT_LISTS + usize::from(id >> 4) * 4, id & 0xf),
        // The SDM defines no other model: no logical address.
        _ => return,
    };
    (0..8).filter(|bit| logical & 1 << bit != 0).for_each(|bit| visit(first + bit, logical));
}

/// APIC id -> vCPU index: open addressing, at most half full.
#[derive(Debug)]
struct IdTable {
    slots: Vec<Option<(u32, u32)>>,
    shift: u32,
}

impl IdTable {
    fn new(entries: &[DestinationEntry]) -> Self {
        let size = (entries.len() * 2).next_power_of_two().max(2);
        let mut table =
            IdTable { slots: alloc::vec![None; size], shift: 64 - size.trailing_zeros() };
        for (index, entry) in entries.iter().enumerate() {
            if entry.mode != ApicMode::Disabled {
                table.insert(entry.id, index as u32);
            }
        }
        table
    }

    /// Ids are mostly consecutive: the golden ratio spreads them without collisions.
    fn home(&self, id: u32) -> usize {
        (u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    fn insert(&mut self, id: u32, index: u32) {
        let mask = self.slots.len() - 1;
        let mut at = self.home(id);
        while let Some((other, _)) = self.slots[at] {
            if other == id {
                return;
            }
            at = (at + 1) & mask;
        }
        self.slots[at] = Some((id, index));
    }

    fn get(&self, id: u32) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut at = self.home(id);
        // Half of the slots are empty, so this ends.
        while let Some((other, index)) = self.slots[at] {
            if other == id {
                return Some(index);
            }
            at = (at + 1) & mask;
        }
        None
    }
}

#[cfg(all(test, not(loom)))]
impl DestinationMap {
    /// The most slots that the lookup of a present id looks at.
    pub(crate) fn longest_probe(&self) -> usize {
        let table = &self.ids;
        let distance = |(at, slot): (usize, &Option<(u32, u32)>)| {
            slot.map(|(id, _)| (at.wrapping_sub(table.home(id)) & (table.slots.len() - 1)) + 1)
        };
        table.slots.iter().enumerate().filter_map(distance).max().unwrap_or(0)
    }
}
