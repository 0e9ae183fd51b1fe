// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every interrupt that a vCPU was given, in order: counted, hashed, and written down if somebody
//! wants to read it. Two runs with a virtual clock are the same if their hashes are.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
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
    to: Option<Output>,
}

struct Output {
    path: PathBuf,
    file: Box<dyn Write + Send>,
    /// From here on the file is incomplete.
    failed: Option<io::Error>,
}

/// The file of a trace does not hold all of it.
#[derive(Debug, thiserror::Error)]
#[error("the trace in {} is incomplete: {error}", path.display())]
pub struct Incomplete {
    path: PathBuf,
    error: io::Error,
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
        let file = BufWriter::new(File::create(path)?);
        Ok(Self::to(Box::new(file), path))
    }

    fn to(file: Box<dyn Write + Send>, path: &Path) -> Self {
        let trace = Self::new();
        lock(&trace.0).to = Some(Output { path: path.to_owned(), file, failed: None });
        trace
    }

    /// Takes one down.
    pub fn record(&self, injected: &Injected) {
        let mut state = lock(&self.0);
        state.count += 1;
        state.hash = hash(state.hash, injected);
        let Some(to) = state.to.as_mut().filter(|to| to.failed.is_none()) else { return };
        let Injected { time, cpu, vector, origin } = injected;
        to.failed = writeln!(to.file, "{time} {cpu} {vector:#04x} {origin}").err();
    }

    /// What it comes down to so far.
    pub fn summary(&self) -> Summary {
        let state = lock(&self.0);
        Summary { count: state.count, hash: state.hash }
    }

    /// Writes what is not in the file yet.
    ///
    /// # Errors
    /// [`Incomplete`] if this failed, or writing did before.
    pub fn flush(&self) -> Result<(), Incomplete> {
        let mut state = lock(&self.0);
        let Some(Output { path, file, failed }) = &mut state.to else { return Ok(()) };
        match failed.take().map_or_else(|| file.flush(), Err) {
            Ok(()) => Ok(()),
            Err(error) => {
                let path = std::mem::take(path);
                // Nothing that is written behind the gap is of use.
                state.to = None;
                Err(Incomplete { path, error })
            }
        }
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
        // Of the bytes 08 07 06 05 04 03 02 01, 0c 0b 0a 09, 30, 02, by another implementation.
        let time = 0x0102_0304_0506_0708;
        let bytes = Injected { time, cpu: 0x090a_0b0c, vector: 0x30, origin: Origin::Nmi };
        assert_eq!(summary(&[bytes]), Summary { count: 1, hash: 0x2e2f_ac57_9d75_4057 });
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let full = Path::new("/dev/full");
        // One line stays in the buffer; of many the first ones do not.
        for lines in [1, 10_000] {
            let trace = Trace::to_file(full).unwrap();
            (0..lines).for_each(|_| trace.record(&FIRST));
            let error = trace.flush().unwrap_err().to_string();
            assert!(error.contains("/dev/full") && error.contains("No space"), "{error}");
            assert_eq!(trace.summary().count, lines);
        }
    }

    /// A disk that was full for a moment.
    #[derive(Default)]
    struct FailsOnce(bool);

    impl Write for FailsOnce {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match std::mem::replace(&mut self.0, true) {
                true => Ok(bytes.len()),
                false => Err(io::ErrorKind::StorageFull.into()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_gap_in_a_file_is_told_at_the_end() {
        let trace = Trace::to(Box::<FailsOnce>::default(), Path::new("gap"));
        trace.record(&FIRST);
        trace.record(&FIRST);
        assert!(trace.flush().unwrap_err().to_string().contains("gap"));
    }

    #[test]
    fn a_file_holds_a_line_for_each() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trace");
        let trace = Trace::to_file(&path).unwrap();
        trace.record(&FIRST);
        trace.record(&Injected { origin: Origin::Nmi, vector: 2, ..FIRST });
        trace.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "5 1 0x30 lapic\n5 1 0x02 nmi\n");
    }
}
