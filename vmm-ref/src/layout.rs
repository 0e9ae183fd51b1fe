// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest-physical memory map and the fixed ports of the machine.
//!
//! One place for every address that two parts of the VMM must agree on: the loader that writes
//! boot structures, the ACPI tables that announce ports, and the devices that answer on them.
//!
//! | from | to | what |
//! |---|---|---|
//! | 0 | 0x500 | interrupt vectors and BIOS data area: left zero |
//! | [`GDT`] | [`BOOT_DATA_END`] | boot structures, free for the guest once it has read them |
//! | [`LEGACY_HOLE`] | [`HIGH_MEMORY`] | reserved: no adapter ROMs, ACPI tables from [`BIOS_AREA`] to [`ACPI_END`] |
//! | [`HIGH_MEMORY`] | at most [`MMIO_HOLE`] | RAM |
//! | [`MMIO_HOLE`] | [`MMIO_HOLE_END`] | devices: [`IOAPIC`], [`LAPIC`] |
//! | [`MMIO_HOLE_END`] | | the rest of RAM |

/// The boot CPU's descriptor table: 8-byte entries.
pub const GDT: u64 = 0x500;
/// The boot CPU's interrupt descriptor table: empty, so that an exception ends in a triple fault.
pub const IDT: u64 = 0x580;
/// `hvm_start_info`, its memory map and its module list (PVH), or the Multiboot information block.
pub const START_INFO: u64 = 0x6000;
/// Linux's `struct boot_params`, the "zero page": 4096 bytes.
pub const ZERO_PAGE: u64 = 0x7000;
/// The boot CPU's initial stack pointer: the stack grows down from here, one page is kept free.
pub const BOOT_STACK_TOP: u64 = 0x9000;
/// Identity page tables for a 64-bit entry: PML4, PDPT, then four page directories.
pub const PAGE_TABLES: u64 = 0x9000;
/// End of the page tables.
pub const PAGE_TABLES_END: u64 = PAGE_TABLES + 6 * 0x1000;
/// The kernel command line, NUL-terminated.
pub const CMDLINE: u64 = 0x2_0000;
/// Room for the command line in bytes, its NUL included.
pub const CMDLINE_SIZE: u64 = 0x1_0000;
/// End of what the loader writes below 640 KiB.
pub const BOOT_DATA_END: u64 = CMDLINE + CMDLINE_SIZE;

/// Start of the adapter hole (640 KiB): backed by memory, reported as reserved.
pub const LEGACY_HOLE: u64 = 0xa_0000;
/// Where the ACPI tables start, the RSDP first. The RSDP search covers this area up to 1 MiB on
/// 16-byte boundaries (ACPI specification 6.5, 5.2.5.1 "Finding the RSDP on IA-PC Systems").
pub const BIOS_AREA: u64 = 0xe_0000;
/// End of the ACPI tables at the most. The 64 KiB from here to [`HIGH_MEMORY`] are reserved too, but
/// left to kernels: a linker puts the ELF headers of a kernel at 1 MiB into a segment just below.
pub const ACPI_END: u64 = 0xf_0000;
/// Start of RAM above the adapter hole (1 MiB).
pub const HIGH_MEMORY: u64 = 0x10_0000;
/// End of low RAM at the most (3 GiB) and start of the hole for memory-mapped devices.
pub const MMIO_HOLE: u64 = 0xc000_0000;
/// End of the hole (4 GiB): RAM that did not fit below continues here.
pub const MMIO_HOLE_END: u64 = 0x1_0000_0000;

/// The IOAPIC's page.
pub const IOAPIC: u64 = 0xfec0_0000;
/// The local APICs' page after reset.
pub const LAPIC: u64 = 0xfee0_0000;

/// ACPI PM1a event block: status (2 bytes), then enable (2 bytes).
pub const PM1A_EVENT: u16 = 0x600;
/// Length of the PM1a event block in bytes.
pub const PM1A_EVENT_LEN: u8 = 4;
/// ACPI PM1a control block: `SCI_EN` is bit 0 (always 1 here), `SLP_TYP` bits 12:10, `SLP_EN` bit 13.
pub const PM1A_CONTROL: u16 = 0x604;
/// Length of the PM1a control block in bytes.
pub const PM1A_CONTROL_LEN: u8 = 2;
/// ACPI PM timer: a 32-bit counter at 3.579545 MHz.
pub const PM_TIMER: u16 = 0x608;
/// Length of the PM timer block in bytes.
pub const PM_TIMER_LEN: u8 = 4;
/// `SLP_TYP` of the soft-off state S5. With 0 a power-off is `outw(0x2000, 0x604)`, which is also
/// what kernels written for QEMU do without reading any table.
pub const S5_SLEEP_TYPE: u8 = 0;
/// The reset register (ACPI `RESET_REG`, the chipset's reset control register).
pub const RESET_PORT: u16 = 0xcf9;
/// What to write to [`RESET_PORT`] for a hard reset: RST_CPU | SYS_RST.
pub const RESET_VALUE: u8 = 0x06;
/// The system control interrupt's ISA line: level-triggered.
pub const SCI_IRQ: u8 = 9;

/// The first serial port (16550A), 8 ports.
pub const COM1: u16 = 0x3f8;
/// Its ISA line.
pub const COM1_IRQ: u8 = 4;
/// The i8042's data port; command and status are at 0x64.
pub const I8042_DATA: u16 = 0x60;
/// The i8042's command and status port.
pub const I8042_COMMAND: u16 = 0x64;
/// The keyboard's ISA line.
pub const I8042_IRQ: u8 = 1;
/// The CMOS index port; data is the next one.
pub const CMOS: u16 = 0x70;
/// The real-time clock's ISA line.
pub const RTC_IRQ: u8 = 8;
/// The CMOS register that holds the century, as the FADT announces it.
pub const CMOS_CENTURY: u8 = 0x32;

/// Splits `size` bytes of guest RAM into (start, length) regions around the MMIO hole.
///
/// No region is empty; none at all when `size` is 0. What would end beyond the 64-bit address
/// space is cut off there.
pub fn ram_regions(size: u64) -> Vec<(u64, u64)> {
    let low = size.min(MMIO_HOLE);
    let high = (size - low).min(u64::MAX - MMIO_HOLE_END);
    [(0, low), (MMIO_HOLE_END, high)].into_iter().filter(|&(_, len)| len != 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_is_split_around_the_mmio_hole() {
        assert_eq!(ram_regions(0), []);
        assert_eq!(ram_regions(512 << 20), [(0, 512 << 20)]);
        assert_eq!(ram_regions(3 << 30), [(0, 3 << 30)]);
        assert_eq!(ram_regions(4 << 30), [(0, 3 << 30), (4 << 30, 1 << 30)]);
        assert_eq!(ram_regions(u64::MAX).len(), 2);
    }

    #[test]
    fn boot_structures_do_not_overlap() {
        let starts = [
            (GDT, IDT),
            (IDT, START_INFO),
            (START_INFO, ZERO_PAGE),
            (ZERO_PAGE, ZERO_PAGE + 0x1000),
            (BOOT_STACK_TOP - 0x1000, BOOT_STACK_TOP),
            (PAGE_TABLES, PAGE_TABLES_END),
            (CMDLINE, BOOT_DATA_END),
            (LEGACY_HOLE, BIOS_AREA),
            (BIOS_AREA, ACPI_END),
            (ACPI_END, HIGH_MEMORY),
        ];
        assert!(starts.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    }
}
