// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Handing out ISA interrupt lines.
//!
//! IRQ 0 (timer), 1 (keyboard), 2 (cascade), 8 (RTC) and 13 (coprocessor) are edge-triggered by
//! the ELCR's definition (Intel ICH, "ELCR1" and "ELCR2") and belong to the platform: they are
//! never handed out. Level users get 5, 9, 10 and 11 first, the lines that no ISA device of a PC
//! claims; then what else nobody reserved.

use crate::Gsi;

/// IRQ 0, 1, 2, 8 and 13: the platform's own.
const PLATFORM: u16 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 8 | 1 << 13;
/// In the order in which they are handed out. 3 and 4 are the serial ports', 6 the floppy's, 7
/// the printer's, 12 the mouse's, 14 and 15 the disks'.
const PREFERENCE: [u8; 11] = [5, 9, 10, 11, 7, 3, 6, 12, 4, 15, 14];

/// The 16 ISA lines and who has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct IsaAllocator {
    /// Bit n: IRQ n is somebody's alone.
    exclusive: u16,
    /// Level users of each line that is handed out shared.
    users: [u8; 16],
}

/// Why a line is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// Not 0..16, or one of the platform's lines.
    #[error("IRQ {0} is not an ISA line that devices may use")]
    NotAvailable(u8),
    /// Somebody has it.
    #[error("IRQ {0} is taken")]
    Taken(u8),
    /// No line is left.
    #[error("all ISA lines are taken")]
    Exhausted,
}

impl IsaAllocator {
    /// All lines free but the platform's.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the fixed line of an edge-triggered device, such as 4 for the first serial port.
    ///
    /// # Errors
    /// [`IsaError::NotAvailable`], [`IsaError::Taken`].
    pub fn reserve(&mut self, irq: u8) -> Result<Gsi, IsaError> {
        if irq >= 16 || PLATFORM & 1 << irq != 0 {
            return Err(IsaError::NotAvailable(irq));
        }
        if !self.is_free(irq) {
            return Err(IsaError::Taken(irq));
        }
        self.exclusive |= 1 << irq;
        Ok(Gsi(irq.into()))
    }

    /// Takes a line of its own for a level-triggered device.
    ///
    /// # Errors
    /// [`IsaError::Exhausted`].
    pub fn take_level(&mut self) -> Result<Gsi, IsaError> {
        let irq = PREFERENCE.into_iter().find(|irq| self.is_free(*irq));
        self.reserve(irq.ok_or(IsaError::Exhausted)?)
    }

    /// Takes a line that other level-triggered devices may share, as PCI's INTx do: a free one
    /// of 5, 9, 10 and 11, or the one of them with the fewest users, or any other free one.
    ///
    /// # Errors
    /// [`IsaError::Exhausted`].
    pub fn share_level(&mut self) -> Result<Gsi, IsaError> {
        let (first, rest) = PREFERENCE.split_at(4);
        let shared = first.iter().filter(|irq| self.exclusive & 1 << **irq == 0);
        let irq = shared
            .min_by_key(|irq| self.users[usize::from(**irq)])
            .or_else(|| rest.iter().find(|irq| self.exclusive & 1 << **irq == 0))
            .ok_or(IsaError::Exhausted)?;
        let users = &mut self.users[usize::from(*irq)];
        *users = users.checked_add(1).ok_or(IsaError::Exhausted)?;
        Ok(Gsi((*irq).into()))
    }

    /// Gives a line back: the exclusive one, or one user's share. A line that nobody has is left
    /// as it is.
    pub fn free(&mut self, gsi: Gsi) {
        let Some(users) = self.users.get_mut(gsi.0 as usize) else { return };
        match users.checked_sub(1) {
            Some(fewer) => *users = fewer,
            None => self.exclusive &= !(1 << gsi.0),
        }
    }

    /// Whether a device may have this line to itself.
    pub fn is_free(&self, irq: u8) -> bool {
        let Some(users) = self.users.get(usize::from(irq)) else { return false };
        (PLATFORM | self.exclusive) & 1 << irq == 0 && *users == 0
    }
}
