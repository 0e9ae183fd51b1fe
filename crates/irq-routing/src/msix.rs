// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! MSI-X: the table, the pending bits, and the group that sends from them (PCI Express Base
//! Specification, "MSI-X Capability and Table Structure").
//!
//! All that decides over an interrupt is one atomic word for each vector: its message, its
//! mask, the function's mask and enable bits, its pending bit. Raising an unmasked interrupt is
//! one load and a send; a message is never half old and half new, and an interrupt raised while
//! another CPU unmasks is sent by exactly one of the two.

mod vector;

use alloc::vec::Vec;

use self::vector::{
    control_bits, entry_word, EntryWrite, Vector, DISABLED, FUNCTION_MASKED, MASKED, PENDING,
    SILENT, VECTOR_MASK,
};
use crate::group::{
    GroupError, GroupKind, InterruptSourceGroup, MsiBackend, RouteChange, SourceConfig,
};
use crate::notify::{bind_gsi, withdraw};
use crate::packed;
use crate::state::MsixState;
use crate::sync::{AtomicU16, Relaxed, SeqCst};
use crate::{Delivery, MsiFormat};

/// Vectors that an MSI-X table can have.
pub const MAX_MSIX_VECTORS: usize = 2048;
/// Bytes of a table entry.
pub const MSIX_ENTRY_SIZE: u64 = 16;

/// Message control: MSI-X enable.
pub const CONTROL_ENABLE: u16 = 1 << 15;
/// Message control: function mask.
pub const CONTROL_FUNCTION_MASK: u16 = 1 << 14;

/// An MSI-X table with its pending bits, and the device's handle to raise its interrupts.
#[derive(Debug)]
pub struct MsixGroup<B: MsiBackend> {
    vectors: Vec<Vector>,
    /// Enable and function mask, as in the capability.
    control: AtomicU16,
    backend: B,
}

impl<B: MsiBackend> MsixGroup<B> {
    /// A table of `vectors` entries as after reset: all masked, all zero, MSI-X off.
    ///
    /// # Errors
    /// [`GroupError::InvalidLength`] unless `vectors` is 1..=[`MAX_MSIX_VECTORS`].
    pub fn new(backend: B, vectors: usize) -> Result<Self, GroupError> {
        if !(1..=MAX_MSIX_VECTORS).contains(&vectors) {
            return Err(GroupError::InvalidLength(vectors));
        }
        let vectors = (0..vectors).map(|_| Vector::new()).collect();
        Ok(MsixGroup { vectors, control: AtomicU16::new(0), backend })
    }

    /// A guest's read of the table at any offset and width. Beyond the table: zeroes.
    pub fn read_table(&self, offset: u64, data: &mut [u8]) {
        for (byte, at) in data.iter_mut().zip(addresses(offset)) {
            let (index, dword, shift) = locate(at);
            let value = self.vectors.get(index).map_or(0, |vector| vector.dword(dword));
            *byte = (value >> shift) as u8;
        }
    }

    /// A guest's write to the table at any offset and width. All of one entry that a write
    /// touches changes at once; beyond the table: ignored. Unmasking delivers what is pending.
    ///
    /// # Errors
    /// What the backend refuses about the routes of vectors with notifiers; the table holds
    /// what was written all the same.
    pub fn write_table(&self, offset: u64, data: &[u8]) -> Result<(), GroupError> {
        let mut bytes = data.iter().zip(addresses(offset)).peekable();
        let mut result = Ok(());
        while let Some((_, at)) = bytes.peek() {
            let (index, ..) = locate(*at);
            let mut write = EntryWrite::default();
            while let Some((byte, at)) = bytes.next_if(|(_, at)| locate(*at).0 == index) {
                let (_, dword, shift) = locate(at);
                write.values[dword] |= u32::from(*byte) << shift;
                write.masks[dword] |= 0xff << shift;
            }
            if let Some(vector) = self.vectors.get(index) {
                result = self.write_entry(vector, write).and(result);
            }
        }
        result
    }

    /// A guest's read of the pending-bit array at any offset and width; beyond the last vector:
    /// zeroes. Writes to it have no effect, so there is no method for them.
    pub fn read_pba(&self, offset: u64, data: &mut [u8]) {
        for (byte, at) in data.iter_mut().zip(addresses(offset)) {
            let first = usize::try_from(at).unwrap_or(usize::MAX).saturating_mul(8);
            let bits = (0..8).filter(|bit| self.pending_bit(first.saturating_add(*bit)));
            *byte = bits.fold(0, |bits, bit| bits | 1 << bit);
        }
    }

    /// The capability's message control register: enable, function mask, and the table's size
    /// minus 1 in bits 10:0.
    pub fn control(&self) -> u16 {
        self.control.load(SeqCst) | (self.vectors.len() - 1) as u16
    }

    /// A guest's write to message control; only [`CONTROL_ENABLE`] and
    /// [`CONTROL_FUNCTION_MASK`] can be written. Lifting the function's mask delivers what is
    /// pending.
    ///
    /// # Errors
    /// As [`MsixGroup::write_table`]; all routes change in one batch.
    pub fn set_control(&self, control: u16) -> Result<(), GroupError> {
        self.control.store(control & (CONTROL_ENABLE | CONTROL_FUNCTION_MASK), SeqCst);
        loop {
            // A second CPU that writes the register meanwhile may have its value overtaken by
            // ours in some vectors: repeat until what was applied is what the register says.
            let applied = self.control.load(SeqCst);
            let bits = control_bits(applied);
            for vector in &self.vectors {
                let change = |word| word & !(FUNCTION_MASKED | DISABLED) | bits;
                vector.change(change, &self.backend);
            }
            self.sync_routes(&self.vectors)?;
            if self.control.load(SeqCst) == applied {
                return Ok(());
            }
        }
    }

    /// Back to the state after [`MsixGroup::new`]: all masked, all zero, MSI-X off, nothing
    /// pending. Notifiers stay.
    ///
    /// # Errors
    /// As [`MsixGroup::write_table`].
    pub fn reset(&self) -> Result<(), GroupError> {
        self.control.store(0, SeqCst);
        self.vectors.iter().for_each(Vector::reset);
        self.sync_routes(&self.vectors)
    }

    /// What is saved. Taken while nobody raises or configures.
    pub fn state(&self) -> MsixState {
        let mut pending = alloc::vec![0; self.vectors.len().div_ceil(64)];
        for index in (0..self.vectors.len()).filter(|index| self.pending_bit(*index)) {
            pending[index / 64] |= 1 << (index % 64);
        }
        let entry = |vector: &Vector| core::array::from_fn(|dword| vector.dword(dword));
        MsixState {
            entries: self.vectors.iter().map(entry).collect(),
            pending,
            control: self.control.load(SeqCst),
        }
    }

    /// Puts a saved state in place. Sends nothing.
    ///
    /// # Errors
    /// [`GroupError::InvalidState`], with nothing changed, for another number of vectors, for
    /// bits that do not exist, and for a pending bit of a vector that nothing masks. Then as
    /// [`MsixGroup::write_table`].
    pub fn restore(&self, state: &MsixState) -> Result<(), GroupError> {
        if !self.can_be_in(state) {
            return Err(GroupError::InvalidState);
        }
        self.control.store(state.control, SeqCst);
        for ((vector, entry), word) in self.vectors.iter().zip(&state.entries).zip(words(state)) {
            vector.word.store(word, SeqCst);
            vector.raw.iter().zip(entry).for_each(|(raw, dword)| raw.store(*dword, Relaxed));
        }
        self.sync_routes(&self.vectors)
    }

    /// The message of a vector, decoded, for those who show it; `None` without such a vector or
    /// where the entry's address or data mean no interrupt.
    pub fn message(&self, index: usize, format: MsiFormat) -> Option<crate::InterruptMessage> {
        let word = self.vectors.get(index)?.word.load(SeqCst);
        packed::message(word)?.decode(format).ok()
    }

    /// The machine behind the group.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    fn can_be_in(&self, state: &MsixState) -> bool {
        let count = self.vectors.len();
        let stray = |(index, word): (usize, &u64)| {
            let here = count.saturating_sub(index * 64).min(64) as u32;
            word.checked_shr(here).is_some_and(|beyond| beyond != 0)
        };
        state.entries.len() == count
            && state.pending.len() == count.div_ceil(64)
            && !state.pending.iter().enumerate().any(stray)
            && state.control & !(CONTROL_ENABLE | CONTROL_FUNCTION_MASK) == 0
            && state.entries.iter().all(|entry| entry[0] & 3 == 0 && entry[3] <= VECTOR_MASK)
            && words(state).all(|word| word & PENDING == 0 || word & SILENT != 0)
    }

    fn vector(&self, index: usize) -> Result<&Vector, GroupError> {
        self.vectors.get(index).ok_or(GroupError::InvalidIndex(index))
    }

    fn write_entry(&self, vector: &Vector, write: EntryWrite) -> Result<(), GroupError> {
        let dwords = vector.store_raw(write);
        let change = |mut word| {
            if write.masks[0] != 0 {
                word = packed::with_low(word, dwords[0]);
            }
            if write.masks[1] != 0 {
                word = packed::with_high(word, dwords[1]);
            }
            if write.masks[2] != 0 {
                word = packed::with_data(word, dwords[2]);
            }
            match (write.masks[3] & VECTOR_MASK != 0, write.values[3] & VECTOR_MASK != 0) {
                (false, _) => word,
                (true, false) => word & !MASKED,
                (true, true) => word | MASKED,
            }
        };
        vector.change(change, &self.backend);
        self.sync_routes(core::slice::from_ref(vector))
    }

    fn pending_bit(&self, index: usize) -> bool {
        self.vectors.get(index).is_some_and(|vector| {
            let gsi = vector.gsi();
            vector.word.load(SeqCst) & PENDING != 0
                || gsi.is_some_and(|gsi| self.backend.is_pending(gsi))
        })
    }

    /// Brings the routes of those of `vectors` that have a notifier up to date, in one batch.
    ///
    /// Two CPUs may change one vector at a time and get here in either order. Each looks again
    /// after its change and repeats it if the table has moved on, so the last route is that of
    /// the last write; a round is repeated only when another CPU's write came between.
    fn sync_routes(&self, vectors: &[Vector]) -> Result<(), GroupError> {
        loop {
            let changes: Vec<RouteChange> = vectors.iter().filter_map(Vector::route).collect();
            if changes.is_empty() {
                return Ok(());
            }
            self.backend.set_routes(&changes)?;
            if vectors.iter().filter_map(Vector::route).eq(changes) {
                return Ok(());
            }
        }
    }
}

impl<B: MsiBackend> InterruptSourceGroup for MsixGroup<B> {
    type Notifier = B::Notifier;

    fn kind(&self) -> GroupKind {
        GroupKind::Msix
    }

    fn len(&self) -> usize {
        self.vectors.len()
    }

    fn enable(&self) -> Result<(), GroupError> {
        let result = self.set_control(self.control() | CONTROL_ENABLE);
        if result.is_err() {
            let _ = self.disable();
        }
        result
    }

    fn disable(&self) -> Result<(), GroupError> {
        self.set_control(self.control() & !CONTROL_ENABLE)
    }

    fn trigger(&self, index: usize) -> Result<Delivery, GroupError> {
        Ok(self.vector(index)?.trigger(&self.backend))
    }

    fn deassert(&self, index: usize) -> Result<(), GroupError> {
        self.vector(index).map(drop)
    }

    fn mask(&self, index: usize) -> Result<(), GroupError> {
        let vector = self.vector(index)?;
        vector.change(|word| word | MASKED, &self.backend);
        self.sync_routes(core::slice::from_ref(vector))
    }

    fn unmask(&self, index: usize) -> Result<(), GroupError> {
        let vector = self.vector(index)?;
        vector.change(|word| word & !MASKED, &self.backend);
        self.sync_routes(core::slice::from_ref(vector))
    }

    fn is_masked(&self, index: usize) -> Result<bool, GroupError> {
        Ok(self.vector(index)?.word.load(SeqCst) & (MASKED | FUNCTION_MASKED) != 0)
    }

    fn is_pending(&self, index: usize) -> Result<bool, GroupError> {
        self.vector(index)?;
        Ok(self.pending_bit(index))
    }

    fn clear_pending(&self, index: usize) -> Result<(), GroupError> {
        self.vector(index)?.word.fetch_and(!PENDING, SeqCst);
        Ok(())
    }

    fn update(&self, index: usize, config: SourceConfig, masked: bool) -> Result<(), GroupError> {
        let SourceConfig::Msi(msi) = config else { return Err(GroupError::WrongKind) };
        let vector = self.vector(index)?;
        if !masked {
            msi.decode(MsiFormat::default())?;
        }
        let values = [msi.address as u32, (msi.address >> 32) as u32, msi.data, u32::from(masked)];
        self.write_entry(vector, EntryWrite { values, masks: [u32::MAX; 4] })
    }

    fn notifier(&self, index: usize) -> Result<B::Notifier, GroupError> {
        let vector = self.vector(index)?;
        let gsi = bind_gsi(&vector.gsi, &self.backend)?;
        self.sync_routes(core::slice::from_ref(vector))?;
        self.backend.notifier(gsi).ok_or(GroupError::NoNotifiers)
    }
}

/// Withdraws the group's routes, in one batch, and gives its GSIs back.
impl<B: MsiBackend> Drop for MsixGroup<B> {
    fn drop(&mut self) {
        withdraw(self.vectors.iter().map(|vector| &vector.gsi), &self.backend);
    }
}

/// The words of a saved table.
fn words(state: &MsixState) -> impl Iterator<Item = u64> + '_ {
    let bits = control_bits(state.control);
    state.entries.iter().enumerate().map(move |(index, entry)| {
        let pending = state.pending.get(index / 64);
        entry_word(entry, pending.is_some_and(|word| word & 1 << (index % 64) != 0)) | bits
    })
}

/// The address of each byte of an access. One that runs off the end of the address space stays
/// there, beyond any table.
fn addresses(offset: u64) -> impl Iterator<Item = u64> {
    (0..).map(move |byte| offset.saturating_add(byte))
}

/// Entry, dword and bit shift of a byte of the table.
fn locate(offset: u64) -> (usize, usize, u32) {
    let index = usize::try_from(offset / MSIX_ENTRY_SIZE).unwrap_or(usize::MAX);
    (index, (offset / 4 % 4) as usize, (offset % 4) as u32 * 8)
}
