// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The tables of fixed layout: RSDP, RSDT, XSDT, FADT, FACS.

use acpi_tables::facs::FACS;
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::Aml;

use super::AcpiConfig;
use crate::layout;

pub(super) const OEM_ID: [u8; 6] = *b"RSTVMM";
pub(super) const OEM_TABLE_ID: [u8; 8] = *b"VMMREF  ";
pub(super) const OEM_REVISION: u32 = 1;
pub(super) const RSDP_SIZE: usize = 36;
/// An SDT header: 5.2.6 "System Description Table Header".
pub(super) const SDT_HEADER: u32 = 36;

// 5.2.9.3 "IA-PC Boot Architecture Flags".
const LEGACY_DEVICES: u16 = 1 << 0;
const HAS_8042: u16 = 1 << 1;
const NO_VGA: u16 = 1 << 2;
/// Latencies beyond these mean "no C2" (100 us) and "no C3" (1000 us): 5.2.9, `P_LVL2_LAT`.
const NO_C2: u16 = 0xfff;
const NO_C3: u16 = 0xffff;

/// 5.2.5.3 "Root System Description Pointer Structure", revision 2. Written by hand since the
/// library's has no RSDT address, which 32-bit guests use.
pub(super) fn rsdp(rsdt: u32, xsdt: u32) -> [u8; RSDP_SIZE] {
    let mut rsdp = [0; RSDP_SIZE];
    rsdp[..8].copy_from_slice(b"RSD PTR ");
    rsdp[9..15].copy_from_slice(&OEM_ID);
    rsdp[15] = 2;
    rsdp[16..20].copy_from_slice(&rsdt.to_le_bytes());
    rsdp[20..24].copy_from_slice(&(RSDP_SIZE as u32).to_le_bytes());
    rsdp[24..32].copy_from_slice(&u64::from(xsdt).to_le_bytes());
    // The first checksum covers what ACPI 1.0 defined, the second everything.
    rsdp[8] = checksum(&rsdp[..20]);
    rsdp[32] = checksum(&rsdp);
    rsdp
}

/// The byte that makes the sum of all bytes 0.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte))
}

/// 5.2.7 "Root System Description Table".
pub(super) fn rsdt(tables: &[u32]) -> Vec<u8> {
    let mut rsdt = Sdt::new(*b"RSDT", SDT_HEADER, 1, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    for table in tables {
        rsdt.append_slice(&table.to_le_bytes());
    }
    rsdt.as_slice().to_vec()
}

/// 5.2.8 "Extended System Description Table".
pub(super) fn xsdt(tables: &[u32]) -> Vec<u8> {
    let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    tables.iter().for_each(|table| xsdt.add_entry(u64::from(*table)));
    to_bytes(&xsdt)
}

/// 5.2.10 "Firmware ACPI Control Structure": no sleep state but S5, so nothing to wake to.
pub(super) fn facs() -> Vec<u8> {
    to_bytes(&FACS::new())
}

/// 5.2.9 "Fixed ACPI Description Table".
pub(super) fn fadt(config: &AcpiConfig, facs: u32, dsdt: u32) -> Vec<u8> {
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc)
        .flag(Flags::TmrValExt)
        .flag(Flags::ResetRegSup);
    fadt.firmware_ctrl = facs.into();
    fadt.dsdt = dsdt.into();
    fadt.x_dsdt = u64::from(dsdt).into();
    fadt.sci_int = u16::from(layout::SCI_IRQ).into();
    fadt.p_lvl2_lat = NO_C2.into();
    fadt.p_lvl3_lat = NO_C3.into();
    fadt.century = layout::CMOS_CENTURY;
    let keyboard = if config.i8042 { HAS_8042 } else { 0 };
    fadt.iapc_boot_arch = (LEGACY_DEVICES | NO_VGA | keyboard).into();
    fadt.reset_reg = io(layout::RESET_PORT, 1, AccessSize::ByteAccess);
    fadt.reset_value = layout::RESET_VALUE;
    power_management(&mut fadt);
    to_bytes(&fadt.finalize())
}

/// The same blocks twice: ports for ACPI 1.0 guests, generic addresses for later ones.
fn power_management(fadt: &mut FADTBuilder) {
    fadt.pm1a_evt_blk = u32::from(layout::PM1A_EVENT).into();
    fadt.pm1_evt_len = layout::PM1A_EVENT_LEN;
    fadt.pm1a_cnt_blk = u32::from(layout::PM1A_CONTROL).into();
    fadt.pm1_cnt_len = layout::PM1A_CONTROL_LEN;
    fadt.pm_tmr_blk = u32::from(layout::PM_TIMER).into();
    fadt.pm_tmr_len = layout::PM_TIMER_LEN;
    let (word, dword) = (AccessSize::WordAccess, AccessSize::DwordAccess);
    fadt.x_pm1a_evt_blk = io(layout::PM1A_EVENT, layout::PM1A_EVENT_LEN, word);
    fadt.x_pm1a_cnt_blk = io(layout::PM1A_CONTROL, layout::PM1A_CONTROL_LEN, word);
    fadt.x_pm_tmr_blk = io(layout::PM_TIMER, layout::PM_TIMER_LEN, dword);
}

fn io(port: u16, bytes: u8, access: AccessSize) -> GAS {
    GAS::new(AddressSpace::SystemIo, bytes * 8, 0, access, port.into())
}

fn to_bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}
