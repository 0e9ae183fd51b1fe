// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Tests by behaviour id, written as what happens on ports and pins at which CLK.

mod irq0;
#[cfg(feature = "kvm")]
mod kvm;
mod modes;
mod port_b;
mod ports;
mod property;
mod reference;
#[cfg(feature = "serde")]
mod serde;
mod state;
mod time;
#[cfg(feature = "vm-device")]
mod vm_device;

use crate::Pit;

/// The first nanosecond of a CLK, by its definition.
pub(crate) fn ns(tick: u64) -> u64 {
    (u128::from(tick) * 1_000_000_000).div_ceil(1_193_182) as u64
}

/// A PIT on a bench whose time is counted in CLKs.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) pit: Pit,
    pub(crate) tick: u64,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Bench { pit: Pit::new(0), tick: 0 }
    }

    /// Counter 2 with its GATE high, programmed with a control word and a two-byte count.
    pub(crate) fn counter_2(mode: u8, count: u16) -> Self {
        let mut bench = Bench::new();
        bench.gate(true).out(0x43, 0xb0 | mode << 1).count(0x42, count);
        bench
    }

    pub(crate) fn out(&mut self, port: u16, value: u8) -> &mut Self {
        assert_eq!(self.pit.write(port, &[value], ns(self.tick)), Ok(()));
        self
    }

    pub(crate) fn count(&mut self, port: u16, count: u16) -> &mut Self {
        let [low, high] = count.to_le_bytes();
        self.out(port, low).out(port, high)
    }

    pub(crate) fn inb(&mut self, port: u16) -> u8 {
        let mut data = [0xa5];
        assert_eq!(self.pit.read(port, &mut data, ns(self.tick)), Ok(()));
        data[0]
    }

    /// Two unlatched reads at the same CLK.
    pub(crate) fn in16(&mut self, port: u16) -> u16 {
        u16::from_le_bytes([self.inb(port), self.inb(port)])
    }

    pub(crate) fn gate(&mut self, high: bool) -> &mut Self {
        self.out(0x61, high.into())
    }

    pub(crate) fn clk(&mut self, ticks: u64) -> &mut Self {
        self.tick += ticks;
        self
    }

    /// OUT of counter 2.
    pub(crate) fn out_2(&mut self) -> bool {
        self.inb(0x61) & 0x20 != 0
    }

    /// OUT of counter 2 at this CLK and the next ones, as `_` and `^`.
    pub(crate) fn wave(&mut self, ticks: usize) -> std::string::String {
        (0..ticks)
            .map(|_| {
                let level = self.out_2();
                self.clk(1);
                if level {
                    '^'
                } else {
                    '_'
                }
            })
            .collect()
    }

    /// The status of a counter, by a read-back command.
    pub(crate) fn status(&mut self, counter: u8) -> u8 {
        self.out(0x43, 0xe0 | 2 << counter).inb(0x40 + u16::from(counter))
    }

    pub(crate) fn edges(&mut self) -> u64 {
        self.pit.advance(ns(self.tick)).edges
    }

    /// CLKs until the next deadline.
    pub(crate) fn deadline_in(&self) -> Option<u64> {
        let at = self.pit.next_deadline()?;
        let tick = (u128::from(at) * 1_193_182 / 1_000_000_000) as u64;
        assert_eq!(at, ns(tick), "a deadline is the first nanosecond of its CLK");
        Some(tick - self.tick)
    }
}
