/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * A known number of interrupts of each kind, for the test of --stats. tests/tests/stats.rs has the
 * same numbers.
 */
#include "guest.h"

enum { PIC_EDGES = 3, SLAVE_EDGES = 2, MASKED_EDGES = 2, MERGED_EDGES = 4 };
enum { PIN_EDGES = 7, LEVEL_EOIS = 5, SELF_IPIS = 4, NMIS = 2 };
enum { EDGE = 0x61, LEVEL = 0x71, IPI = 0x81 };

static counter interrupts, nmis;
static int release_after;

static void on_irq(uint8_t vector) {
	interrupts++;
	pic_eoi(vector - PIC_BASE);
}

static void on_vector(uint8_t vector) {
	(void)vector;
	interrupts++;
	lapic_eoi();
}

static void on_level(uint8_t vector) {
	if (!--release_after) set_line(21, 0);
	on_vector(vector);
}

static void on_nmi(uint8_t vector) {
	(void)vector;
	nmis++;
}

static void pulses(uint8_t line, int count) {
	for (int i = 0; i < count; i++) {
		pulse_line(line);
		let_interrupts_in();
	}
}

static void apic_interrupts(void) {
	set_handler(EDGE, on_vector);
	set_handler(LEVEL, on_level);
	set_handler(IPI, on_vector);
	set_handler(2, on_nmi);
	set_rte(20, EDGE, 0);
	set_rte(21, RTE_LEVEL | LEVEL, 0);
	pulses(20, PIN_EDGES);
	release_after = LEVEL_EOIS;
	set_line(21, 1);
	let_interrupts_in();
	pulses(22, MASKED_EDGES);
	for (int i = 0; i < SELF_IPIS; i++) {
		send_ipi(0, ICR_SELF | ICR_ASSERT | IPI);
		let_interrupts_in();
	}
	for (int i = 0; i < NMIS; i++) {
		send_ipi(0, ICR_NMI | ICR_ASSERT);
		let_interrupts_in();
	}
	check_equal(nmis, NMIS, "the NMIs came");
	check_equal(interrupts, PIC_EDGES + SLAVE_EDGES + 1 + PIN_EDGES + LEVEL_EOIS + SELF_IPIS, "the interrupts came");
}

void run(void) {
	for (int irq = 0; irq < 16; irq++) set_handler(PIC_BASE + irq, on_irq);
	pic_init();
	pic_unmask(5), pic_unmask(6), pic_unmask(10);
	if (has_apic()) lapic_enable();
	pulses(5, PIC_EDGES);
	pulses(10, SLAVE_EDGES);
	pulses(11, MASKED_EDGES);
	for (int i = 0; i < MERGED_EDGES; i++) pulse_line(6);
	let_interrupts_in();
	check_equal(interrupts, PIC_EDGES + SLAVE_EDGES + 1, "the 8259A's interrupts came");
	if (has_apic()) apic_interrupts();
}
