// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Where interrupts went.

/// What happened on one pin since it was built. Counters saturate; they are not part of the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PinCounters {
    /// Inactive to active transitions of the line.
    pub raised: u64,
    /// Messages that some target took.
    pub sent: u64,
    /// Messages that nobody took.
    pub refused: u64,
    /// Transitions to active while an earlier interrupt was still in service or held back.
    pub coalesced: u64,
    /// Transitions to active while the entry was masked (or could not send: delivery mode 3 or 6).
    pub masked: u64,
    /// EOIs that cleared remote IRR.
    pub eois: u64,
    /// Times the storm guard held the line back.
    pub storm_pauses: u64,
}

/// Adds one.
pub(crate) fn bump(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}
