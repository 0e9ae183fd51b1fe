/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Acknowledge cycles that find the request gone. INTR reaches the CPU as an ExtINT message through
 * IOAPIC pin 0: the message is latched in the local APIC, so that the acknowledge cycle follows
 * whatever the 8259A pair says by then.
 */
#include "guest.h"

static uint8_t isr_master, isr_slave;

static void on_irq(uint8_t vector) {
	record(vector);
	isr_master = pic_isr(0x20);
	isr_slave = pic_isr(0xa0);
	if (isr_slave) out8(0xa0, 0x20);
	if (isr_master) out8(0x20, 0x20);
}

void run(void) {
	for (int irq = 0; irq < 16; irq++) set_handler(PIC_BASE + irq, on_irq);
	lapic_enable();
	lapic_write(APIC_LVT_LINT0, LVT_MASKED);
	set_rte(0, RTE_EXTINT, lapic_read(APIC_ID) >> 24);
	pic_init();
	out8(0x4d0, 1 << 5), out8(0x4d1, 1 << 2); /* levels: they can go away */
	pic_unmask(5), pic_unmask(6), pic_unmask(10);

	set_line(5, 1), set_line(5, 0);
	let_interrupts_in();
	check_taken("a request of the master that went away is IRQ7", PIC_BASE + 7);
	check_equal(isr_master, 0, "and nothing is in service");

	set_line(10, 1), set_line(10, 0);
	let_interrupts_in();
	check_taken("a request of the slave that went away is IRQ15", PIC_BASE + 15);
	check_equal(isr_master, 1 << 2, "the master serves the cascade");
	check_equal(isr_slave, 0, "the slave serves nothing");

	pulse_line(6);
	pic_mask(6);
	let_interrupts_in();
	check_taken("a request that was masked in time is IRQ7", PIC_BASE + 7);
	pic_unmask(6);
	let_interrupts_in();
	check_taken("and comes when it is unmasked", PIC_BASE + 6);

	set_line(5, 1);
	set_line(5, 0);
	pulse_line(6);
	let_interrupts_in();
	check_taken("another request takes the place of the one that went", PIC_BASE + 6);
}
