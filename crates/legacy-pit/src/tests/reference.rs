// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A second 8254, written from the data sheet's "Mode Definitions" one CLK at a time and with
//! none of the model's code. It is as slow as it is plain.

/// One counter: count register, counting element, and the flip-flops around them.
#[derive(Clone)]
pub(crate) struct Reference {
    programmed: bool,
    mode: u8,
    modulus: u32,
    bcd: bool,
    rw: u8,
    low: Option<u8>,
    cr: Option<u32>,
    ce: u32,
    /// Mode 3: the count in the counting element was odd, or 1.
    odd: bool,
    one: bool,
    gate: bool,
    pub(crate) out: bool,
    pub(crate) null: bool,
    /// CR goes to CE at the next CLK.
    load: bool,
    trigger: bool,
    /// CE holds a count.
    loaded: bool,
    /// A strobe is still to come.
    armed: bool,
    pub(crate) rises: u64,
}

impl Reference {
    pub(crate) fn new(gate: bool) -> Self {
        Reference {
            programmed: false,
            mode: 9,
            modulus: 65536,
            bcd: false,
            rw: 0,
            low: None,
            cr: None,
            ce: 0,
            odd: false,
            one: false,
            gate,
            out: true,
            null: false,
            load: false,
            trigger: false,
            loaded: true,
            armed: false,
            rises: 0,
        }
    }

    fn set_out(&mut self, out: bool) {
        self.rises += u64::from(out && !self.out);
        self.out = out;
    }

    pub(crate) fn control(&mut self, mode: u8, bcd: bool, rw: u8) {
        self.programmed = true;
        self.mode = if mode > 5 { mode - 4 } else { mode };
        // The largest count is 0 in the counting element.
        self.ce %= self.modulus;
        self.modulus = if bcd { 10000 } else { 65536 };
        self.ce %= self.modulus;
        (self.bcd, self.rw, self.low, self.cr) = (bcd, rw, None, None);
        (self.null, self.load, self.trigger, self.loaded) = (true, false, false, false);
        self.set_out(self.mode != 0);
    }

    pub(crate) fn write(&mut self, byte: u8) {
        let written = match (self.rw, self.low) {
            (1, _) => u32::from(byte),
            (2, _) => u32::from(byte) << 8,
            (3, None) => {
                self.low = Some(byte);
                if self.mode == 0 {
                    self.set_out(false);
                    self.loaded = false;
                }
                return;
            }
            (3, Some(low)) => {
                self.low = None;
                u32::from(byte) << 8 | u32::from(low)
            }
            _ => return,
        };
        let mut count = written;
        if self.bcd {
            let digits = std::format!("{written:04x}");
            count = digits.chars().fold(0, |sum, digit| sum * 10 + digit.to_digit(16).unwrap());
            count %= 10000;
        }
        self.cr = Some(if count == 0 { self.modulus } else { count });
        self.null = true;
        match self.mode {
            0 => {
                self.set_out(false);
                self.loaded = false;
                self.load = true;
            }
            4 => self.load = true,
            2 | 3 if !self.loaded => self.load = true,
            _ => (),
        }
    }

    pub(crate) fn set_gate(&mut self, gate: bool) {
        if gate && !self.gate && matches!(self.mode, 1 | 2 | 3 | 5) && self.cr.is_some() {
            self.trigger = true;
        }
        self.gate = gate;
        if !gate && matches!(self.mode, 2 | 3) && self.loaded {
            self.set_out(true);
        }
    }

    fn take_cr(&mut self) {
        let count = self.cr.unwrap();
        self.ce = count;
        if self.mode == 3 {
            (self.odd, self.one) = (count % 2 == 1, count == 1);
            self.ce -= count % 2;
        }
        (self.null, self.load, self.trigger, self.loaded) = (false, false, false, true);
        self.armed = true;
    }

    fn decrement(&mut self) {
        self.ce = if self.ce == 0 { self.modulus - 1 } else { self.ce - 1 };
    }

    pub(crate) fn clk(&mut self) {
        let start = self.load || self.trigger;
        match self.mode {
            0 if start => {
                self.take_cr();
            }
            0 if self.loaded && self.gate && self.low.is_none() => {
                self.decrement();
                if self.ce == 0 {
                    self.set_out(true);
                }
            }
            1 if start => {
                self.take_cr();
                self.set_out(false);
            }
            1 if self.loaded => {
                self.decrement();
                if self.ce == 0 {
                    self.set_out(true);
                }
            }
            2 if start => {
                self.take_cr();
                self.set_out(true);
            }
            2 if self.loaded && self.gate => {
                if self.ce == 1 {
                    self.take_cr();
                    self.set_out(true);
                } else {
                    self.decrement();
                    if self.ce == 1 {
                        self.set_out(false);
                    }
                }
            }
            3 if start => {
                self.take_cr();
                self.set_out(true);
            }
            3 if self.loaded && self.gate => self.square(),
            4 | 5 if start => {
                self.take_cr();
                self.set_out(true);
            }
            4 | 5 if self.loaded => {
                let strobes = self.gate || self.mode == 5;
                if strobes {
                    self.decrement();
                }
                let fires = strobes && self.ce == 0 && self.armed;
                self.set_out(!fires);
                self.armed &= !fires;
            }
            9 => self.decrement(),
            _ => (),
        }
    }

    fn square(&mut self) {
        let expires = match (self.one, self.odd && self.out, self.ce) {
            (true, _, _) => true,
            (_, true, 0) => true,
            (_, true, _) => {
                self.ce -= 2;
                false
            }
            (_, false, _) => {
                self.ce -= 2;
                self.ce == 0
            }
        };
        if expires {
            let out = self.one || !self.out;
            self.take_cr();
            self.set_out(out || self.one);
        }
    }

    /// What a count latch would show.
    pub(crate) fn shown(&self) -> u16 {
        let value = self.ce % self.modulus;
        if self.bcd {
            u16::from_str_radix(&std::format!("{value:04}"), 16).unwrap()
        } else {
            value as u16
        }
    }
}
