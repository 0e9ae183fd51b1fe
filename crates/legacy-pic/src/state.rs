// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Saved state: plain data, checked when it comes back.

use crate::chip::Chip;
use crate::spec::{Icw1, Icw4, MASTER_ELCR_MASK, SLAVE_ELCR_MASK};
use crate::PicPair;

/// State of the pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PicState {
    /// The chip at 0x20.
    pub master: ChipState,
    /// The chip at 0xa0.
    pub slave: ChipState,
    /// Pins (bit n: pin n, never 2) that left service and were not drained yet.
    pub ended: u16,
}

/// State of one 8259A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ChipState {
    /// Interrupt request register: bit n is latched (edge) or asserted (level).
    pub irr: u8,
    /// In-service register.
    pub isr: u8,
    /// Interrupt mask register.
    pub imr: u8,
    /// Input levels, the memory of the edge detectors.
    pub lines: u8,
    /// Edge/level control register; bit n set: input n is level-triggered.
    pub elcr: u8,
    /// The level with the lowest priority, 0..=7.
    pub lowest_priority: u8,
    /// Where the initialization stands.
    pub step: Step,
    /// ICW1 as written (8 bits); 0 before the first.
    pub icw1: u8,
    /// Vector base, T7..T3; bits 2:0 are 0.
    pub icw2: u8,
    /// Master: inputs with a slave. Slave: its identity, 0..=7.
    pub icw3: u8,
    /// ICW4 as written, 5 bits.
    pub icw4: u8,
    /// Automatic EOI rotates.
    pub rotate_on_auto_eoi: bool,
    /// Special mask mode.
    pub special_mask: bool,
    /// A read with A0 = 0 gives ISR (true) or IRR (false).
    pub read_isr: bool,
    /// The next read is a poll.
    pub poll: bool,
}

/// How far a chip's initialization is (8259A, "Initialization Sequence").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Step {
    /// No ICW1 yet.
    #[default]
    PowerOn,
    /// The next byte with A0 = 1 is ICW2.
    Icw2,
    /// The next byte with A0 = 1 is ICW3.
    Icw3,
    /// The next byte with A0 = 1 is ICW4.
    Icw4,
    /// Initialized: the next byte with A0 = 1 is OCW1.
    Ready,
}

/// A field that no 8259A pair can hold, with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidState {
    /// The lowest priority is a level, 0..=7.
    #[error("lowest priority {0} is not a level 0..=7")]
    LowestPriority(u8),
    /// ELCR has a bit that the chip lacks.
    #[error("ELCR {0:#04x} makes an input level-triggered that is always edge")]
    Elcr(u8),
    /// The ICWs are not those of the initialization's step.
    #[error("the command words do not fit the initialization's step {0:?}")]
    CommandWords(Step),
    /// Ended pins include the cascade.
    #[error("ended pins {0:#06x} include pin 2, the cascade")]
    Ended(u16),
}

impl Default for ChipState {
    fn default() -> Self {
        Chip::new(true).state()
    }
}

impl PicState {
    pub(crate) fn save(pair: &PicPair) -> Self {
        PicState { master: pair.master.state(), slave: pair.slave.state(), ended: pair.ended() }
    }

    pub(crate) fn restore(&self) -> Result<PicPair, InvalidState> {
        if self.ended & 4 != 0 {
            return Err(InvalidState::Ended(self.ended));
        }
        let mut master = Chip::from_state(true, &self.master, MASTER_ELCR_MASK)?;
        let mut slave = Chip::from_state(false, &self.slave, SLAVE_ELCR_MASK)?;
        [master.ended, slave.ended] = self.ended.to_le_bytes();
        Ok(PicPair { master, slave })
    }
}

impl ChipState {
    /// What of the command words can be wrong: reserved bits, an ICW1 that is none, and anything
    /// before the first ICW1.
    fn command_words_fit(&self, master: bool) -> bool {
        let icw1 = Icw1::from_bits(self.icw1);
        let words = [self.icw1, self.icw2, self.icw3, self.icw4];
        match self.step {
            Step::PowerOn => words == [0; 4],
            Step::Icw3 if icw1.sngl() => false,
            Step::Icw4 if !icw1.ic4() => false,
            _ => {
                icw1.is_icw1()
                    && self.icw2 & 7 == 0
                    && (master || self.icw3 <= 7)
                    && self.icw4 <= 0x1f
                    && (icw1.ic4() || self.icw4 == 0)
            }
        }
    }
}

impl Chip {
    pub(crate) fn reset(&mut self) {
        self.note_end(self.isr);
        *self = Chip { lines: self.lines, ended: self.ended, ..Chip::new(self.master) };
    }

    pub(crate) fn state(&self) -> ChipState {
        // Exhaustive, so that a new field cannot be forgotten.
        let Chip {
            master: _,
            irr,
            isr,
            imr,
            lines,
            elcr,
            lowest,
            step,
            icw1,
            icw2,
            icw3,
            icw4,
            rotate_on_auto_eoi,
            special_mask,
            read_isr,
            poll,
            ended: _,
        } = *self;
        ChipState {
            irr,
            isr,
            imr,
            lines,
            elcr,
            lowest_priority: lowest,
            step,
            icw1: icw1.into_bits(),
            icw2,
            icw3,
            icw4: icw4.into_bits(),
            rotate_on_auto_eoi,
            special_mask,
            read_isr,
            poll,
        }
    }

    fn from_state(master: bool, state: &ChipState, elcr_mask: u8) -> Result<Self, InvalidState> {
        let ChipState {
            irr,
            isr,
            imr,
            lines,
            elcr,
            lowest_priority,
            step,
            icw1,
            icw2,
            icw3,
            icw4,
            rotate_on_auto_eoi,
            special_mask,
            read_isr,
            poll,
        } = *state;
        if lowest_priority > 7 {
            return Err(InvalidState::LowestPriority(lowest_priority));
        }
        if elcr & !elcr_mask != 0 {
            return Err(InvalidState::Elcr(elcr));
        }
        if !state.command_words_fit(master) {
            return Err(InvalidState::CommandWords(step));
        }
        Ok(Chip {
            master,
            irr,
            isr,
            imr,
            lines,
            elcr,
            lowest: lowest_priority,
            step,
            icw1: Icw1::from_bits(icw1),
            icw2,
            icw3,
            icw4: Icw4::from_bits(icw4),
            rotate_on_auto_eoi,
            special_mask,
            read_isr,
            poll,
            ended: 0,
        })
    }
}
