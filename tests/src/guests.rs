// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The bare-metal guests of `tests/guests`, and which machines they are for.
//!
//! A guest prints `ok NAME` or `FAIL NAME` for each check, then `guest: passed` or
//! `guest: failed`, and ends with status [`PASSED`] or [`FAILED`] through the test device. Run it
//! as
//!
//! ```text
//! vmm-ref --kernel pic.elf --cpus boot=1 --platform topology=pic,testdev=on
//! ```

use std::fmt;
use std::path::{Path, PathBuf};

/// Exit status of a guest whose checks all passed.
pub const PASSED: i32 = 33;
/// Exit status of a guest with a failed check.
pub const FAILED: i32 = 35;

/// `--platform topology=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// The 8259A pair and one CPU without local APIC.
    Pic,
    /// The 8259A pair, the IOAPIC and local APICs.
    IoApic,
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Topology::Pic => "pic",
            Topology::IoApic => "ioapic",
        })
    }
}

/// One guest program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Its source is `tests/guests/NAME.c` or `tests/guests/32bit/NAME.c`.
    pub name: &'static str,
    /// The machines that it runs on.
    pub topologies: &'static [Topology],
    /// The CPUs that it needs.
    pub cpus: u32,
}

impl Guest {
    /// The guest of this name.
    pub fn find(name: &str) -> Option<Guest> {
        GUESTS.into_iter().find(|guest| guest.name == name)
    }

    /// Its ELF file.
    pub fn elf(&self) -> PathBuf {
        elf(self.name)
    }
}

/// The compiled form of any source in `tests/guests`, the faulty ones included.
pub fn elf(name: &str) -> PathBuf {
    Path::new(env!("OUT_DIR")).join("guests").join(name).with_extension("elf")
}

const BOTH: &[Topology] = &[Topology::Pic, Topology::IoApic];
const IOAPIC: &[Topology] = &[Topology::IoApic];

const fn guest(name: &'static str, topologies: &'static [Topology], cpus: u32) -> Guest {
    Guest { name, topologies, cpus }
}

/// All guests that check something.
pub const GUESTS: [Guest; 19] = [
    guest("apic_base", IOAPIC, 1),
    guest("counts", BOTH, 1),
    guest("halt", BOTH, 1),
    guest("init_sipi", IOAPIC, 4),
    guest("ioapic", IOAPIC, 1),
    guest("ipi", IOAPIC, 4),
    guest("ipi_x2apic", IOAPIC, 18),
    guest("lapic_error", IOAPIC, 1),
    guest("lapic_timer", IOAPIC, 1),
    guest("multiboot", BOTH, 1),
    guest("nmi", IOAPIC, 2),
    guest("pic", BOTH, 1),
    guest("pic_spurious", IOAPIC, 1),
    guest("pit", BOTH, 1),
    guest("rtc", BOTH, 1),
    guest("serial", BOTH, 1),
    guest("tpr", IOAPIC, 1),
    guest("virtual_wire", IOAPIC, 1),
    guest("x2apic", IOAPIC, 1),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_every_source_and_nothing_else() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
        let mut sources: Vec<String> = [root.clone(), root.join("32bit")]
            .iter()
            .flat_map(|directory| std::fs::read_dir(directory).unwrap())
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        sources.sort();
        let listed: Vec<&str> = GUESTS.iter().map(|guest| guest.name).collect();
        assert_eq!(listed, sources);
    }

    #[test]
    fn every_guest_is_built() {
        for guest in GUESTS {
            assert!(guest.elf().is_file(), "{}", guest.elf().display());
        }
    }
}
