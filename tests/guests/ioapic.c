/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * The IOAPIC's pins: edges, levels with EOI, what masking does between, priorities by TPR.
 */
#include "guest.h"

enum { EDGE_PIN = 20, LEVEL_PIN = 21, EDGE = 0x61, LEVEL = 0x71, OTHER = 0x81 };

static uint8_t self;
static int release_after;
static void (*in_service)(void);

static void on_edge(uint8_t vector) {
	record(vector);
	lapic_eoi();
}

static void on_level(uint8_t vector) {
	record(vector);
	if (in_service) in_service();
	if (release_after && !--release_after) set_line(LEVEL_PIN, 0);
	lapic_eoi();
}

static void registers(void) {
	check_equal(ioapic_read(1) & 0xff00ff, 0x170000 | 0x20, "version 0x20 with 24 pins");
	check_equal(rte_low(LEVEL_PIN) & RTE_MASKED, RTE_MASKED, "pins are masked after reset");
	set_rte(LEVEL_PIN, RTE_MASKED | RTE_LEVEL | RTE_REMOTE_IRR | 1 << 12 | LEVEL, self);
	check_equal(rte_low(LEVEL_PIN), RTE_MASKED | RTE_LEVEL | LEVEL, "remote IRR and delivery status are read-only");
}

static void edges(void) {
	set_rte(EDGE_PIN, EDGE, self);
	pulse_line(EDGE_PIN);
	let_interrupts_in();
	check_taken("an edge interrupts", EDGE);
	set_line(EDGE_PIN, 1);
	let_interrupts_in();
	let_interrupts_in();
	check_taken("a line that stays high does so once", EDGE);
	set_line(EDGE_PIN, 0);
	set_rte_low(EDGE_PIN, RTE_MASKED | EDGE);
	pulse_line(EDGE_PIN);
	set_rte_low(EDGE_PIN, EDGE);
	let_interrupts_in();
	check_nothing_taken("an edge on a masked pin is lost");
	pulse_line(EDGE_PIN), pulse_line(EDGE_PIN);
	let_interrupts_in();
	check_taken("edges of one vector merge while it is pending", EDGE);
}

static void look_at_remote_irr(void) {
	check(rte_low(LEVEL_PIN) & RTE_REMOTE_IRR, "remote IRR is set while in service");
	check(lapic_vector_bit(APIC_TMR, LEVEL), "TMR tells that it is a level");
	in_service = NULL;
}

static void levels(void) {
	set_rte(LEVEL_PIN, RTE_LEVEL | LEVEL, self);
	in_service = look_at_remote_irr;
	release_after = 3;
	set_line(LEVEL_PIN, 1);
	let_interrupts_in();
	check_taken("a level is sent again at each EOI until it is released", LEVEL, LEVEL, LEVEL);
	check(!(rte_low(LEVEL_PIN) & RTE_REMOTE_IRR), "the EOI clears remote IRR");

	set_rte_low(LEVEL_PIN, RTE_MASKED | RTE_LEVEL | LEVEL);
	set_line(LEVEL_PIN, 1);
	let_interrupts_in();
	check_nothing_taken("a masked level waits");
	release_after = 1;
	set_rte_low(LEVEL_PIN, RTE_LEVEL | LEVEL);
	let_interrupts_in();
	check_taken("and is sent when it is unmasked", LEVEL);
}

static void mask_and_unmask(void) {
	set_rte_low(LEVEL_PIN, RTE_MASKED | RTE_LEVEL | LEVEL);
	set_rte_low(LEVEL_PIN, RTE_LEVEL | LEVEL);
	check(!lapic_vector_bit(APIC_IRR, LEVEL), "unmasking before the EOI sends nothing");
	check(rte_low(LEVEL_PIN) & RTE_REMOTE_IRR, "and leaves remote IRR alone");
}

static void end_by_register(void) {
	mmio_write(IOAPIC + 0x40, LEVEL);
	check(lapic_vector_bit(APIC_IRR, LEVEL), "the EOI register lets the level be sent again");
	mmio_write(IOAPIC + 0x40, OTHER);
	in_service = NULL;
	set_line(LEVEL_PIN, 0);
}

static void change_vector(void) {
	set_rte_low(LEVEL_PIN, RTE_LEVEL | OTHER);
	in_service = NULL;
}

static void make_edge(void) {
	set_rte_low(LEVEL_PIN, LEVEL);
	check(!(rte_low(LEVEL_PIN) & RTE_REMOTE_IRR), "edge trigger mode clears remote IRR");
	set_rte_low(LEVEL_PIN, RTE_LEVEL | RTE_MASKED | LEVEL);
	in_service = NULL;
}

static void once(void (*action)(void), int release) {
	in_service = action;
	release_after = release;
	set_line(LEVEL_PIN, 1);
	let_interrupts_in();
	in_service = NULL;
}

static void levels_in_service(void) {
	once(mask_and_unmask, 1);
	check_taken("one assertion, one interrupt", LEVEL);
	once(end_by_register, 0);
	check_taken("the second one comes after the first's EOI", LEVEL, LEVEL);

	once(change_vector, 2);
	check_taken("a vector that changed in service strands nothing", LEVEL, OTHER);
	check(!(rte_low(LEVEL_PIN) & RTE_REMOTE_IRR), "remote IRR is clear again");

	set_rte(LEVEL_PIN, RTE_LEVEL | LEVEL, self);
	once(make_edge, 1);
	check_taken("a level that became an edge", LEVEL);
}

static void priorities(void) {
	static const uint8_t pins[] = { 16, 17, 18 };
	static const uint8_t vectors[] = { 0x91, 0xb1, 0xa1 };
	for (int i = 0; i < 3; i++) {
		set_handler(vectors[i], on_edge);
		set_rte(pins[i], vectors[i], self);
	}
	for (int i = 0; i < 3; i++) pulse_line(pins[i]);
	let_interrupts_in();
	check_taken("the highest vector comes first", 0xb1, 0xa1, 0x91);
	lapic_write(APIC_TPR, 0xa0);
	for (int i = 0; i < 3; i++) pulse_line(pins[i]);
	let_interrupts_in();
	check_taken("TPR holds its class and those below back", 0xb1);
	lapic_write(APIC_TPR, 0x90);
	let_interrupts_in();
	check_taken("a lower TPR lets one more in", 0xa1);
	lapic_write(APIC_TPR, 0);
	let_interrupts_in();
	check_taken("and TPR 0 all", 0x91);
}

static void destinations(void) {
	lapic_write(APIC_DFR, 0xffffffff);
	lapic_write(APIC_LDR, 0x04000000);
	set_rte(EDGE_PIN, RTE_LOGICAL | EDGE, 0x0c);
	pulse_line(EDGE_PIN);
	let_interrupts_in();
	check_taken("a logical destination", EDGE);
	set_rte(EDGE_PIN, RTE_LOGICAL | RTE_LOWEST | EDGE, 0xff);
	pulse_line(EDGE_PIN);
	let_interrupts_in();
	check_taken("lowest priority", EDGE);
	set_rte(EDGE_PIN, RTE_LOGICAL | EDGE, 0x03);
	pulse_line(EDGE_PIN);
	set_rte(EDGE_PIN, EDGE, self + 1);
	pulse_line(EDGE_PIN);
	let_interrupts_in();
	check_nothing_taken("nobody is addressed");
}

static void isa_lines(void) {
	set_handler(OTHER, on_edge);
	set_rte(5, OTHER, self);
	pulse_line(5);
	let_interrupts_in();
	check_taken("IRQ5 is pin 5", OTHER);
	set_rte(5, RTE_MASKED, self);
}

static counter ticks;

static void on_tick(uint8_t vector) {
	(void)vector;
	ticks++;
	lapic_eoi();
}

static void pit_on_pin_2(void) {
	set_handler(EDGE, on_tick);
	set_rte(2, EDGE, self);
	out8(0x43, 0x34), out8(0x40, 0x9c), out8(0x40, 0x2e); /* channel 0, mode 2, 100 Hz */
	wait_for(&ticks, 5, "IRQ0, the 8254, is pin 2");
	set_rte(2, RTE_MASKED, self);
}

void run(void) {
	lapic_enable();
	lapic_write(APIC_LVT_LINT0, LVT_MASKED);
	self = lapic_read(APIC_ID) >> 24;
	set_handler(EDGE, on_edge);
	set_handler(LEVEL, on_level);
	set_handler(OTHER, on_level);
	registers();
	edges();
	levels();
	levels_in_service();
	priorities();
	destinations();
	isa_lines();
	pit_on_pin_2();
}
