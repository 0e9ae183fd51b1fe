/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * The 8259A pair: edges, priority, masks, the cascade, level inputs, poll, special mask mode,
 * rotation and automatic EOI.
 */
#include "guest.h"

enum { SEPARATOR = 0xff };

static void (*in_service)(uint8_t irq);
static uint8_t eoi_command = 0x20;
static int automatic;
static int releases_line_after;

static void on_irq(uint8_t vector) {
	uint8_t irq = vector - PIC_BASE;
	record(vector);
	if (releases_line_after && !--releases_line_after) set_line(irq, 0);
	if (in_service) in_service(irq);
	if (automatic) return;
	if (irq >= 8) out8(0xa0, eoi_command);
	out8(0x20, eoi_command);
}

static void unmask_all(void) {
	static const uint8_t used[] = { 1, 3, 5, 6, 7, 9, 10, 12 };
	for (size_t i = 0; i < sizeof used; i++) pic_unmask(used[i]);
}

static void edges(void) {
	pulse_line(5);
	check_equal(pic_irr(0x20), 1 << 5, "an edge is latched in IRR");
	let_interrupts_in();
	check_taken("an edge pulse is delivered exactly once", PIC_BASE + 5);
	set_line(5, 1);
	let_interrupts_in();
	let_interrupts_in();
	check_taken("a line that stays high interrupts once", PIC_BASE + 5);
	set_line(5, 0);
	pulse_line(6), pulse_line(3), pulse_line(5);
	let_interrupts_in();
	check_taken("lower numbers come first", PIC_BASE + 3, PIC_BASE + 5, PIC_BASE + 6);
	pulse_line(5), pulse_line(12), pulse_line(10), pulse_line(1);
	check_equal(pic_irr(0xa0), 1 << 2 | 1 << 4, "the slave latches its edges");
	let_interrupts_in();
	check_taken("the slave's requests rank as IRQ2", PIC_BASE + 1, PIC_BASE + 10, PIC_BASE + 12, PIC_BASE + 5);
}

static void masks(void) {
	pic_mask(5);
	pulse_line(5);
	let_interrupts_in();
	check_nothing_taken("a masked edge waits");
	pic_unmask(5);
	let_interrupts_in();
	check_taken("the latched edge comes after unmasking", PIC_BASE + 5);
	pic_mask(2);
	pulse_line(10);
	let_interrupts_in();
	check_nothing_taken("masking the cascade masks the slave");
	pic_unmask(2);
	let_interrupts_in();
	check_taken("and unmasking it lets the slave's request out", PIC_BASE + 10);
}

static void raise_around_five(uint8_t irq) {
	if (irq != 5) return;
	check_equal(pic_isr(0x20), 1 << 5, "the acknowledge sets ISR");
	pulse_line(3), pulse_line(6), pulse_line(10);
	let_interrupts_in();
	record(SEPARATOR);
}

static void nesting(void) {
	in_service = raise_around_five;
	pulse_line(5);
	let_interrupts_in();
	in_service = NULL;
	check_taken("only higher levels interrupt a handler", PIC_BASE + 5, PIC_BASE + 10, PIC_BASE + 3, SEPARATOR,
		PIC_BASE + 6);
}

static void levels(void) {
	out8(0x4d0, 0xff), out8(0x4d1, 0xff);
	check_equal(in8(0x4d0), 0xf8, "IRQ 0 to 2 are always edge");
	check_equal(in8(0x4d1), 0xde, "IRQ 8 and 13 are always edge");
	out8(0x4d0, 1 << 5), out8(0x4d1, 1 << 2);
	releases_line_after = 3;
	set_line(5, 1);
	let_interrupts_in();
	check_taken("a level interrupts until it is released", PIC_BASE + 5, PIC_BASE + 5, PIC_BASE + 5);
	releases_line_after = 2;
	set_line(10, 1);
	let_interrupts_in();
	check_taken("on the slave too", PIC_BASE + 10, PIC_BASE + 10);
	set_line(5, 1), set_line(5, 0);
	check_equal(pic_irr(0x20), 0, "a level that went away is forgotten");
	let_interrupts_in();
	check_nothing_taken("and does not interrupt");
	out8(0x4d0, 0), out8(0x4d1, 0);
}

static uint8_t poll(uint16_t port) {
	out8(port, 0x0c);
	return in8(port);
}

static void polling(void) {
	check_equal(poll(0x20) & 0x80, 0, "a poll that finds nothing has bit 7 clear");
	pulse_line(3);
	check_equal(poll(0x20), 0x83, "a poll tells the level");
	check_equal(pic_isr(0x20), 1 << 3, "and acknowledges it");
	out8(0x20, 0x20);
	pulse_line(10);
	check_equal(poll(0xa0), 0x82, "the slave can be polled");
	check_equal(pic_isr(0xa0), 1 << 2, "and acknowledges too");
	out8(0xa0, 0x20);
	let_interrupts_in();
	check_nothing_taken("what was polled does not interrupt");
}

static void open_special_mask(uint8_t irq) {
	if (irq != 3) return;
	out8(0x20, 0x68); /* set special mask mode */
	pic_mask(3);
	pulse_line(5);
	let_interrupts_in();
	record(SEPARATOR);
	pic_unmask(3);
	out8(0x20, 0x48);
	pulse_line(6);
	let_interrupts_in();
	record(SEPARATOR);
}

static void special_mask(void) {
	in_service = open_special_mask;
	pulse_line(3);
	let_interrupts_in();
	in_service = NULL;
	check_taken("special mask mode lets lower levels interrupt", PIC_BASE + 3, PIC_BASE + 5, SEPARATOR, SEPARATOR,
		PIC_BASE + 6);
}

static void rotation(void) {
	eoi_command = 0xa0; /* rotate on non-specific EOI */
	pulse_line(3);
	let_interrupts_in();
	eoi_command = 0x20;
	pulse_line(1), pulse_line(3), pulse_line(5);
	let_interrupts_in();
	check_taken("a rotating EOI puts its level last", PIC_BASE + 3, PIC_BASE + 5, PIC_BASE + 1, PIC_BASE + 3);
	out8(0x20, 0xc5); /* set priority: IR5 lowest */
	pulse_line(1), pulse_line(5), pulse_line(6);
	let_interrupts_in();
	check_taken("set priority names the lowest level", PIC_BASE + 6, PIC_BASE + 1, PIC_BASE + 5);
	out8(0x20, 0xc7);
}

static void check_isr_clear(uint8_t irq) {
	(void)irq;
	if (pic_isr(0x20) | pic_isr(0xa0)) check(0, "automatic EOI leaves ISR clear");
}

static void automatic_eoi(void) {
	pic_init_with(0x11, 0x03);
	unmask_all();
	automatic = 1;
	in_service = check_isr_clear;
	pulse_line(5);
	let_interrupts_in();
	pulse_line(5), pulse_line(10);
	let_interrupts_in();
	check_taken("automatic EOI needs no command", PIC_BASE + 5, PIC_BASE + 10, PIC_BASE + 5);
	out8(0x20, 0x80); /* rotate in automatic EOI mode */
	pulse_line(3);
	let_interrupts_in();
	pulse_line(3), pulse_line(5);
	let_interrupts_in();
	check_taken("and can rotate", PIC_BASE + 3, PIC_BASE + 5, PIC_BASE + 3);
	out8(0x20, 0x00);
	in_service = NULL;
	automatic = 0;
}

static void specific_eoi(void) {
	pic_init();
	unmask_all();
	eoi_command = 0x40; /* no operation */
	pulse_line(6);
	let_interrupts_in();
	pulse_line(3);
	let_interrupts_in();
	check_taken("both are in service", PIC_BASE + 6, PIC_BASE + 3);
	out8(0x20, 0x66);
	check_equal(pic_isr(0x20), 1 << 3, "a specific EOI ends its level only");
	out8(0x20, 0x63);
	check_equal(pic_isr(0x20), 0, "each of them");
	eoi_command = 0x20;
}

void run(void) {
	pulse_line(5), pulse_line(10);
	let_interrupts_in();
	check_nothing_taken("an uninitialised pair is silent");
	for (int irq = 0; irq < 16; irq++) set_handler(PIC_BASE + irq, on_irq);
	pic_init();
	unmask_all();
	edges();
	masks();
	nesting();
	levels();
	polling();
	special_mask();
	rotation();
	automatic_eoi();
	specific_eoi();
}
