// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Wires: a line is the OR of its sources.

/// A global system interrupt number (ACPI, "Global System Interrupts").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Gsi(pub u32);

/// One of the at most 64 sources of a [`Line`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "u8", into = "u8"))]
pub struct SourceId(u8);

/// A number that is no [`SourceId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("source {0} is not below 64")]
pub struct InvalidSource(pub u8);

impl TryFrom<u8> for SourceId {
    type Error = InvalidSource;

    fn try_from(index: u8) -> Result<Self, InvalidSource> {
        Self::new(index).ok_or(InvalidSource(index))
    }
}

impl From<SourceId> for u8 {
    fn from(source: SourceId) -> u8 {
        source.0
    }
}

impl SourceId {
    /// Source 0: the only one of a line that nobody shares.
    pub const FIRST: Self = SourceId(0);

    /// Sources that one line can tell apart.
    pub const MAX: u8 = 64;

    /// Source `index`, or `None` from [`SourceId::MAX`] on.
    pub const fn new(index: u8) -> Option<Self> {
        if index < Self::MAX {
            Some(SourceId(index))
        } else {
            None
        }
    }

    /// 0..64.
    pub const fn index(self) -> u8 {
        self.0
    }
}

/// A wire that several sources share; asserted while any of them asserts it.
///
/// Each source has a bit of its own, so asserting twice, or restoring what is already asserted,
/// counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Line {
    /// Bit n: source n asserts the line.
    pub sources: u64,
}

/// What a source's change did to the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum LineChange {
    /// The wire was low and is high.
    Rising,
    /// The wire was high and is low.
    Falling,
    /// The wire stays as it was.
    None,
}

impl Line {
    /// Whether any source asserts the line.
    pub const fn level(self) -> bool {
        self.sources != 0
    }

    /// Sets the level of one source.
    pub fn set(&mut self, source: SourceId, level: bool) -> LineChange {
        let before = self.level();
        let bit = 1 << source.0;
        self.sources = if level { self.sources | bit } else { self.sources & !bit };
        match (before, self.level()) {
            (false, true) => LineChange::Rising,
            (true, false) => LineChange::Falling,
            _ => LineChange::None,
        }
    }
}
