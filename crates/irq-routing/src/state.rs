// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Saved state: plain data, checked when it is restored.

use alloc::vec::Vec;

use crate::route::{Route, RouteError, RouteTable, MAX_ROUTES};
use crate::router::{Router, Wire};
use crate::{Gsi, Line, Msi, SourceId, TriggerMode};

/// A saved [`Router`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RouterState {
    /// The table, by ascending GSI.
    pub routes: Vec<Route>,
    /// The GSIs that have sources, ascending.
    pub wires: Vec<WireState>,
}

/// A saved wire. Bit n of each mask is source n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct WireState {
    /// Whose wire it is.
    pub gsi: Gsi,
    /// Sources that somebody has.
    pub connected: u64,
    /// Sources that assert the wire.
    pub asserted: u64,
    /// Sources that are told of EOIs ([`crate::Resample::Notify`]).
    pub notify: u64,
    /// Sources that an EOI lowers ([`crate::Resample::Deassert`]).
    pub deassert: u64,
    /// Sources that have not been told of an EOI yet.
    pub due: u64,
}

/// Why a saved router cannot be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouterStateError {
    /// A route is invalid.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// A wire's GSI is beyond the table, or not above the one before it.
    #[error("the wire of GSI {} is out of place", .0.0)]
    Gsi(Gsi),
    /// A wire names sources that nobody has, one that resamples in two ways, or an EOI for one
    /// that wants none.
    #[error("the sources of GSI {} contradict each other", .0.0)]
    Sources(Gsi),
}

/// A saved MSI-X table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MsixState {
    /// Address, upper address, data, vector control.
    pub entries: Vec<[u32; 4]>,
    /// Bit n of word w: vector `64 * w + n` is pending.
    pub pending: Vec<u64>,
    /// Message control: enable (bit 15) and function mask (bit 14).
    pub control: u16,
}

/// A saved MSI capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MsiState {
    /// The message registers.
    pub message: Msi,
    /// The enable bit.
    pub enabled: bool,
    /// Vectors that the guest allocated: 1, 2, 4, 8, 16 or 32.
    pub allocated: u8,
    /// The mask bits register.
    pub masked: u32,
    /// The pending bits register.
    pub pending: u32,
}

impl Default for MsiState {
    /// After reset.
    fn default() -> Self {
        MsiState { message: Msi::default(), enabled: false, allocated: 1, masked: 0, pending: 0 }
    }
}

/// A saved legacy line's group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LegacyState {
    /// The line.
    pub gsi: Gsi,
    /// Which of its sources.
    pub source: SourceId,
    /// Edge or level.
    pub trigger: TriggerMode,
    /// Whether the group is on.
    pub enabled: bool,
    /// Whether the source is masked.
    pub masked: bool,
    /// The device asserts its level, or an edge waits for the unmasking.
    pub raised: bool,
}

impl Router {
    /// What is saved.
    pub fn state(&self) -> RouterState {
        let wires = self.wires.iter().enumerate().filter(|(_, wire)| wire.connected != 0);
        RouterState {
            routes: self.table.iter().collect(),
            wires: wires.map(|(gsi, wire)| wire.save(Gsi(gsi as u32))).collect(),
        }
    }

    /// A router as it was saved. It drives nothing: chips restored along with it have their
    /// levels already, new ones get them from [`Router::present`].
    ///
    /// # Errors
    /// [`RouterStateError`].
    pub fn from_state(state: &RouterState) -> Result<Self, RouterStateError> {
        let mut router = Router::new(RouteTable::from_routes(state.routes.iter().copied())?);
        for saved in &state.wires {
            let index = saved.gsi.0 as usize;
            if index >= MAX_ROUTES || index < router.wires.len() {
                return Err(RouterStateError::Gsi(saved.gsi));
            }
            let wire = Wire::restore(saved).ok_or(RouterStateError::Sources(saved.gsi))?;
            router.wires.resize(index, Wire::default());
            router.wires.push(wire);
            if wire.due != 0 {
                router.due.insert(saved.gsi);
            }
        }
        Ok(router)
    }
}

impl Wire {
    fn save(&self, gsi: Gsi) -> WireState {
        let Wire { line, connected, notify, deassert, due } = *self;
        WireState { gsi, connected, asserted: line.sources, notify, deassert, due }
    }

    fn restore(saved: &WireState) -> Option<Self> {
        let WireState { gsi: _, connected, asserted, notify, deassert, due } = *saved;
        let told = notify | deassert;
        let stray = (asserted | told) & !connected | notify & deassert | due & !told;
        let line = Line { sources: asserted };
        (stray == 0 && connected != 0).then_some(Wire { line, connected, notify, deassert, due })
    }
}
