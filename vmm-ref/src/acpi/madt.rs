// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The multiple APIC description table: 5.2.12 "Multiple APIC Description Table (MADT)".
//!
//! The entries are written by hand: the library has neither source overrides nor x2APIC entries.

use acpi_tables::sdt::Sdt;

use super::fixed::{OEM_ID, OEM_REVISION, OEM_TABLE_ID, SDT_HEADER};
use super::IoApic;
use crate::layout;

const REVISION: u8 = 5;
/// There is a pair of 8259As too (5.2.12.1 "Multiple APIC Flags").
const PCAT_COMPAT: u32 = 1 << 0;
const ENABLED: u32 = 1 << 0;
// Structure types and lengths, 5.2.12.2 on.
const LOCAL_APIC: [u8; 2] = [0, 8];
const IO_APIC: [u8; 2] = [1, 12];
const SOURCE_OVERRIDE: [u8; 2] = [2, 10];
const LOCAL_APIC_NMI: [u8; 2] = [4, 6];
const LOCAL_X2APIC: [u8; 2] = [9, 16];
const LOCAL_X2APIC_NMI: [u8; 2] = [10, 12];
/// Ids from here on do not fit a local APIC entry: 255 is the broadcast id there.
const FIRST_X2APIC_ID: u32 = 255;
// MPS INTI flags (5.2.12.5): polarity in bits 1:0, trigger mode in bits 3:2.
const ACTIVE_HIGH: u16 = 1;
const EDGE: u16 = 1 << 2;
const LEVEL: u16 = 3 << 2;
const ISA_BUS: u8 = 0;
const TIMER_IRQ: u8 = 0;
/// The pin that ISA's timer interrupt is wired to, since pin 0 belongs to the 8259As' INTR.
const TIMER_GSI: u32 = 2;
const NMI_PIN: u8 = 1;

pub(super) fn madt(cpus: u32, ioapic: &IoApic) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&(layout::LAPIC as u32).to_le_bytes());
    body.extend_from_slice(&PCAT_COMPAT.to_le_bytes());
    (0..cpus).for_each(|id| local_apic(&mut body, id));
    io_apic(&mut body, ioapic);
    let base = ioapic.gsi_base;
    source_override(&mut body, TIMER_IRQ, base.saturating_add(TIMER_GSI), ACTIVE_HIGH | EDGE);
    source_override(
        &mut body,
        layout::SCI_IRQ,
        base.saturating_add(layout::SCI_IRQ.into()),
        ACTIVE_HIGH | LEVEL,
    );
    nmi(&mut body, cpus);
    let mut madt = Sdt::new(*b"APIC", SDT_HEADER, REVISION, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    madt.append_slice(&body);
    madt.as_slice().to_vec()
}

/// 5.2.12.2 "Processor Local APIC Structure" and 5.2.12.12 "Processor Local x2APIC Structure". The
/// processor's UID is its APIC id.
fn local_apic(body: &mut Vec<u8>, id: u32) {
    if id < FIRST_X2APIC_ID {
        body.extend_from_slice(&LOCAL_APIC);
        body.extend_from_slice(&[id as u8, id as u8]);
        body.extend_from_slice(&ENABLED.to_le_bytes());
    } else {
        body.extend_from_slice(&LOCAL_X2APIC);
        body.extend_from_slice(&[0, 0]);
        for field in [id, ENABLED, id] {
            body.extend_from_slice(&field.to_le_bytes());
        }
    }
}

/// 5.2.12.3 "I/O APIC Structure".
fn io_apic(body: &mut Vec<u8>, ioapic: &IoApic) {
    body.extend_from_slice(&IO_APIC);
    body.extend_from_slice(&[ioapic.id, 0]);
    body.extend_from_slice(&ioapic.address.to_le_bytes());
    body.extend_from_slice(&ioapic.gsi_base.to_le_bytes());
}

/// 5.2.12.5 "Interrupt Source Override Structure".
fn source_override(body: &mut Vec<u8>, irq: u8, gsi: u32, flags: u16) {
    body.extend_from_slice(&SOURCE_OVERRIDE);
    body.extend_from_slice(&[ISA_BUS, irq]);
    body.extend_from_slice(&gsi.to_le_bytes());
    body.extend_from_slice(&flags.to_le_bytes());
}

/// 5.2.12.7 "Local APIC NMI Structure" and 5.2.12.13 "Local x2APIC NMI Structure": LINT1 of all
/// processors, polarity and trigger as the bus has them.
fn nmi(body: &mut Vec<u8>, cpus: u32) {
    body.extend_from_slice(&LOCAL_APIC_NMI);
    body.extend_from_slice(&[0xff, 0, 0, NMI_PIN]);
    if cpus > FIRST_X2APIC_ID {
        body.extend_from_slice(&LOCAL_X2APIC_NMI);
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(&u32::MAX.to_le_bytes());
        body.extend_from_slice(&[NMI_PIN, 0, 0, 0]);
    }
}
