// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A second 8259A pair, written from the data sheet's sentences with none of the model's code:
//! a list of levels in the order of their priority, and one boolean per flip-flop.

use std::vec::Vec;

pub(crate) struct Level {
    line: bool,
    latch: bool,
    pub(crate) in_service: bool,
    masked: bool,
    elcr: bool,
}

pub(crate) struct Reference {
    pub(crate) levels: Vec<Level>,
    /// Highest priority first.
    priority: Vec<usize>,
    ready: bool,
    base: u8,
    ltim: bool,
    aeoi: bool,
    sfnm: bool,
    rotate: bool,
    special_mask: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Init {
    pub(crate) base: u8,
    pub(crate) ltim: bool,
    pub(crate) aeoi: bool,
    pub(crate) sfnm: bool,
}

impl Reference {
    fn new() -> Self {
        let level =
            |_| Level { line: false, latch: false, in_service: false, masked: false, elcr: false };
        Reference {
            levels: (0..8).map(level).collect(),
            priority: (0..8).collect(),
            ready: false,
            base: 0,
            ltim: false,
            aeoi: false,
            sfnm: false,
            rotate: false,
            special_mask: false,
        }
    }

    fn is_level(&self, n: usize) -> bool {
        self.ltim || self.levels[n].elcr
    }

    fn requests(&self, n: usize) -> bool {
        if self.is_level(n) {
            self.levels[n].line
        } else {
            self.levels[n].latch
        }
    }

    fn drive(&mut self, n: usize, line: bool) {
        if line && !self.levels[n].line && !self.is_level(n) {
            self.levels[n].latch = true;
        }
        self.levels[n].line = line;
    }

    /// Walks from the highest priority down to the first level that asks or that is served.
    fn winner(&self, asks: impl Fn(usize) -> bool, slave: Option<usize>) -> Option<usize> {
        if !self.ready {
            return None;
        }
        for &n in &self.priority {
            let asks = asks(n) && !self.levels[n].masked;
            let served = self.levels[n].in_service && !(self.special_mask && self.levels[n].masked);
            match (asks, served) {
                (true, false) => return Some(n),
                (true, true) if self.sfnm && slave == Some(n) => return Some(n),
                (_, true) => return None,
                (false, false) => (),
            }
        }
        None
    }

    fn make_lowest(&mut self, n: usize) {
        while self.priority[7] != n {
            self.priority.rotate_left(1);
        }
    }

    fn acknowledge(&mut self, n: usize) {
        self.levels[n].latch = false;
        self.levels[n].in_service = !self.aeoi;
        if self.aeoi && self.rotate {
            self.make_lowest(n);
        }
    }

    fn initialize(&mut self, init: &Init) {
        for level in &mut self.levels {
            (level.latch, level.in_service, level.masked) = (false, false, false);
        }
        self.priority = (0..8).collect();
        (self.rotate, self.special_mask) = (false, false);
        self.ready = true;
        self.base = init.base & 0xf8;
        (self.ltim, self.aeoi, self.sfnm) = (init.ltim, init.aeoi, init.sfnm);
    }

    fn ocw2(&mut self, command: u8, n: usize) {
        let special = self.special_mask;
        let counts = |level: &Level| level.in_service && !(special && level.masked);
        let highest = self.priority.iter().copied().find(|n| counts(&self.levels[*n]));
        match command {
            0 => self.rotate = false,
            4 => self.rotate = true,
            1 | 5 => {
                if let Some(highest) = highest {
                    self.levels[highest].in_service = false;
                    if command == 5 {
                        self.make_lowest(highest);
                    }
                }
            }
            3 => self.levels[n].in_service = false,
            6 => self.make_lowest(n),
            7 => {
                self.levels[n].in_service = false;
                self.make_lowest(n);
            }
            _ => (),
        }
    }
}

pub(crate) struct ReferencePair {
    pub(crate) chips: [Reference; 2],
}

impl ReferencePair {
    pub(crate) fn new() -> Self {
        ReferencePair { chips: [Reference::new(), Reference::new()] }
    }

    fn slave_winner(&self) -> Option<usize> {
        let slave = &self.chips[1];
        slave.winner(|n| slave.requests(n), None)
    }

    fn master_asks(&self, n: usize) -> bool {
        self.chips[0].requests(n) && (n != 2 || self.slave_winner().is_some())
    }

    fn master_winner(&self) -> Option<usize> {
        self.chips[0].winner(|n| self.master_asks(n), Some(2))
    }

    fn wire(&mut self) {
        let int = self.slave_winner().is_some();
        self.chips[0].drive(2, int);
    }

    pub(crate) fn int(&self) -> bool {
        self.master_winner().is_some()
    }

    pub(crate) fn irr(&self) -> [u8; 2] {
        let bits = |asks: &dyn Fn(usize) -> bool| (0..8).map(|n| u8::from(asks(n)) << n).sum();
        [bits(&|n| self.master_asks(n)), bits(&|n| self.chips[1].requests(n))]
    }

    pub(crate) fn isr(&self) -> [u8; 2] {
        [0, 1].map(|chip: usize| {
            (0..8).map(|n| u8::from(self.chips[chip].levels[n].in_service) << n).sum()
        })
    }

    pub(crate) fn drive(&mut self, pin: usize, line: bool) {
        if pin != 2 {
            self.chips[pin / 8].drive(pin % 8, line);
        }
        self.wire();
    }

    pub(crate) fn initialize(&mut self, chip: usize, init: &Init) {
        self.chips[chip].initialize(init);
        if chip == 1 {
            // Its INT was down from ICW1 to ICW4.
            self.chips[0].drive(2, false);
        }
        self.wire();
    }

    pub(crate) fn ocw1(&mut self, chip: usize, mask: u8) {
        for n in 0..8 {
            self.chips[chip].levels[n].masked = mask >> n & 1 != 0;
        }
        self.wire();
    }

    pub(crate) fn ocw2(&mut self, chip: usize, command: u8, level: usize) {
        self.chips[chip].ocw2(command, level);
        self.wire();
    }

    pub(crate) fn special_mask(&mut self, chip: usize, set: bool) {
        self.chips[chip].special_mask = set;
        self.wire();
    }

    pub(crate) fn elcr(&mut self, chip: usize, value: u8) {
        let exists = [0xf8, 0xde][chip];
        for n in 0..8 {
            let was = self.chips[chip].is_level(n);
            self.chips[chip].levels[n].elcr = value & exists & 1 << n != 0;
            if was != self.chips[chip].is_level(n) {
                self.chips[chip].levels[n].latch = false;
            }
        }
        self.wire();
    }

    pub(crate) fn poll(&mut self, chip: usize) -> u8 {
        let winner = if chip == 0 { self.master_winner() } else { self.slave_winner() };
        let Some(n) = winner else { return 0 };
        self.chips[chip].acknowledge(n);
        if chip == 1 {
            self.chips[0].levels[2].latch = false;
            self.slave_acknowledged();
        }
        0x80 + n as u8
    }

    /// The slave's INT drops and rises again if there is more.
    fn slave_acknowledged(&mut self) {
        self.chips[0].drive(2, false);
        self.wire();
    }

    pub(crate) fn inta(&mut self) -> Option<u8> {
        if !self.chips[0].ready {
            return None;
        }
        let (master, slave) = (self.chips[0].base, self.chips[1].base);
        match (self.master_winner(), self.slave_winner()) {
            (Some(2), Some(n)) => {
                self.chips[0].acknowledge(2);
                self.chips[1].acknowledge(n);
                self.slave_acknowledged();
                Some(slave + n as u8)
            }
            (Some(n), _) => {
                self.chips[0].acknowledge(n);
                Some(master + n as u8)
            }
            (None, _) => {
                let latched = |n: usize| self.chips[0].requests(n);
                if self.chips[1].ready && self.chips[0].winner(latched, Some(2)) == Some(2) {
                    self.chips[0].acknowledge(2);
                    return Some(slave + 7);
                }
                Some(master + 7)
            }
        }
    }
}
