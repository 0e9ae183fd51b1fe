/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * x2APIC mode: the registers as MSRs, what raises #GP, self IPIs and the timer through MSRs.
 */
#include "guest.h"

enum { VECTOR = 0x46, TIMER = 0x47 };

static counter ticks;

static void on_vector(uint8_t vector) {
	record(vector);
	wrmsr(X2APIC_MSR(APIC_EOI), 0);
}

static void on_tick(uint8_t vector) {
	(void)vector;
	ticks++;
	wrmsr(X2APIC_MSR(APIC_EOI), 0);
}

static int read_faults(uint32_t reg) { return rdmsr_faults(X2APIC_MSR(reg), NULL); }
static int write_faults(uint32_t reg, uint64_t value) { return wrmsr_faults(X2APIC_MSR(reg), value); }

static void registers(void) {
	check_equal(rdmsr(X2APIC_MSR(APIC_ID)), 0, "the id has 32 bits");
	check_equal(rdmsr(X2APIC_MSR(APIC_LDR)), 1, "LDR follows from the id");
	check_equal(rdmsr(X2APIC_MSR(APIC_VERSION)) & 0xf0, 0x10, "version");
	wrmsr(X2APIC_MSR(APIC_ICR), 0x0000000500000000 | ICR_ASSERT | VECTOR);
	check_equal(rdmsr(X2APIC_MSR(APIC_ICR)), 0x0000000500000000 | ICR_ASSERT | VECTOR, "ICR has 64 bits");
}

static void faults(void) {
	check(write_faults(APIC_ID, 0), "ID is read-only");
	check(write_faults(APIC_VERSION, 0), "VERSION is read-only");
	check(write_faults(APIC_PPR, 0), "PPR is read-only");
	check(write_faults(APIC_LDR, 0), "LDR is read-only");
	check(write_faults(APIC_ISR, 0), "ISR is read-only");
	check(write_faults(APIC_TMR + 0x70, 0), "TMR is read-only");
	check(write_faults(APIC_IRR, 0), "IRR is read-only");
	check(write_faults(APIC_TIMER_CURRENT, 0), "the current count is read-only");
	check(read_faults(APIC_EOI), "EOI is write-only");
	check(read_faults(APIC_SELF_IPI), "SELF IPI is write-only");
	check(read_faults(APIC_DFR) && write_faults(APIC_DFR, ~0u), "there is no DFR");
	check(read_faults(APIC_ICR_HIGH) && write_faults(APIC_ICR_HIGH, 0), "there is no second ICR");
	check(read_faults(0x90), "there is no APR");
	check(read_faults(0x00) && read_faults(0x10) && read_faults(0x40), "reserved registers");
	check(read_faults(0x3d0) && read_faults(0xff0), "up to 0x8ff");
	check(write_faults(APIC_TPR, 0x100), "TPR has 8 bits");
	check(write_faults(APIC_EOI, 1), "EOI takes 0");
	check(write_faults(APIC_ESR, 1), "ESR takes 0");
	check(write_faults(APIC_SELF_IPI, 0x100), "SELF IPI takes a vector");
	check(write_faults(APIC_ICR, 1 << 20), "ICR's reserved bits");
	check(write_faults(APIC_LVT_TIMER, 1 << 20), "reserved bits of the LVT");
	check(write_faults(APIC_SVR, 1 << 16), "reserved bits of SVR");
	check(write_faults(APIC_TIMER_DIVIDE, 4), "reserved bits of the divider");
	check(write_faults(APIC_TPR, 1ull << 32), "32-bit registers have no upper half");
	check(!write_faults(APIC_EOI, 0) && !write_faults(APIC_ESR, 0), "what is legal is not refused");
	check_equal(rdmsr(X2APIC_MSR(APIC_TPR)), 0, "and what was refused changed nothing");
	let_interrupts_in();
	check_nothing_taken("nor sent anything");
}

static void interrupts(void) {
	wrmsr(X2APIC_MSR(APIC_SELF_IPI), VECTOR);
	let_interrupts_in();
	check_taken("SELF IPI", VECTOR);
	wrmsr(X2APIC_MSR(APIC_ICR), ICR_SELF | ICR_ASSERT | VECTOR);
	let_interrupts_in();
	check_taken("ICR with shorthand self", VECTOR);
	wrmsr(X2APIC_MSR(APIC_TPR), 0x50);
	check_equal(read_cr8(), 5, "TPR shows in CR8");
	wrmsr(X2APIC_MSR(APIC_SELF_IPI), VECTOR);
	let_interrupts_in();
	check_nothing_taken("TPR holds it back");
	write_cr8(0);
	let_interrupts_in();
	check_taken("CR8 lets it in", VECTOR);
	check_equal(rdmsr(X2APIC_MSR(APIC_TPR)), 0, "and shows in TPR");
}

static void timer(void) {
	wrmsr(X2APIC_MSR(APIC_TIMER_DIVIDE), 0xb);
	wrmsr(X2APIC_MSR(APIC_LVT_TIMER), 1 << 17 | TIMER);
	wrmsr(X2APIC_MSR(APIC_TIMER_INITIAL), 5000000);
	wait_for(&ticks, 5, "the timer through MSRs");
	wrmsr(X2APIC_MSR(APIC_TIMER_INITIAL), 0);
}

static void on_level(uint8_t vector) {
	static int left = 2;
	record(vector);
	if (!--left) set_line(21, 0);
	wrmsr(X2APIC_MSR(APIC_EOI), 0);
}

static void levels(void) {
	set_handler(VECTOR, on_level);
	set_rte(21, RTE_LEVEL | VECTOR, 0);
	set_line(21, 1);
	let_interrupts_in();
	check_taken("EOI by MSR reaches the IOAPIC, which sends the level again", VECTOR, VECTOR);
	check(!(rte_low(21) & RTE_REMOTE_IRR), "remote IRR is clear at the end");
}

void run(void) {
	if (!offers_x2apic()) {
		uint64_t base = rdmsr(IA32_APIC_BASE);
		check(wrmsr_faults(IA32_APIC_BASE, base | APIC_BASE_EXTD), "without CPUID's offer there is no x2APIC mode");
		return;
	}
	set_handler(VECTOR, on_vector);
	set_handler(TIMER, on_tick);
	lapic_enable();
	wrmsr(IA32_APIC_BASE, rdmsr(IA32_APIC_BASE) | APIC_BASE_EXTD);
	registers();
	faults();
	interrupts();
	timer();
	levels();
}
