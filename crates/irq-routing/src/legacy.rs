// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Legacy lines: ISA interrupts and PCI INTx, as an interrupt source group of one.

use crate::group::{GroupError, GroupKind, InterruptSourceGroup, LineBackend, SourceConfig};
use crate::state::LegacyState;
use crate::sync::{AtomicU8, SeqCst};
use crate::{Delivery, Gsi, Resample, SourceId, TriggerMode};

const ENABLED: u8 = 1 << 0;
const MASKED: u8 = 1 << 1;
/// The device asserts its level, or an edge waits for the unmasking.
const RAISED: u8 = 1 << 2;
const LEVEL: u8 = 1 << 3;

/// One source of a line. Its level goes away with it.
#[derive(Debug)]
pub struct LegacyGroup<B: LineBackend> {
    state: AtomicU8,
    source: SourceId,
    gsi: Gsi,
    backend: B,
}

impl<B: LineBackend> LegacyGroup<B> {
    /// Connects a source to `gsi`. It is off and unmasked.
    ///
    /// A level source with `resample` learns of EOIs from the machine's
    /// [`crate::Router::next_resample`]; its owner then says with [`LegacyGroup::set_level`]
    /// whether the device still wants service.
    ///
    /// # Errors
    /// [`GroupError::Connect`].
    pub fn new(
        backend: B,
        gsi: Gsi,
        trigger: TriggerMode,
        resample: Resample,
    ) -> Result<Self, GroupError> {
        let source = backend.connect(gsi, resample)?;
        let state = AtomicU8::new(if trigger.is_level() { LEVEL } else { 0 });
        Ok(LegacyGroup { state, source, gsi, backend })
    }

    /// A group as it was saved, of a machine whose router was restored before: the source is
    /// still connected there, and a level that the wire already has is not counted twice.
    ///
    /// # Errors
    /// [`GroupError::InvalidState`] if the router has no such source.
    pub fn from_state(backend: B, state: &LegacyState) -> Result<Self, GroupError> {
        let LegacyState { gsi, source, trigger, enabled, masked, raised } = *state;
        if !backend.is_connected(source, gsi) {
            return Err(GroupError::InvalidState);
        }
        let flags = [(enabled, ENABLED), (masked, MASKED), (raised, RAISED)];
        let level = if trigger.is_level() { LEVEL } else { 0 };
        let state = flags.iter().filter(|(set, _)| *set).fold(level, |all, (_, bit)| all | bit);
        let group = LegacyGroup { state: AtomicU8::new(state), source, gsi, backend };
        if level != 0 {
            let _ = group.present(state);
        }
        Ok(group)
    }

    /// What is saved. Taken while nobody raises or configures.
    pub fn state(&self) -> LegacyState {
        let state = self.state.load(SeqCst);
        LegacyState {
            gsi: self.gsi,
            source: self.source,
            trigger: TriggerMode::from_bit(state & LEVEL != 0),
            enabled: state & ENABLED != 0,
            masked: state & MASKED != 0,
            raised: state & RAISED != 0,
        }
    }

    /// The line.
    pub fn gsi(&self) -> Gsi {
        self.gsi
    }

    /// Which of the line's sources this is.
    pub fn source(&self) -> SourceId {
        self.source
    }

    /// Sets the level of a level line; for an edge line, `true` is a pulse.
    ///
    /// The owner of a source with [`Resample::Deassert`] calls this after each EOI, with the
    /// level that the device wants then: its level on the wire was lowered by the EOI.
    pub fn set_level(&self, level: bool) -> Delivery {
        if level {
            self.raise()
        } else {
            self.lower();
            Delivery::Ignored
        }
    }

    fn raise(&self) -> Delivery {
        let state = self.state.load(SeqCst);
        if state & ENABLED == 0 {
            return Delivery::Ignored;
        }
        if state & (LEVEL | MASKED) == 0 {
            return self.backend.pulse(self.source, self.gsi);
        }
        let before = self.state.fetch_or(RAISED, SeqCst);
        self.present(before | RAISED).unwrap_or(Delivery::Coalesced)
    }

    fn lower(&self) {
        // An edge that waits was meant: only a level can be taken back.
        if self.state.load(SeqCst) & LEVEL != 0 {
            let before = self.state.fetch_and(!RAISED, SeqCst);
            let _ = self.present(before & !RAISED);
        }
    }

    /// Shows the machine what `state` means: the level, or the edge that waited. `None` when it
    /// is masked or off.
    ///
    /// Two threads may change the state at a time and get here in either order. Each looks
    /// again afterwards and repeats itself if the state has moved on, so the level that stays
    /// is that of the last change.
    fn present(&self, mut state: u8) -> Option<Delivery> {
        let mut delivery = None;
        loop {
            let open = state & (ENABLED | MASKED) == ENABLED;
            if state & LEVEL == 0 {
                let waited = open && self.state.fetch_and(!RAISED, SeqCst) & RAISED != 0;
                return waited.then(|| self.backend.pulse(self.source, self.gsi));
            }
            let level = open && state & RAISED != 0;
            let answer = self.backend.set_irq(self.source, self.gsi, level);
            delivery = delivery.or(level.then_some(answer));
            let now = self.state.load(SeqCst);
            if now == state {
                return delivery;
            }
            state = now;
        }
    }

    /// Changes the state in one step and shows what it means now.
    fn change(&self, change: impl Fn(u8) -> u8) {
        let mut before = self.state.load(SeqCst);
        let after = loop {
            let after = change(before);
            match self.state.compare_exchange(before, after, SeqCst, SeqCst) {
                Ok(_) => break after,
                Err(now) => before = now,
            }
        };
        if (before | after) & LEVEL != 0 && after & LEVEL == 0 {
            let _ = self.backend.set_irq(self.source, self.gsi, false);
        }
        let _ = self.present(after);
    }

    fn check(&self, index: usize) -> Result<(), GroupError> {
        match index {
            0 => Ok(()),
            _ => Err(GroupError::InvalidIndex(index)),
        }
    }
}

impl<B: LineBackend> InterruptSourceGroup for LegacyGroup<B> {
    type Notifier = B::Notifier;

    fn kind(&self) -> GroupKind {
        GroupKind::Legacy
    }

    fn len(&self) -> usize {
        1
    }

    fn enable(&self) -> Result<(), GroupError> {
        self.change(|state| state | ENABLED);
        Ok(())
    }

    fn disable(&self) -> Result<(), GroupError> {
        self.change(|state| state & !ENABLED);
        Ok(())
    }

    fn trigger(&self, index: usize) -> Result<Delivery, GroupError> {
        self.check(index)?;
        Ok(self.raise())
    }

    fn deassert(&self, index: usize) -> Result<(), GroupError> {
        self.check(index)?;
        self.lower();
        Ok(())
    }

    fn mask(&self, index: usize) -> Result<(), GroupError> {
        self.check(index)?;
        self.change(|state| state | MASKED);
        Ok(())
    }

    fn unmask(&self, index: usize) -> Result<(), GroupError> {
        self.check(index)?;
        self.change(|state| state & !MASKED);
        Ok(())
    }

    fn is_masked(&self, index: usize) -> Result<bool, GroupError> {
        self.check(index)?;
        Ok(self.state.load(SeqCst) & MASKED != 0)
    }

    fn is_pending(&self, index: usize) -> Result<bool, GroupError> {
        self.check(index)?;
        Ok(self.state.load(SeqCst) & (RAISED | MASKED) == RAISED | MASKED)
    }

    fn clear_pending(&self, index: usize) -> Result<(), GroupError> {
        self.check(index)?;
        if self.is_pending(index)? {
            self.state.fetch_and(!RAISED, SeqCst);
        }
        Ok(())
    }

    fn update(&self, index: usize, config: SourceConfig, masked: bool) -> Result<(), GroupError> {
        self.check(index)?;
        let SourceConfig::Legacy(trigger) = config else { return Err(GroupError::WrongKind) };
        let level = if trigger.is_level() { LEVEL } else { 0 };
        let mask = if masked { MASKED } else { 0 };
        self.change(|state| {
            // A level is not an edge that waits, nor the reverse.
            let stale = if state & LEVEL == level { 0 } else { RAISED };
            state & !(LEVEL | MASKED | stale) | level | mask
        });
        Ok(())
    }

    fn notifier(&self, index: usize) -> Result<B::Notifier, GroupError> {
        self.check(index)?;
        self.backend.notifier(self.source, self.gsi).ok_or(GroupError::NoNotifiers)
    }
}

/// Lowers the source's level and gives it back.
impl<B: LineBackend> Drop for LegacyGroup<B> {
    fn drop(&mut self) {
        self.backend.disconnect(self.source, self.gsi);
    }
}
