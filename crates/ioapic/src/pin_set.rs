// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A set of pins.

use core::ops::{BitAnd, BitOr, BitOrAssign};

/// A set of pin numbers (0..=255), 256 bits, no allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PinSet([u64; 4]);

impl PinSet {
    /// No pin.
    pub const EMPTY: PinSet = PinSet([0; 4]);
    /// Every pin; those that an IOAPIC does not have count for nothing.
    pub const ALL: PinSet = PinSet([u64::MAX; 4]);

    /// The set of one pin.
    pub fn only(pin: u8) -> Self {
        let mut set = Self::EMPTY;
        set.insert(pin);
        set
    }

    /// Adds `pin`.
    pub fn insert(&mut self, pin: u8) {
        self.0[usize::from(pin >> 6)] |= 1 << (pin & 63);
    }

    /// Removes `pin`; whether it was there.
    pub fn remove(&mut self, pin: u8) -> bool {
        let there = self.contains(pin);
        self.0[usize::from(pin >> 6)] &= !(1 << (pin & 63));
        there
    }

    /// Whether `pin` is in the set.
    pub const fn contains(&self, pin: u8) -> bool {
        self.0[(pin >> 6) as usize] & 1 << (pin & 63) != 0
    }

    /// Whether no pin is in the set.
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    /// How many pins are in the set, 0..=256.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// The pins in ascending order.
    pub const fn iter(self) -> Pins {
        Pins { rest: self }
    }

    fn first(&self) -> Option<u8> {
        let index = self.0.iter().position(|word| *word != 0)?;
        Some((index as u8) << 6 | self.0[index].trailing_zeros() as u8)
    }
}

/// The pins of a [`PinSet`] in ascending order.
#[derive(Clone, Debug)]
pub struct Pins {
    rest: PinSet,
}

impl Iterator for Pins {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let pin = self.rest.first()?;
        self.rest.remove(pin);
        Some(pin)
    }
}

impl IntoIterator for PinSet {
    type Item = u8;
    type IntoIter = Pins;

    fn into_iter(self) -> Pins {
        self.iter()
    }
}

impl FromIterator<u8> for PinSet {
    fn from_iter<I: IntoIterator<Item = u8>>(pins: I) -> Self {
        let mut set = Self::EMPTY;
        pins.into_iter().for_each(|pin| set.insert(pin));
        set
    }
}

impl BitOr for PinSet {
    type Output = PinSet;

    fn bitor(self, other: PinSet) -> PinSet {
        PinSet(core::array::from_fn(|i| self.0[i] | other.0[i]))
    }
}

impl BitOrAssign for PinSet {
    fn bitor_assign(&mut self, other: PinSet) {
        *self = *self | other;
    }
}

impl BitAnd for PinSet {
    type Output = PinSet;

    fn bitand(self, other: PinSet) -> PinSet {
        PinSet(core::array::from_fn(|i| self.0[i] & other.0[i]))
    }
}
