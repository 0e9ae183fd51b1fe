// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Tests by behaviour id, written as what happens on the pins and ports.

mod commands;
mod delivery;
mod init;
#[cfg(feature = "kvm")]
mod kvm;
mod ports;
mod property;
mod reference;
#[cfg(feature = "serde")]
mod serde;
mod state;
#[cfg(feature = "vm-device")]
mod vm_device;

use irq_routing::Delivery;

use crate::PicPair;

pub(crate) const M: u16 = 0x20;
pub(crate) const MD: u16 = 0x21;
pub(crate) const S: u16 = 0xa0;
pub(crate) const SD: u16 = 0xa1;
pub(crate) const EOI: u8 = 0x20;

/// A pair on a bench: pins to drive, ports to access.
pub(crate) struct Bench(pub(crate) PicPair);

impl Bench {
    /// Power-on.
    pub(crate) fn new() -> Self {
        Bench(PicPair::new())
    }

    /// Initialized as Linux does: vectors 0x30 and 0x38, nothing masked.
    pub(crate) fn linux() -> Self {
        Self::with_icw4(0x01, 0x01)
    }

    /// As `linux`, with these ICW4s.
    pub(crate) fn with_icw4(master: u8, slave: u8) -> Self {
        let mut bench = Self::new();
        bench.icws(M, &[0x11, 0x30, 0x04, master]).icws(S, &[0x11, 0x38, 0x02, slave]);
        bench
    }

    /// ICW1 to the even port, the others to the odd one.
    pub(crate) fn icws(&mut self, port: u16, words: &[u8]) -> &mut Self {
        for (n, word) in words.iter().enumerate() {
            self.out(port + u16::from(n > 0), *word);
        }
        self
    }

    pub(crate) fn out(&mut self, port: u16, value: u8) -> &mut Self {
        assert_eq!(self.0.write(port, &[value]), Ok(()));
        self
    }

    pub(crate) fn inb(&mut self, port: u16) -> u8 {
        let mut data = [0xa5];
        assert_eq!(self.0.read(port, &mut data), Ok(()));
        data[0]
    }

    pub(crate) fn irr(&mut self, port: u16) -> u8 {
        self.out(port, 0x0a).inb(port)
    }

    pub(crate) fn isr(&mut self, port: u16) -> u8 {
        self.out(port, 0x0b).inb(port)
    }

    pub(crate) fn poll(&mut self, port: u16) -> u8 {
        self.out(port, 0x0c).inb(port)
    }

    pub(crate) fn raise(&mut self, pin: u8) -> Delivery {
        self.0.set_irq(pin, true).unwrap()
    }

    pub(crate) fn lower(&mut self, pin: u8) -> Delivery {
        self.0.set_irq(pin, false).unwrap()
    }

    /// The founding note's two lines: 1, then 0.
    pub(crate) fn pulse(&mut self, pin: u8) -> Delivery {
        let delivery = self.raise(pin);
        let _ = self.lower(pin);
        delivery
    }

    /// The CPU: takes the vector if INT is up, having looked at it first.
    pub(crate) fn cpu(&mut self) -> Option<u8> {
        let peeked = self.0.peek();
        assert_eq!(peeked.is_some(), self.0.intr());
        if !self.0.intr() {
            return None;
        }
        let vector = self.0.inta();
        assert_eq!(vector, peeked);
        vector
    }

    /// Everything that the CPU takes, with specific EOIs, until INT is down.
    pub(crate) fn drain(&mut self) -> std::vec::Vec<u8> {
        let mut vectors = std::vec::Vec::new();
        while let Some(vector) = self.cpu() {
            vectors.push(vector);
            if vector >= 0x38 {
                self.out(S, 0x60 | vector & 7).out(M, 0x62);
            } else {
                self.out(M, 0x60 | vector & 7);
            }
            assert!(vectors.len() < 100, "INT never goes down");
        }
        vectors
    }
}
