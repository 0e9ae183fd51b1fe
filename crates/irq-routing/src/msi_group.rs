// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! MSI: one message for up to 32 vectors, with per-vector masking (PCI Local Bus Specification
//! 3.0, "MSI Capability Structure").
//!
//! Message, enable bit and vector count are one atomic word, mask and pending bits another, so
//! raising an interrupt takes no lock and sends no torn message.

use alloc::vec::Vec;

use crate::group::{
    GroupError, GroupKind, InterruptSourceGroup, MsiBackend, RouteChange, SourceConfig,
};
use crate::notify::{bind_gsi, withdraw, NO_GSI};
use crate::packed;
use crate::state::MsiState;
use crate::sync::{AtomicU32, AtomicU64, Relaxed, SeqCst};
use crate::{Delivery, Gsi, Msi, MsiFormat};

/// Vectors that an MSI capability can have.
pub const MAX_MSI_VECTORS: usize = 32;

// The bits of the message word above the message.
const COUNT_SHIFT: u32 = 60;
const COUNT: u64 = 7 << COUNT_SHIFT;
const ENABLE: u64 = 1 << 63;

/// The MSI capability's registers, and the device's handle to raise its interrupts.
#[derive(Debug)]
pub struct MsiGroup<B: MsiBackend> {
    /// Message, log2 of the vectors that the guest allocated, enable.
    message: AtomicU64,
    /// The address as the guest wrote it, lower half first, for reading back.
    address: [AtomicU32; 2],
    /// Mask bits in the upper half, pending bits in the lower.
    masks: AtomicU64,
    gsis: Vec<AtomicU32>,
    backend: B,
}

impl<B: MsiBackend> MsiGroup<B> {
    /// A capability of `vectors` vectors as after reset: off, nothing masked, one vector
    /// allocated.
    ///
    /// # Errors
    /// [`GroupError::InvalidLength`] unless `vectors` is 1, 2, 4, 8, 16 or 32.
    pub fn new(backend: B, vectors: usize) -> Result<Self, GroupError> {
        if !vectors.is_power_of_two() || vectors > MAX_MSI_VECTORS {
            return Err(GroupError::InvalidLength(vectors));
        }
        Ok(MsiGroup {
            message: AtomicU64::new(packed::with_message(0, Msi::default())),
            address: [AtomicU32::new(0), AtomicU32::new(0)],
            masks: AtomicU64::new(0),
            gsis: (0..vectors).map(|_| AtomicU32::new(NO_GSI)).collect(),
            backend,
        })
    }

    /// Whether the capability's enable bit is set.
    pub fn is_enabled(&self) -> bool {
        self.message.load(SeqCst) & ENABLE != 0
    }

    /// Vectors that the guest allocated: 1, 2, 4, .. up to the group's length. A trigger of a
    /// higher index arrives at a lower one, its index modulo this.
    pub fn allocated(&self) -> usize {
        1 << ((self.message.load(SeqCst) & COUNT) >> COUNT_SHIFT)
    }

    /// A guest's write to enable (bit 0) and multiple message enable (bits 6:4) of message
    /// control. More vectors than the group has, reserved encodings included, are as many as it
    /// has.
    ///
    /// # Errors
    /// What the backend refuses about routes; the register holds what was written all the same.
    pub fn set_control(&self, control: u16) -> Result<(), GroupError> {
        let log2 = u64::from(control >> 4 & 7).min(self.gsis.len().trailing_zeros().into());
        let enable = if control & 1 != 0 { ENABLE } else { 0 };
        self.change_message(|word| word & !(COUNT | ENABLE) | log2 << COUNT_SHIFT | enable)
    }

    /// Message control: enable, multiple message capable and enable, 64-bit, per-vector masking.
    pub fn control(&self) -> u16 {
        let word = self.message.load(SeqCst);
        let capable = self.gsis.len().trailing_zeros() as u16;
        let enabled = ((word & COUNT) >> COUNT_SHIFT) as u16;
        u16::from(word & ENABLE != 0) | capable << 1 | enabled << 4 | 1 << 7 | 1 << 8
    }

    /// Sets the message, both halves of the address and the data at once.
    ///
    /// # Errors
    /// As [`MsiGroup::set_control`].
    pub fn set_message(&self, msi: Msi) -> Result<(), GroupError> {
        self.store_address(msi.address);
        self.change_message(|word| packed::with_message(word, msi))
    }

    /// The message registers as the guest wrote them: the full address, and the data without a
    /// vector's number.
    pub fn registers(&self) -> Msi {
        let [low, high] = &self.address;
        let address = u64::from(high.load(Relaxed)) << 32 | u64::from(low.load(Relaxed));
        Msi { address, data: packed::data(self.message.load(SeqCst)).into() }
    }

    /// A guest's write to the message address register.
    ///
    /// # Errors
    /// As [`MsiGroup::set_control`].
    pub fn set_address_low(&self, low: u32) -> Result<(), GroupError> {
        self.address[0].store(low & !3, Relaxed);
        self.change_message(|word| packed::with_low(word, low))
    }

    /// A guest's write to the message upper address register.
    ///
    /// # Errors
    /// As [`MsiGroup::set_control`].
    pub fn set_address_high(&self, high: u32) -> Result<(), GroupError> {
        self.address[1].store(high, Relaxed);
        self.change_message(|word| packed::with_high(word, high))
    }

    /// A guest's write to the message data register.
    ///
    /// # Errors
    /// As [`MsiGroup::set_control`].
    pub fn set_data(&self, data: u16) -> Result<(), GroupError> {
        self.change_message(|word| packed::with_data(word, data.into()))
    }

    /// The message of a vector, its number in the low bits of the data; `None` where the address
    /// lies outside the interrupt window.
    pub fn message(&self, index: usize) -> Option<Msi> {
        vector_message(self.message.load(SeqCst), index)
    }

    /// The mask bits register.
    pub fn mask_bits(&self) -> u32 {
        (self.masks.load(SeqCst) >> 32) as u32
    }

    /// A guest's write to the mask bits register; what is pending and unmasked now is
    /// delivered.
    ///
    /// # Errors
    /// As [`MsiGroup::set_control`].
    pub fn set_mask_bits(&self, masks: u32) -> Result<(), GroupError> {
        let masks = masks & self.all();
        self.change_masks(|word| u64::from(masks) << 32 | word & 0xffff_ffff)
    }

    /// The pending bits register.
    pub fn pending_bits(&self) -> u32 {
        let notified = (0..self.gsis.len())
            .filter(|index| self.gsi(*index).is_some_and(|gsi| self.backend.is_pending(gsi)));
        self.masks.load(SeqCst) as u32 | notified.fold(0, |bits, index| bits | 1 << index)
    }

    /// Back to the state after [`MsiGroup::new`]. Notifiers stay.
    ///
    /// # Errors
    /// As [`MsiGroup::set_control`].
    pub fn reset(&self) -> Result<(), GroupError> {
        self.store_address(0);
        self.message.store(packed::with_message(0, Msi::default()), SeqCst);
        self.masks.store(0, SeqCst);
        self.sync_routes()
    }

    /// The machine behind the group.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// What is saved. Taken while nobody raises or configures.
    pub fn state(&self) -> MsiState {
        MsiState {
            message: self.registers(),
            enabled: self.is_enabled(),
            allocated: self.allocated() as u8,
            masked: self.mask_bits(),
            pending: self.pending_bits(),
        }
    }

    /// Puts a saved state in place. Sends nothing.
    ///
    /// # Errors
    /// [`GroupError::InvalidState`], with nothing changed, for more vectors than there are, for
    /// bits that do not exist, and for a pending bit of an enabled vector that nothing masks.
    /// Then as [`MsiGroup::set_control`].
    pub fn restore(&self, state: &MsiState) -> Result<(), GroupError> {
        let ready = state.enabled && state.pending & !state.masked != 0;
        let valid = state.allocated.is_power_of_two()
            && usize::from(state.allocated) <= self.gsis.len()
            && (state.masked | state.pending) & !self.all() == 0
            && state.message.address & 3 == 0
            && state.message.data <= 0xffff;
        if ready || !valid {
            return Err(GroupError::InvalidState);
        }
        let enable = if state.enabled { ENABLE } else { 0 };
        let count = u64::from(state.allocated.trailing_zeros()) << COUNT_SHIFT;
        self.store_address(state.message.address);
        self.masks.store(u64::from(state.masked) << 32 | u64::from(state.pending), SeqCst);
        self.message.store(packed::with_message(enable | count, state.message), SeqCst);
        self.sync_routes()
    }

    fn store_address(&self, address: u64) {
        self.address[0].store(address as u32 & !3, Relaxed);
        self.address[1].store((address >> 32) as u32, Relaxed);
    }

    /// A bit for each vector of the group.
    fn all(&self) -> u32 {
        u32::MAX >> (32 - self.gsis.len())
    }

    fn check(&self, index: usize) -> Result<(), GroupError> {
        if index < self.gsis.len() {
            Ok(())
        } else {
            Err(GroupError::InvalidIndex(index))
        }
    }

    fn change_message(&self, change: impl Fn(u64) -> u64) -> Result<(), GroupError> {
        update(&self.message, change);
        self.deliver_pending();
        self.sync_routes()
    }

    fn change_masks(&self, change: impl Fn(u64) -> u64) -> Result<(), GroupError> {
        update(&self.masks, change);
        self.deliver_pending();
        self.sync_routes()
    }

    /// Sends what is pending, unmasked and enabled.
    ///
    /// Enabling and unmasking are changes of different words. Each is followed by this look at
    /// both, sequentially consistent, so whichever comes second sees the first; who clears the
    /// pending bit sends.
    fn deliver_pending(&self) {
        while self.is_enabled() {
            let before = update(&self.masks, |word| word & !deliverable(word));
            let mut ready = deliverable(before) as u32;
            if ready == 0 {
                return;
            }
            while ready != 0 {
                let index = ready.trailing_zeros() as usize;
                ready &= ready - 1;
                let _ = self.send(self.message.load(SeqCst), index);
            }
        }
    }

    fn send(&self, word: u64, index: usize) -> Delivery {
        vector_message(word, index).map_or(Delivery::Ignored, |msi| self.backend.send(msi))
    }

    fn gsi(&self, index: usize) -> Option<Gsi> {
        let gsi = self.gsis.get(index)?.load(SeqCst);
        (gsi != NO_GSI).then_some(Gsi(gsi))
    }

    fn routes(&self) -> Vec<RouteChange> {
        let word = self.message.load(SeqCst);
        let masks = self.mask_bits();
        let route = |index| {
            let open = word & ENABLE != 0 && masks & 1 << fold(word, index) == 0;
            let msi = if open { vector_message(word, index) } else { None };
            Some(RouteChange { gsi: self.gsi(index)?, msi })
        };
        (0..self.gsis.len()).filter_map(route).collect()
    }

    /// Brings the routes up to date, in one batch. Repeated while another CPU changes them
    /// meanwhile, so that the last route is that of the last write.
    fn sync_routes(&self) -> Result<(), GroupError> {
        loop {
            let changes = self.routes();
            if changes.is_empty() {
                return Ok(());
            }
            self.backend.set_routes(&changes)?;
            if self.routes() == changes {
                return Ok(());
            }
        }
    }
}

impl<B: MsiBackend> InterruptSourceGroup for MsiGroup<B> {
    type Notifier = B::Notifier;

    fn kind(&self) -> GroupKind {
        GroupKind::Msi
    }

    fn len(&self) -> usize {
        self.gsis.len()
    }

    fn enable(&self) -> Result<(), GroupError> {
        let result = self.change_message(|word| word | ENABLE);
        if result.is_err() {
            let _ = self.disable();
        }
        result
    }

    fn disable(&self) -> Result<(), GroupError> {
        self.change_message(|word| word & !ENABLE)
    }

    fn trigger(&self, index: usize) -> Result<Delivery, GroupError> {
        self.check(index)?;
        let word = self.message.load(SeqCst);
        if word & ENABLE == 0 {
            return Ok(Delivery::Ignored);
        }
        let bit = 1u64 << fold(word, index);
        let mut masks = self.masks.load(SeqCst);
        while masks & bit << 32 != 0 {
            match self.masks.compare_exchange(masks, masks | bit, SeqCst, SeqCst) {
                Ok(_) => return Ok(Delivery::Coalesced),
                Err(now) => masks = now,
            }
        }
        Ok(self.send(word, index))
    }

    fn deassert(&self, index: usize) -> Result<(), GroupError> {
        self.check(index)
    }

    fn mask(&self, index: usize) -> Result<(), GroupError> {
        self.check(index)?;
        self.change_masks(|word| word | 1 << (32 + index))
    }

    fn unmask(&self, index: usize) -> Result<(), GroupError> {
        self.check(index)?;
        self.change_masks(|word| word & !(1 << (32 + index)))
    }

    fn is_masked(&self, index: usize) -> Result<bool, GroupError> {
        self.check(index)?;
        Ok(self.mask_bits() & 1 << index != 0)
    }

    fn is_pending(&self, index: usize) -> Result<bool, GroupError> {
        self.check(index)?;
        Ok(self.pending_bits() & 1 << index != 0)
    }

    fn clear_pending(&self, index: usize) -> Result<(), GroupError> {
        self.check(index)?;
        self.masks.fetch_and(!(1 << index), SeqCst);
        Ok(())
    }

    /// The message is the whole group's: the vector's number replaces the low bits of its data.
    fn update(&self, index: usize, config: SourceConfig, masked: bool) -> Result<(), GroupError> {
        self.check(index)?;
        let SourceConfig::Msi(msi) = config else { return Err(GroupError::WrongKind) };
        if !masked {
            msi.decode(MsiFormat::default())?;
        }
        // Masked before the message changes and unmasked after it, so nothing of this vector is
        // sent in between that could be meant for the other state.
        if masked {
            update(&self.masks, |word| word | 1 << (32 + index));
        }
        self.store_address(msi.address);
        update(&self.message, |word| packed::with_message(word, msi));
        if !masked {
            update(&self.masks, |word| word & !(1 << (32 + index)));
        }
        self.deliver_pending();
        self.sync_routes()
    }

    fn notifier(&self, index: usize) -> Result<B::Notifier, GroupError> {
        let slot = self.gsis.get(index).ok_or(GroupError::InvalidIndex(index))?;
        let gsi = bind_gsi(slot, &self.backend)?;
        self.sync_routes()?;
        self.backend.notifier(gsi).ok_or(GroupError::NoNotifiers)
    }
}

/// Withdraws the group's routes, in one batch, and gives its GSIs back.
impl<B: MsiBackend> Drop for MsiGroup<B> {
    fn drop(&mut self) {
        withdraw(self.gsis.iter(), &self.backend);
    }
}

/// Changes an atomic word; gives its former value.
fn update(word: &AtomicU64, change: impl Fn(u64) -> u64) -> u64 {
    let mut before = word.load(SeqCst);
    loop {
        match word.compare_exchange(before, change(before), SeqCst, SeqCst) {
            Ok(_) => return before,
            Err(now) => before = now,
        }
    }
}

/// Pending bits that no mask bit holds back.
fn deliverable(masks: u64) -> u64 {
    masks & 0xffff_ffff & !(masks >> 32)
}

/// The allocated vector that stands for `index`.
fn fold(word: u64, index: usize) -> usize {
    index & ((1 << ((word & COUNT) >> COUNT_SHIFT)) - 1)
}

fn vector_message(word: u64, index: usize) -> Option<Msi> {
    let low = (1 << ((word & COUNT) >> COUNT_SHIFT)) - 1;
    let msi = packed::message(word)?;
    Some(Msi { data: msi.data & !low | fold(word, index) as u32, ..msi })
}
