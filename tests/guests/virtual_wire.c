/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * The ways of INTR from the 8259A pair to the CPU: LINT0, IOAPIC pin 0, and straight through where
 * IA32_APIC_BASE has the local APIC disabled.
 */
#include "guest.h"

static void on_irq(uint8_t vector) {
	record(vector);
	pic_eoi(vector - PIC_BASE);
}

/* The wire works: edges of both chips, one after the other. */
static void expect_delivery(const char *name) {
	pulse_line(5), pulse_line(10);
	let_interrupts_in();
	check_taken(name, PIC_BASE + 10, PIC_BASE + 5);
}

static void expect_silence(const char *name, uint8_t line) {
	pulse_line(line);
	let_interrupts_in();
	check_nothing_taken(name);
	check(pic_irr(0x20) != 0, "  the request waits in the 8259A");
}

static void through_lint0(void) {
	check_equal(lapic_read(APIC_LVT_LINT0), LVT_EXTINT, "LINT0 is ExtINT, as firmware would leave it");
	check_equal(lapic_read(APIC_LVT_LINT1), LVT_NMI, "LINT1 is NMI");
	expect_delivery("LINT0 as ExtINT");
	lapic_write(APIC_TPR, 0xff);
	expect_delivery("TPR does not hold ExtINT back");
	lapic_write(APIC_TPR, 0);
	lapic_write(APIC_LVT_LINT0, LVT_MASKED | LVT_EXTINT);
	expect_silence("LINT0 masked: nothing", 5);
	lapic_write(APIC_LVT_LINT0, LVT_EXTINT);
	let_interrupts_in();
	check_taken("LINT0 unmasked: the request that waited", PIC_BASE + 5);
	check_equal(pic_isr(0x20), 0, "the 8259A's EOI is enough");
	lapic_write(APIC_LVT_LINT0, LVT_MASKED | LVT_EXTINT);
}

static void unmask(void) { pic_unmask(5), pic_unmask(6), pic_unmask(10); }

static void through_ioapic(void) {
	uint8_t self = lapic_read(APIC_ID) >> 24;
	expect_silence("both wires masked: nothing", 6);
	pic_mask(6);
	set_rte(0, RTE_EXTINT, self);
	expect_delivery("IOAPIC pin 0 as ExtINT");
	expect_delivery("and again");
	pic_unmask(6);
	let_interrupts_in();
	check_taken("INTR's next edge comes through", PIC_BASE + 6);
	pic_init_with(0x11, 0x03);
	unmask();
	pulse_line(5), pulse_line(6);
	let_interrupts_in();
	check_taken("each acknowledge makes an edge, also where INTR stays up (automatic EOI)", PIC_BASE + 5,
		PIC_BASE + 6);
	pic_init();
	unmask();
	set_rte(0, RTE_MASKED | RTE_EXTINT, self);
	expect_silence("pin 0 masked: nothing", 5);
	lapic_write(APIC_LVT_LINT0, LVT_EXTINT);
	let_interrupts_in();
	check_taken("back to LINT0", PIC_BASE + 5);
}

static void apic_disabled(void) {
	uint64_t base = rdmsr(IA32_APIC_BASE);
	lapic_write(APIC_LVT_LINT0, LVT_MASKED | LVT_EXTINT);
	check(has_apic(), "CPUID.1:EDX[9] is set while the APIC is enabled");
	wrmsr(IA32_APIC_BASE, base & ~APIC_BASE_EN);
	check(!has_apic(), "CPUID.1:EDX[9] is clear while it is disabled");
	expect_delivery("APIC disabled: INTR goes straight through");
	wrmsr(IA32_APIC_BASE, base);
	check(has_apic(), "CPUID.1:EDX[9] is set again");
	check_equal(lapic_read(APIC_LVT_LINT0), LVT_MASKED, "LINT0 is as after reset");
	expect_silence("and lets nothing through", 5);
	lapic_enable();
	lapic_write(APIC_LVT_LINT0, LVT_EXTINT);
	let_interrupts_in();
	check_taken("until it is ExtINT again", PIC_BASE + 5);
}

static void software_disabled(void) {
	lapic_write(APIC_SVR, 0xff);
	check(lapic_read(APIC_LVT_LINT0) & LVT_MASKED, "software disable masks LINT0");
	expect_silence("and nothing comes", 5);
	lapic_enable();
	lapic_write(APIC_LVT_LINT0, LVT_EXTINT);
	let_interrupts_in();
	check_taken("before it is enabled and unmasked", PIC_BASE + 5);
}

void run(void) {
	for (int irq = 0; irq < 16; irq++) set_handler(PIC_BASE + irq, on_irq);
	pic_init();
	unmask();
	through_lint0();
	through_ioapic();
	apic_disabled();
	software_disabled();
}
