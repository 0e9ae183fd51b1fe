// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `--stats` tells where interrupts went: the guest `counts` makes known numbers of each kind.

use std::collections::BTreeMap;

use integration::vmm::run_guest;
use integration::{vmm_ref, Finished, Topology};

/// The tables by their first column: "GSI 5", "0x25", and "0" for vCPU 0.
struct Tables(BTreeMap<String, Vec<u64>>);

impl Tables {
    fn of(finished: &Finished) -> Self {
        let rows = finished.messages.lines().filter_map(|line| {
            let (name, rest) = line.split_at_checked(8)?;
            let numbers: Option<Vec<u64>> =
                rest.split_whitespace().map(|number| number.parse().ok()).collect();
            Some((name.trim().to_owned(), numbers.filter(|numbers| !numbers.is_empty())?))
        });
        Tables(rows.collect())
    }

    /// Columns raised, delivered, coalesced, ignored, EOI.
    fn line(&self, gsi: u32) -> [u64; 5] {
        self.row(&format!("GSI {gsi}"))
    }

    /// Columns injected, EOI, vCPU 0.
    fn vector(&self, vector: u8) -> [u64; 3] {
        self.row(&format!("{vector:#04x}"))
    }

    fn row<const N: usize>(&self, name: &str) -> [u64; N] {
        let row = self.0.get(name).unwrap_or_else(|| panic!("no row {name:?} in {:#?}", self.0));
        row.as_slice().try_into().unwrap_or_else(|_| panic!("{name}: {row:?}"))
    }
}

#[test]
fn the_8259a_pairs_interrupts_are_counted_by_line_and_vector() {
    for topology in [Topology::Pic, Topology::IoApic] {
        let tables = Tables::of(&run_guest(vmm_ref!(), "counts", topology));
        assert_eq!(tables.line(5), [3, 3, 0, 0, 3], "edges of the master");
        assert_eq!(tables.line(10), [2, 2, 0, 0, 2], "edges of the slave");
        assert_eq!(tables.line(11), [2, 0, 0, 2, 0], "masked edges are ignored");
        assert_eq!(tables.line(6), [4, 1, 3, 0, 1], "edges merge with a pending one");
        // Their EOI is the 8259A's, not the local APIC's.
        assert_eq!(tables.vector(0x25), [3, 0, 3]);
        assert_eq!(tables.vector(0x2a), [2, 0, 2]);
        assert_eq!(tables.vector(0x26), [1, 0, 1]);
    }
}

#[test]
fn the_apics_interrupts_are_counted_by_line_and_vector() {
    let tables = Tables::of(&run_guest(vmm_ref!(), "counts", Topology::IoApic));
    assert_eq!(tables.line(20), [7, 7, 0, 0, 0], "edges have no EOI at the IOAPIC");
    assert_eq!(tables.line(21), [1, 1, 0, 0, 5], "one assertion, five EOIs");
    assert_eq!(tables.line(22), [2, 0, 0, 2, 0], "masked edges are ignored");
    assert_eq!(tables.vector(0x61), [7, 7, 7]);
    assert_eq!(tables.vector(0x71), [5, 5, 5], "a level is sent again at each EOI");
    assert_eq!(tables.vector(0x81), [4, 4, 4], "IPIs have no line");
    let [exits, _halts, _windows, _kicks, _wakes, nmi, spurious] = tables.row("0");
    assert_eq!((nmi, spurious), (2, 0));
    assert!(exits > 0);
}

#[test]
fn nothing_that_did_not_happen_is_listed() {
    let Tables(rows) = Tables::of(&run_guest(vmm_ref!(), "counts", Topology::Pic));
    let names: Vec<&str> = rows.keys().map(String::as_str).collect();
    assert_eq!(names, ["0", "0x25", "0x26", "0x2a", "GSI 10", "GSI 11", "GSI 5", "GSI 6"]);
}

#[test]
fn spurious_interrupts_are_counted() {
    let tables = Tables::of(&run_guest(vmm_ref!(), "pic_spurious", Topology::IoApic));
    let [.., spurious] = tables.row::<7>("0");
    assert_eq!(spurious, 3, "twice IRQ7, once IRQ15");
}

#[test]
fn each_cpu_has_its_column() {
    let tables = Tables::of(&run_guest(vmm_ref!(), "ipi", Topology::IoApic));
    let [injected, eoi, cpus @ ..] = tables.row::<6>("0x60");
    assert_eq!(cpus.iter().sum::<u64>(), injected);
    assert_eq!(eoi, injected);
    assert!(cpus.iter().all(|count| *count > 0), "{cpus:?}");
}
