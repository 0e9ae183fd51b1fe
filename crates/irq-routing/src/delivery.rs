// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What became of a request.

use core::ops::Add;

/// What became of an interrupt request, as KVM's `KVM_IRQ_LINE_STATUS` reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[must_use]
pub enum Delivery {
    /// Nobody took it: masked, not routed, or the line did not change.
    Ignored,
    /// It merged with a request that was still pending.
    Coalesced,
    /// So many targets took it (never 0).
    Delivered(u32),
}

impl Delivery {
    /// `Delivered(count)`, or `Ignored` for 0.
    pub const fn from_count(count: u32) -> Self {
        match count {
            0 => Delivery::Ignored,
            n => Delivery::Delivered(n),
        }
    }
}

/// The outcome of several targets together: deliveries add up, and a delivery outweighs a
/// coalesced request, which outweighs an ignored one.
impl Add for Delivery {
    type Output = Delivery;

    fn add(self, other: Delivery) -> Delivery {
        match (self, other) {
            (Delivery::Delivered(a), Delivery::Delivered(b)) => {
                Delivery::Delivered(a.saturating_add(b))
            }
            (a, b) => a.max(b),
        }
    }
}
