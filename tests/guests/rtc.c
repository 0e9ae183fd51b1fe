/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * The real-time clock on IRQ8: periodic and update-ended interrupts, held until register C is read.
 */
#include "guest.h"

enum { IRQ = 8, A = 0x0a, B = 0x0b, C = 0x0c };
enum { PERIODIC = 0x40, UPDATE = 0x10, HOURS_24 = 0x02, IRQF = 0x80 };

static counter events;
static volatile uint8_t flags;
static volatile int acknowledge = 1;

static uint8_t cmos_read(uint8_t reg) {
	out8(0x70, reg);
	return in8(0x71);
}

static void cmos_write(uint8_t reg, uint8_t value) {
	out8(0x70, reg);
	out8(0x71, value);
}

static void on_rtc(uint8_t vector) {
	(void)vector;
	if (acknowledge) flags = cmos_read(C);
	events++;
	isa_eoi(IRQ);
}

void run(void) {
	isa_connect(IRQ, on_rtc);
	cmos_write(A, 0x26); /* 1024 Hz */
	cmos_read(C);
	let_interrupts_in();
	check_equal(events, 0, "nothing is enabled after reset");

	cmos_write(B, HOURS_24 | PERIODIC);
	wait_for(&events, 10, "periodic interrupts");
	check_equal(flags & (IRQF | PERIODIC), IRQF | PERIODIC, "register C tells which");

	acknowledge = 0;
	uint32_t before = events;
	wait_for(&events, before + 1, "one more");
	before = events;
	for (int turn = 0; turn < 200; turn++) let_interrupts_in();
	check_equal(events, before, "no other one before register C is read");
	acknowledge = 1;
	cmos_read(C);
	wait_for(&events, before + 2, "then they come again");

	cmos_write(B, HOURS_24);
	cmos_read(C);
	let_interrupts_in();
	before = events;
	let_interrupts_in();
	check_equal(events, before, "none while disabled");

	cmos_write(B, HOURS_24 | UPDATE);
	events = 0;
	while (!events) sti_hlt(); /* once a second: a wake-up that was missed comes again */
	cli();
	check_equal(flags & (IRQF | UPDATE), IRQF | UPDATE, "the update-ended interrupt");
	cmos_write(B, HOURS_24);
}
