/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * IA32_APIC_BASE: every transition between disabled, xAPIC and x2APIC mode, and relocation.
 */
#include "guest.h"

enum { VECTOR = 0x45 };

static uint64_t base;

static void on_vector(uint8_t vector) {
	record(vector);
	lapic_eoi();
}

static int set_mode_faults(uint64_t mode) { return wrmsr_faults(IA32_APIC_BASE, base | mode); }

static void x2apic_transitions(void) {
	const uint64_t disabled = 0, xapic = APIC_BASE_EN, x2apic = APIC_BASE_EN | APIC_BASE_EXTD;
	check(set_mode_faults(APIC_BASE_EXTD), "xAPIC to the invalid mode: #GP");
	check(!set_mode_faults(xapic), "xAPIC to xAPIC");
	check(!set_mode_faults(x2apic), "xAPIC to x2APIC");
	check(!set_mode_faults(x2apic), "x2APIC to x2APIC");
	check(set_mode_faults(xapic), "x2APIC to xAPIC: #GP");
	check(set_mode_faults(APIC_BASE_EXTD), "x2APIC to the invalid mode: #GP");
	check_equal(rdmsr(IA32_APIC_BASE), base | x2apic, "a refused value changes nothing");
	check(!set_mode_faults(disabled), "x2APIC to disabled");
	check(set_mode_faults(x2apic), "disabled to x2APIC: #GP");
	check(!set_mode_faults(xapic), "disabled to xAPIC");
}

static void transitions(void) {
	const uint64_t disabled = 0, xapic = APIC_BASE_EN;
	check(!set_mode_faults(disabled), "xAPIC to disabled");
	check(!set_mode_faults(disabled), "disabled to disabled");
	check(set_mode_faults(APIC_BASE_EXTD), "disabled to the invalid mode: #GP");
	check(!set_mode_faults(xapic), "disabled to xAPIC");
	check(wrmsr_faults(IA32_APIC_BASE, base | xapic | 1), "a reserved bit: #GP");
	check(wrmsr_faults(IA32_APIC_BASE, base | xapic | 1ull << 60), "an address beyond the CPU's: #GP");
}

static void into_x2apic_mode(void) {
	check(!set_mode_faults(APIC_BASE_EN | APIC_BASE_EXTD), "into x2APIC mode");
	check_equal(rdmsr(X2APIC_MSR(APIC_TPR)), 0x20, "TPR is kept");
	check_equal(rdmsr(X2APIC_MSR(APIC_SVR)), 0x1ff, "SVR is kept");
	check_equal(rdmsr(X2APIC_MSR(APIC_LVT_ERROR)), 0xdd, "the LVT is kept");
	check_equal(mmio_read(LAPIC + APIC_TPR), 0xffffffff, "the register page is gone");
}

static void what_survives(void) {
	lapic_enable();
	lapic_write(APIC_TPR, 0x20);
	lapic_write(APIC_LVT_ERROR, 0xdd);
	if (offers_x2apic()) into_x2apic_mode();
	check(!set_mode_faults(0), "disabled");
	check(!set_mode_faults(APIC_BASE_EN), "xAPIC again");
	check_equal(lapic_read(APIC_SVR), 0xff, "SVR is as after reset");
	check_equal(lapic_read(APIC_TPR), 0, "TPR is as after reset");
	check_equal(lapic_read(APIC_LVT_ERROR), LVT_MASKED, "the LVT is as after reset");
	check(rdmsr_faults(X2APIC_MSR(APIC_TPR), NULL), "the MSRs do not exist outside x2APIC mode");
	check(wrmsr_faults(X2APIC_MSR(APIC_TPR), 0), "nor for writes");
}

static void relocation(void) {
	const uint64_t elsewhere = 0xfed40000;
	lapic_enable();
	set_handler(VECTOR, on_vector);
	uint32_t id = lapic_read(APIC_ID);
	wrmsr(IA32_APIC_BASE, elsewhere | APIC_BASE_EN | APIC_BASE_BSP);
	check_equal(mmio_read(elsewhere + APIC_ID), id, "the register page can be moved");
	check_equal(mmio_read(LAPIC + APIC_SVR), 0xffffffff, "and is not where it was");
	mmio_write(elsewhere + APIC_ICR, ICR_SELF | ICR_ASSERT | VECTOR);
	wrmsr(IA32_APIC_BASE, base | APIC_BASE_EN);
	let_interrupts_in();
	check_taken("an IPI from there", VECTOR);
}

void run(void) {
	uint64_t at_start = rdmsr(IA32_APIC_BASE);
	base = at_start & ~(APIC_BASE_EN | APIC_BASE_EXTD);
	check_equal(at_start, LAPIC | APIC_BASE_EN | APIC_BASE_BSP, "xAPIC mode at 0xfee00000 on the boot processor");
	transitions();
	if (offers_x2apic()) x2apic_transitions();
	else check(set_mode_faults(APIC_BASE_EN | APIC_BASE_EXTD), "without CPUID's offer there is no x2APIC mode");
	what_survives();
	relocation();
}
