// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every interrupt that a vCPU was given, in order: counted, hashed, and written down if somebody
//! wants to read it. Two runs with a virtual clock are the same if their hashes are.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Mutex;

use crate::sync::lock;

/// Where an interrupt came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The local APIC.
    Lapic = 0,
    /// The 8259A pair's acknowledge cycle.
    ExtInt = 1,
    /// An NMI.
    Nmi = 2,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Lapic => "lapic",
            Origin::ExtInt => "extint",
            Origin::Nmi => "nmi",
        })
    }
}

/// One interrupt that a vCPU was given.
#[derive(Clone, Copy, Debug)]
pub struct Injected {
    /// ns of the machine's clock.
    pub time: u64,
    /// Index of the vCPU.
    pub cpu: u32,
    /// The vector.
    pub vector: u8,
    /// Where it came from.
    pub origin: Origin,
}

/// The interrupts of a process's machines.
pub struct Trace(Mutex<State>);

struct State {
    count: u64,
    hash: u64,
    to: Option<BufWriter<File>>,
}

/// What a trace comes down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Interrupts.
    pub count: u64,
    /// FNV-1a, 64 bits, over each one's time (8 bytes), vCPU (4), vector (1) and origin (1), lowest
    /// byte first.
    pub hash: u64,
}

impl Trace {
    /// An empty trace.
    pub fn new() -> Self {
        Trace(Mutex::new(State { count: 0, hash: 0xcbf2_9ce4_8422_2325, to: None }))
    }

    /// An empty trace that is written to a file, a line for each interrupt:
    /// `time vcpu vector origin`.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn to_file(path: &Path) -> io::Result<Self> {
        let trace = Self::new();
        lock(&trace.0).to = Some(BufWriter::new(File::create(path)?));
        Ok(trace)
    }

    /// Takes one down.
    pub fn record(&self, injected: &Injected) {
        let mut state = lock(&self.0);
        state.count += 1;
        state.hash = hash(state.hash, injected);
        let Some(to) = &mut state.to else { return };
        let Injected { time, cpu, vector, origin } = injected;
        if let Err(error) = writeln!(to, "{time} {cpu} {vector:#04x} {origin}") {
            log::warn!("the trace is incomplete: {error}");
            state.to = None;
        }
    }

    /// What it comes down to so far; what is in a file is complete then.
    pub fn summary(&self) -> Summary {
        let mut state = lock(&self.0);
        if let Some(Err(error)) = state.to.as_mut().map(Write::flush) {
            log::warn!("the trace is incomplete: {error}");
        }
        Summary { count: state.count, hash: state.hash }
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

fn hash(before: u64, injected: &Injected) -> u64 {
    let Injected { time, cpu, vector, origin } = *injected;
    let bytes = time.to_le_bytes().into_iter().chain(cpu.to_le_bytes());
    let bytes = bytes.chain([vector, origin as u8]);
    bytes.fold(before, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Injected = Injected { time: 5, cpu: 1, vector: 0x30, origin: Origin::Lapic };

    fn summary(interrupts: &[Injected]) -> Summary {
        let trace = Trace::new();
        interrupts.iter().for_each(|injected| trace.record(injected));
        trace.summary()
    }

    #[test]
    fn each_part_of_an_interrupt_counts() {
        let others = [
            Injected { time: 6, ..FIRST },
            Injected { cpu: 0, ..FIRST },
            Injected { vector: 0x31, ..FIRST },
            Injected { origin: Origin::ExtInt, ..FIRST },
        ];
        assert_eq!(summary(&[FIRST]), summary(&[FIRST]));
        for other in others {
            assert_ne!(summary(&[FIRST]), summary(&[other]), "{other:?}");
            assert_ne!(summary(&[FIRST, other]).hash, summary(&[other, FIRST]).hash, "{other:?}");
        }
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        // The published test vector for "a": one step from the offset basis.
        let offset = summary(&[]).hash;
        assert_eq!((offset ^ 0x61).wrapping_mul(0x100_0000_01b3), 0xaf63_dc4c_8601_ec8c);
        let zero = Injected { time: 0, cpu: 0, vector: 0, origin: Origin::Lapic };
        let fourteen_zeros = (0..14).fold(offset, |hash, _| hash.wrapping_mul(0x100_0000_01b3));
        assert_eq!(summary(&[zero]), Summary { count: 1, hash: fourteen_zeros });
    }

    #[test]
    fn a_file_holds_a_line_for_each() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trace");
        let trace = Trace::to_file(&path).unwrap();
        trace.record(&FIRST);
        trace.record(&Injected { origin: Origin::Nmi, vector: 2, ..FIRST });
        assert_eq!(trace.summary().count, 2);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "5 1 0x30 lapic\n5 1 0x02 nmi\n");
    }
}
