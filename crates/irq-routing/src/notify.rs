// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! GSIs behind a group's notifiers: taken when the first notifier is asked for, given back when
//! the group goes.

use alloc::vec::Vec;

use crate::group::{GroupError, MsiBackend, RouteChange};
use crate::sync::{AtomicU32, SeqCst};
use crate::Gsi;

/// A slot without a GSI.
pub(crate) const NO_GSI: u32 = u32::MAX;

/// The GSI in `slot`, taken now if there is none. Of two threads that do so at once, one gives
/// its own back.
pub(crate) fn bind_gsi<B: MsiBackend>(slot: &AtomicU32, backend: &B) -> Result<Gsi, GroupError> {
    let present = slot.load(SeqCst);
    if present != NO_GSI {
        return Ok(Gsi(present));
    }
    let gsi = backend.take_gsi()?;
    match slot.compare_exchange(NO_GSI, gsi.0, SeqCst, SeqCst) {
        Ok(_) => Ok(gsi),
        Err(winner) => {
            backend.put_gsi(gsi);
            Ok(Gsi(winner))
        }
    }
}

/// Withdraws the routes of all bound slots, in one batch, and gives the GSIs back.
pub(crate) fn withdraw<'a, B: MsiBackend>(slots: impl Iterator<Item = &'a AtomicU32>, backend: &B) {
    let bound = slots.map(|slot| slot.load(SeqCst)).filter(|gsi| *gsi != NO_GSI);
    let changes: Vec<_> = bound.map(|gsi| RouteChange { gsi: Gsi(gsi), msi: None }).collect();
    if changes.is_empty() {
        return;
    }
    // Nothing is left to tell of a failure, and the GSIs must not leak.
    let _ = backend.set_routes(&changes);
    changes.into_iter().for_each(|change| backend.put_gsi(change.gsi));
}
