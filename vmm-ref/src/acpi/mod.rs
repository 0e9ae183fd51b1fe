// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! ACPI tables for the machine: RSDP, XSDT, FADT, MADT, DSDT.
