// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The tables as a guest finds them: searched for, followed, checked and parsed back.

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{build, AcpiConfig, AcpiError, IoApic, Tables, Topology};
use crate::layout;

fn ioapic(cpus: u32) -> AcpiConfig {
    AcpiConfig { cpus, ..AcpiConfig::default() }
}

fn pic() -> AcpiConfig {
    AcpiConfig { topology: Topology::Pic, ..AcpiConfig::default() }
}

/// Low memory with the tables in it.
struct Guest(GuestMemoryMmap);

impl Guest {
    fn new(config: &AcpiConfig) -> Self {
        let mem = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 2 << 20)]).unwrap();
        let tables = build(config).unwrap();
        assert_eq!(tables.write(&mem).unwrap(), tables.rsdp());
        Guest(mem)
    }

    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    /// The search of 5.2.5.1: 16-byte boundaries from 0xe0000 to 0xfffff.
    fn rsdp(&self) -> Vec<u8> {
        let found = (0xe_0000u64..0x10_0000)
            .step_by(16)
            .map(|at| self.bytes(at, 36))
            .find(|rsdp| rsdp.starts_with(b"RSD PTR ") && sum(&rsdp[..20]) == 0);
        found.expect("no RSDP")
    }

    fn table(&self, at: u64) -> Vec<u8> {
        let table = self.bytes(at, u32_at(&self.bytes(at, 8), 4) as usize);
        assert_eq!(sum(&table), 0, "checksum of {:?}", String::from_utf8_lossy(&table[..4]));
        table
    }

    /// All tables that the XSDT points to.
    fn roots(&self) -> Vec<Vec<u8>> {
        let xsdt = self.table(u64_at(&self.rsdp(), 24));
        assert_eq!(&xsdt[..4], b"XSDT");
        xsdt[36..].chunks(8).map(|entry| self.table(u64_at(entry, 0))).collect()
    }

    fn find(&self, signature: &[u8; 4]) -> Option<Vec<u8>> {
        self.roots().into_iter().find(|table| table.starts_with(signature))
    }

    fn dsdt(&self) -> Vec<u8> {
        self.table(u64_at(&self.find(b"FACP").unwrap(), 140))
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| byte.wrapping_add(sum))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn the_classic_search_finds_the_rsdp() {
    let rsdp = Guest::new(&ioapic(1)).rsdp();
    assert_eq!((rsdp[15], u32_at(&rsdp, 20)), (2, 36), "revision, length");
    assert_eq!(sum(&rsdp), 0, "extended checksum");
}

#[test]
fn rsdt_and_xsdt_list_the_same_tables() {
    let guest = Guest::new(&ioapic(2));
    let rsdp = guest.rsdp();
    let rsdt = guest.table(u32_at(&rsdp, 16).into());
    let xsdt = guest.table(u64_at(&rsdp, 24));
    assert_eq!((&rsdt[..4], &xsdt[..4]), (&b"RSDT"[..], &b"XSDT"[..]));
    let narrow: Vec<u64> = rsdt[36..].chunks(4).map(|entry| u32_at(entry, 0).into()).collect();
    let wide: Vec<u64> = xsdt[36..].chunks(8).map(|entry| u64_at(entry, 0)).collect();
    assert_eq!(narrow, wide);
    assert_eq!(wide.len(), 2);
}

#[test]
fn the_fadt_points_to_a_dsdt_and_an_aligned_facs() {
    let guest = Guest::new(&ioapic(1));
    let fadt = guest.find(b"FACP").unwrap();
    assert_eq!((fadt[8], fadt.len()), (6, 276));
    assert_eq!(u64::from(u32_at(&fadt, 40)), u64_at(&fadt, 140), "DSDT and X_DSDT");
    assert_eq!(&guest.dsdt()[..4], b"DSDT");
    let facs = u64::from(u32_at(&fadt, 36));
    assert_eq!(facs % 64, 0);
    let facs = guest.bytes(facs, 64);
    assert_eq!((&facs[..4], u32_at(&facs, 4)), (&b"FACS"[..], 64));
}

#[test]
fn the_fadt_describes_fixed_power_management() {
    let fadt = Guest::new(&ioapic(1)).find(b"FACP").unwrap();
    assert_eq!(u16_at(&fadt, 46), 9, "SCI_INT");
    assert_eq!((u32_at(&fadt, 48), fadt[52]), (0, 0), "no SMI port: always in ACPI mode");
    assert_eq!((u32_at(&fadt, 56), fadt[88]), (0x600, 4), "PM1a event block");
    assert_eq!((u32_at(&fadt, 64), fadt[89]), (0x604, 2), "PM1a control block");
    assert_eq!((u32_at(&fadt, 76), fadt[91]), (0x608, 4), "PM timer");
    assert!(u16_at(&fadt, 96) > 100 && u16_at(&fadt, 98) > 1000, "latencies: no C2, no C3");
    // The generic addresses say the same: system I/O, width in bits, port.
    let generic = |at: usize| (fadt[at], fadt[at + 1], u64_at(&fadt, at + 4));
    assert_eq!(generic(148), (1, 32, 0x600));
    assert_eq!(generic(172), (1, 16, 0x604));
    assert_eq!(generic(208), (1, 32, 0x608));
    assert_eq!((generic(116), fadt[128]), ((1, 8, 0xcf9), 6), "reset register and value");
}

#[test]
fn the_fadt_flags_are_those_of_a_pc_without_display() {
    let flag = |fadt: &[u8], bit: u32| u32_at(fadt, 112) >> bit & 1 == 1;
    let fadt = Guest::new(&ioapic(1)).find(b"FACP").unwrap();
    for (bit, expected) in [
        (0, true),   // WBINVD
        (2, true),   // PROC_C1
        (4, false),  // PWR_BUTTON: it is a fixed feature
        (5, true),   // SLP_BUTTON: there is none in fixed registers
        (6, true),   // FIX_RTC: nor an RTC wake status
        (8, true),   // TMR_VAL_EXT: 32 bits
        (10, true),  // RESET_REG_SUP
        (20, false), // HW_REDUCED_ACPI
    ] {
        assert_eq!(flag(&fadt, bit), expected, "flag {bit}");
    }
    assert_eq!(u16_at(&fadt, 109), 0b111, "legacy devices, 8042, no VGA");
    let bare = AcpiConfig { i8042: false, ..ioapic(1) };
    assert_eq!(u16_at(&Guest::new(&bare).find(b"FACP").unwrap(), 109), 0b101);
}

#[test]
fn a_machine_with_only_pics_has_no_madt() {
    assert_eq!(Guest::new(&pic()).find(b"APIC"), None);
    assert_eq!(Guest::new(&pic()).roots().len(), 1);
    let error = build(&AcpiConfig { cpus: 2, ..pic() }).unwrap_err();
    assert!(matches!(error, AcpiError::Cpus(2, 1)));
}

/// The MADT's structures: type and body.
fn structures(madt: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let (mut rest, mut all) = (&madt[44..], Vec::new());
    while let [kind, len, ..] = *rest {
        all.push((kind, rest[2..usize::from(len)].to_vec()));
        rest = &rest[usize::from(len)..];
    }
    all
}

fn of_type(madt: &[u8], kind: u8) -> Vec<Vec<u8>> {
    structures(madt).into_iter().filter(|entry| entry.0 == kind).map(|entry| entry.1).collect()
}

#[test]
fn the_madt_lists_every_local_apic_enabled() {
    let madt = Guest::new(&ioapic(4)).find(b"APIC").unwrap();
    assert_eq!(u32_at(&madt, 36), 0xfee0_0000);
    assert_eq!(u32_at(&madt, 40), 1, "PCAT_COMPAT: there are 8259As");
    let apics = of_type(&madt, 0);
    let expected: Vec<_> = (0..4).map(|id| vec![id, id, 1, 0, 0, 0]).collect();
    assert_eq!(apics, expected);
    assert_eq!(of_type(&madt, 9).len(), 0);
}

#[test]
fn ids_from_255_on_are_x2apic_entries() {
    let madt = Guest::new(&ioapic(300)).find(b"APIC").unwrap();
    assert_eq!(of_type(&madt, 0).len(), 255);
    let x2apics = of_type(&madt, 9);
    assert_eq!(x2apics.len(), 45);
    for (index, entry) in x2apics.iter().enumerate() {
        let id = 255 + index as u32;
        assert_eq!((u32_at(entry, 2), u32_at(entry, 6), u32_at(entry, 10)), (id, 1, id));
    }
    let nmi = of_type(&madt, 10);
    assert_eq!((nmi.len(), u32_at(&nmi[0], 2), nmi[0][6]), (1, u32::MAX, 1));
    // With 255 processors the ids are 0..=254 and all fit the short form.
    let madt = Guest::new(&ioapic(255)).find(b"APIC").unwrap();
    assert_eq!((of_type(&madt, 9).len(), of_type(&madt, 10).len()), (0, 0));
}

#[test]
fn the_madt_has_the_io_apic_and_how_isa_interrupts_reach_it() {
    let topology = Topology::IoApic(IoApic { id: 5, address: 0xfec1_0000, gsi_base: 24 });
    let config = AcpiConfig { topology, ..AcpiConfig::default() };
    let madt = Guest::new(&config).find(b"APIC").unwrap();
    let io = of_type(&madt, 1);
    assert_eq!((io.len(), io[0][0]), (1, 5));
    assert_eq!((u32_at(&io[0], 2), u32_at(&io[0], 6)), (0xfec1_0000, 24));
    let overrides: Vec<_> = of_type(&madt, 2)
        .iter()
        .map(|entry| (entry[0], entry[1], u32_at(entry, 2), u16_at(entry, 6)))
        .collect();
    // Bus ISA; IRQ 0 to pin 2, edge, high; the SCI to its own pin, level, high.
    assert_eq!(overrides, [(0, 0, 26, 0b0101), (0, 9, 33, 0b1101)]);
    assert_eq!(of_type(&madt, 4), [vec![0xff, 0, 0, 1]], "NMI on LINT1 of all");
}

#[test]
fn the_dsdt_has_soft_off_and_the_isa_devices() {
    let dsdt = Guest::new(&ioapic(1)).dsdt();
    assert_eq!(dsdt[8], 2, "revision: 64-bit integers");
    // Name (_S5_, Package (4) {Zero, Zero, Zero, Zero}).
    assert!(contains(&dsdt, b"\x08_S5_\x12\x06\x04\0\0\0\0"));
    for name in ["PIC_", "TIMR", "SPKR", "RTC_", "KBD_", "COM1", "MBRD", "C000"] {
        assert!(contains(&dsdt, name.as_bytes()), "{name}");
    }
    assert!(!contains(&dsdt, b"C001"));
    // COM1: ports 0x3f8..=0x3ff, then IRQNoFlags {4}, then the end tag.
    assert!(contains(&dsdt, &[0x47, 1, 0xf8, 3, 0xf8, 3, 1, 8, 0x22, 0x10, 0, 0x79]));
    // RTC: ports 0x70 and 0x71, IRQ 8.
    assert!(contains(&dsdt, &[0x47, 1, 0x70, 0, 0x70, 0, 1, 2, 0x22, 0, 1, 0x79]));
}

#[test]
fn devices_that_the_machine_lacks_are_not_in_the_dsdt() {
    let bare = AcpiConfig { serial: false, i8042: false, ..pic() };
    let dsdt = Guest::new(&bare).dsdt();
    assert!(!contains(&dsdt, b"COM1") && !contains(&dsdt, b"KBD_"));
    assert!(contains(&dsdt, b"RTC_"));
}

#[test]
fn every_processor_has_a_device_with_its_madt_uid() {
    let dsdt = Guest::new(&ioapic(20)).dsdt();
    assert!(contains(&dsdt, b"C013\x08_HID\x0dACPI0007\0\x08_UID\x0a\x13"));
    assert!(!contains(&dsdt, b"C014"));
}

#[test]
fn no_cpus_and_too_many_are_errors() {
    assert!(matches!(build(&ioapic(0)), Err(AcpiError::Cpus(0, _))));
    assert!(matches!(build(&ioapic(1_000_000)), Err(AcpiError::Cpus(1_000_000, _))));
    assert!(matches!(build(&ioapic(4096)), Err(AcpiError::TooLarge { .. })));
    assert!(build(&ioapic(1024)).is_ok());
}

#[test]
fn memory_without_a_bios_area_is_an_error() {
    let mem = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x8_0000)]).unwrap();
    let tables = build(&ioapic(1)).unwrap();
    assert!(matches!(tables.write(&mem), Err(AcpiError::Memory(_))));
}

fn lies_in_the_bios_area(tables: &Tables) -> bool {
    let end = tables.base() + tables.bytes().len() as u64;
    tables.rsdp() % 16 == 0 && tables.rsdp() >= layout::BIOS_AREA && end <= layout::ACPI_END
}

proptest! {
    #[test]
    fn any_machine_gets_sound_tables_or_an_error(
        cpus in prop_oneof![0u32..600, any::<u32>()],
        has_ioapic: bool,
        (id, address, gsi_base) in any::<(u8, u32, u32)>(),
        serial: bool,
        i8042: bool,
    ) {
        let topology = match has_ioapic {
            true => Topology::IoApic(IoApic { id, address, gsi_base }),
            false => Topology::Pic,
        };
        let config = AcpiConfig { topology, cpus, serial, i8042 };
        if let Ok(tables) = build(&config) {
            prop_assert!(lies_in_the_bios_area(&tables));
            let guest = Guest::new(&config);
            prop_assert_eq!(guest.roots().len(), 1 + usize::from(has_ioapic));
            guest.dsdt();
        }
    }
}
