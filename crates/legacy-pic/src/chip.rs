// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One 8259A: its registers, its priority resolver, its command words.

use crate::spec::{Command, Icw1, Icw4, Ocw2, Ocw3, CASCADE_PIN};
use crate::state::Step;

/// One 8259A. Which of the two it is matters only for what ICW3 means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chip {
    pub(crate) master: bool,
    /// Requests that edge inputs latched; for level inputs a copy of the line.
    pub(crate) irr: u8,
    pub(crate) isr: u8,
    pub(crate) imr: u8,
    /// Input levels as last seen: the memory of the edge detectors.
    pub(crate) lines: u8,
    pub(crate) elcr: u8,
    /// The level with the lowest priority, 0..=7.
    pub(crate) lowest: u8,
    pub(crate) step: Step,
    pub(crate) icw1: Icw1,
    pub(crate) icw2: u8,
    pub(crate) icw3: u8,
    pub(crate) icw4: Icw4,
    pub(crate) rotate_on_auto_eoi: bool,
    pub(crate) special_mask: bool,
    pub(crate) read_isr: bool,
    pub(crate) poll: bool,
    /// ISR bits cleared since the owner last asked.
    pub(crate) ended: u8,
}

/// The slave's identity before any ICW3 (8259A, "Initialization Command Words 1 and 2", d).
const SLAVE_ID_AFTER_ICW1: u8 = 7;

impl Chip {
    /// A chip out of power-on: silent until it gets its ICWs.
    pub(crate) const fn new(master: bool) -> Self {
        Chip {
            master,
            irr: 0,
            isr: 0,
            imr: 0,
            lines: 0,
            elcr: 0,
            lowest: 7,
            step: Step::PowerOn,
            icw1: Icw1::new(),
            icw2: 0,
            icw3: 0,
            icw4: Icw4::new(),
            rotate_on_auto_eoi: false,
            special_mask: false,
            read_isr: false,
            poll: false,
            ended: 0,
        }
    }

    pub(crate) fn ready(&self) -> bool {
        self.step == Step::Ready
    }

    /// Inputs that follow their line.
    pub(crate) fn level_triggered(&self) -> u8 {
        if self.icw1.ltim() {
            0xff
        } else {
            self.elcr
        }
    }

    /// What the priority resolver sees: latches of edge inputs, lines of level inputs.
    pub(crate) fn requests(&self) -> u8 {
        let level = self.level_triggered();
        (self.irr & !level) | (self.lines & level)
    }

    /// Inputs whose acknowledge a slave answers (ICW3 of a master in cascade mode).
    pub(crate) fn slaves(&self) -> u8 {
        if self.master && !self.icw1.sngl() {
            self.icw3
        } else {
            0
        }
    }

    /// The level that `requests` would interrupt with (8259A, "Fully Nested Mode", "The Special
    /// Fully Nested Mode", "Special Mask Mode").
    pub(crate) fn resolve(&self, requests: u8) -> Option<u8> {
        let serving = self.highest(self.blocking());
        let level = self.highest(requests & !self.imr)?;
        let Some(serving) = serving else { return Some(level) };
        let nested = self.icw4.sfnm() && level == serving && self.slaves() & (1 << level) != 0;
        (nested || self.rank(level) < self.rank(serving)).then_some(level)
    }

    /// In-service levels that hold back what is not above them. In special mask mode a masked
    /// level holds back nothing.
    fn blocking(&self) -> u8 {
        if self.special_mask {
            self.isr & !self.imr
        } else {
            self.isr
        }
    }

    /// 0 for the level of highest priority, 7 for the lowest.
    fn rank(&self, level: u8) -> u8 {
        level.wrapping_sub(self.lowest + 1) & 7
    }

    fn highest(&self, levels: u8) -> Option<u8> {
        let first = (self.lowest + 1) & 7;
        let rank = levels.rotate_right(u32::from(first)).trailing_zeros() as u8;
        (levels != 0).then_some((rank + first) & 7)
    }

    /// The vector of one of this chip's levels.
    pub(crate) fn vector(&self, level: u8) -> u8 {
        (self.icw2 & 0xf8) | level
    }

    /// Drives one input (8259A, "Edge and Level Triggered Modes").
    pub(crate) fn input(&mut self, level: u8, high: bool) {
        let bit = 1 << level;
        let rising = high && self.lines & bit == 0;
        self.lines = if high { self.lines | bit } else { self.lines & !bit };
        if self.level_triggered() & bit != 0 {
            self.irr = (self.irr & !bit) | (self.lines & bit);
        } else if rising {
            self.irr |= bit;
        }
    }

    /// The acknowledge of `level`: request into service, and out again in AEOI mode.
    pub(crate) fn acknowledge(&mut self, level: u8) {
        let bit = 1 << level;
        self.irr &= !bit | self.level_triggered();
        self.isr |= bit;
        if self.icw4.aeoi() {
            self.end(level);
            if self.rotate_on_auto_eoi {
                self.lowest = level;
            }
        }
    }

    fn end(&mut self, level: u8) {
        let bit = 1 << level;
        self.note_end(self.isr & bit);
        self.isr &= !bit;
    }

    /// Remembers what left service; the cascade is no device's pin.
    pub(crate) fn note_end(&mut self, levels: u8) {
        let cascade = if self.master { 1 << CASCADE_PIN } else { 0 };
        self.ended |= levels & !cascade;
    }

    /// A write with A0 = 0.
    pub(crate) fn write_command(&mut self, value: u8) {
        if Icw1::from_bits(value).is_icw1() {
            self.initialize(Icw1::from_bits(value));
        } else if Ocw3::from_bits(value).is_ocw3() {
            self.write_ocw3(Ocw3::from_bits(value));
        } else {
            self.write_ocw2(Ocw2::from_bits(value));
        }
    }

    /// ICW1 (8259A, "Initialization Command Words 1 and 2", a to f). ISR and the rotation are
    /// cleared too: the chip enters the fully nested mode with nothing in service.
    fn initialize(&mut self, icw1: Icw1) {
        self.note_end(self.isr);
        self.isr = 0;
        self.imr = 0;
        self.lowest = 7;
        self.rotate_on_auto_eoi = false;
        self.special_mask = false;
        self.read_isr = false;
        self.poll = false;
        self.icw1 = icw1;
        self.icw3 = if self.master { 0 } else { SLAVE_ID_AFTER_ICW1 };
        if !icw1.ic4() {
            self.icw4 = Icw4::new();
        }
        // Lines keep their level: an edge input that is high needs a new rising edge.
        self.irr = self.lines & self.level_triggered();
        self.step = Step::Icw2;
    }

    fn write_ocw2(&mut self, word: Ocw2) {
        let level = word.level();
        match word.decode() {
            Command::ClearRotateInAutomaticEoi => self.rotate_on_auto_eoi = false,
            Command::SetRotateInAutomaticEoi => self.rotate_on_auto_eoi = true,
            Command::NonSpecificEoi => self.end_highest(false),
            Command::RotateOnNonSpecificEoi => self.end_highest(true),
            Command::SpecificEoi => self.end(level),
            Command::SetPriority => self.lowest = level,
            Command::RotateOnSpecificEoi => {
                self.end(level);
                self.lowest = level;
            }
            Command::Nop => (),
        }
    }

    /// Non-specific EOI: masked levels are passed over in special mask mode (8259A, "End of
    /// Interrupt").
    fn end_highest(&mut self, rotate: bool) {
        let Some(level) = self.highest(self.blocking()) else { return };
        self.end(level);
        if rotate {
            self.lowest = level;
        }
    }

    fn write_ocw3(&mut self, word: Ocw3) {
        self.poll |= word.poll();
        if word.rr() {
            self.read_isr = word.ris();
        }
        if word.esmm() {
            self.special_mask = word.smm();
        }
    }

    /// A write with A0 = 1: the next ICW of a running initialization, otherwise OCW1.
    pub(crate) fn write_data(&mut self, value: u8) {
        match self.step {
            Step::PowerOn | Step::Ready => self.imr = value,
            Step::Icw2 => {
                self.icw2 = value & 0xf8;
                self.step = if self.icw1.sngl() { self.after_icw3() } else { Step::Icw3 };
            }
            Step::Icw3 => {
                self.icw3 = if self.master { value } else { value & 7 };
                self.step = self.after_icw3();
            }
            Step::Icw4 => {
                self.icw4 = Icw4::from_bits(value & 0x1f);
                self.step = Step::Ready;
            }
        }
    }

    fn after_icw3(&self) -> Step {
        if self.icw1.ic4() {
            Step::Icw4
        } else {
            Step::Ready
        }
    }

    /// A write to this chip's ELCR, of which the bits in `mask` exist. An input that becomes
    /// edge-triggered needs a new edge.
    pub(crate) fn write_elcr(&mut self, value: u8, mask: u8) {
        let before = self.level_triggered();
        self.elcr = value & mask;
        let changed = before ^ self.level_triggered();
        self.irr = (self.irr & !changed) | (self.lines & changed & self.level_triggered());
    }
}
