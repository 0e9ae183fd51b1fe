/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * HLT: a periodic interrupt ends it each time, through whatever controllers this machine has.
 */
#include "guest.h"

static counter ticks;

static void on_tick(uint8_t vector) {
	(void)vector;
	ticks++;
	isa_eoi(0);
}

void run(void) {
	isa_connect(0, on_tick);
	out8(0x43, 0x34), out8(0x40, 0x9c), out8(0x40, 0x2e); /* channel 0, mode 2, 100 Hz */
	uint32_t halts = 0;
	/* A tick that comes before the HLT is taken there; the next one ends it. */
	while (ticks < 20) {
		sti_hlt();
		halts++;
	}
	cli();
	check(1, "twenty ticks with the CPU halted between them");
	check(halts > 0 && halts <= ticks, "HLT ends by an interrupt only");
}
