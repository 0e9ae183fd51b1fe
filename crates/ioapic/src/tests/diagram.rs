// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Timing diagrams: one column is one instant, one row one signal.
//!
//! | row | `_` | `~` | digit n |
//! |---|---|---|---|
//! | `a`, `b`, `c` | the source drives low | high | |
//! | `mask` | the entry is unmasked | masked | |
//! | `trig` | the entry is edge | level | |
//! | `vec` | | | the entry's vector is 0x30 + n |
//! | `eoi` | nothing | | the EOI of vector 0x30 + n |
//! | `sent` | nothing is expected to be sent | | exactly vector 0x30 + n is |
//! | `rirr` | remote IRR is expected to be clear | set | |
//!
//! Within one instant: the entry is written, an EOI's first step is done, the sources move, its
//! second step is done. A row that is missing means low, level, unmasked and vector 0x30; without
//! a row `rirr` it is not looked at.

use std::vec::Vec;

use super::{level, Bench, A, B, C};
use crate::{Config, Rte};

const PIN: u8 = 5;

/// Draws what goes in, and checks what comes out.
#[track_caller]
pub fn check(diagram: &str) {
    check_with(Config::default(), Rte::new(), diagram);
}

/// As `check`, with more bits in the entry.
#[track_caller]
pub fn check_with(config: Config, more: Rte, diagram: &str) {
    let rows = Rows::parse(diagram);
    let mut bench = Bench::new(config);
    let mut programmed = None;
    for column in 0..rows.columns() {
        let rte = rows.entry(column, more);
        if programmed != Some(rte) {
            bench.program(PIN, rte);
            programmed = Some(rte);
        }
        let ended = rows.digit("eoi", column).map(|n| bench.begin_eoi(0x30 + n));
        for (name, source) in [("a", A), ("b", B), ("c", C)] {
            let _ = bench.set(PIN, source, rows.high(name, column).unwrap_or(false));
        }
        if let Some(ended) = ended {
            let _ = bench.service(ended);
        }
        let expected: Vec<u8> = rows.digit("sent", column).map(|n| 0x30 + n).into_iter().collect();
        assert_eq!(bench.vectors(), expected, "sent in column {column} of {diagram}");
        if let Some(remote_irr) = rows.high("rirr", column) {
            let entry = bench.entry(PIN);
            assert_eq!(entry.remote_irr(), remote_irr, "rirr in column {column} of {diagram}");
        }
    }
}

struct Rows<'a>(Vec<(&'a str, &'a [u8])>);

impl<'a> Rows<'a> {
    fn parse(diagram: &'a str) -> Self {
        const NAMES: [&str; 9] = ["a", "b", "c", "mask", "trig", "vec", "eoi", "sent", "rirr"];
        let row = |line: &'a str| {
            let (name, signal) = line.split_once(char::is_whitespace).unwrap();
            assert!(NAMES.contains(&name), "row {name}");
            (name, signal.trim().as_bytes())
        };
        let rows =
            Rows(diagram.lines().map(str::trim).filter(|l| !l.is_empty()).map(row).collect());
        assert!(rows.0.iter().all(|(_, signal)| signal.len() == rows.columns()), "{diagram}");
        assert!(rows.0.iter().any(|(name, _)| *name == "sent"), "nothing is checked: {diagram}");
        rows
    }

    fn columns(&self) -> usize {
        self.0[0].1.len()
    }

    fn at(&self, name: &str, column: usize) -> Option<u8> {
        self.0.iter().find(|(row, _)| *row == name).map(|(_, signal)| signal[column])
    }

    fn high(&self, name: &str, column: usize) -> Option<bool> {
        self.at(name, column).map(|sign| match sign {
            b'~' => true,
            b'_' => false,
            other => panic!("{} in row {name}", char::from(other)),
        })
    }

    fn digit(&self, name: &str, column: usize) -> Option<u8> {
        match self.at(name, column)? {
            b'_' => None,
            sign @ b'0'..=b'9' => Some(sign - b'0'),
            other => panic!("{} in row {name}", char::from(other)),
        }
    }

    fn entry(&self, column: usize, more: Rte) -> Rte {
        let plain = level(0x30 + self.digit("vec", column).unwrap_or(0))
            .with_masked(self.high("mask", column).unwrap_or(false))
            .with_level(self.high("trig", column).unwrap_or(true));
        Rte::from_bits(plain.into_bits() | more.into_bits())
    }
}
