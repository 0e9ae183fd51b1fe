/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * The 8254 on IRQ0: a periodic rate, a one-shot, and channel 2 through port 0x61.
 */
#include "guest.h"

static volatile uint32_t ticks;

static void on_tick(uint8_t vector) {
	(void)vector;
	ticks++;
	pic_eoi(0);
}

static void program(uint8_t control, uint16_t count) {
	out8(0x43, control);
	out8(0x40, count);
	out8(0x40, count >> 8);
}

void run(void) {
	pic_init();
	set_handler(PIC_BASE, on_tick);
	pic_unmask(0);

	program(0x34, 11932); /* channel 0, mode 2, 100 Hz */
	wait_for(&ticks, 5, "PIT mode 2 ticks");

	out8(0x43, 0x30); /* channel 0, mode 0: one interrupt on terminal count */
	let_interrupts_in();
	ticks = 0; /* the last periodic ones; without a count there are no others */
	out8(0x40, 11932 & 0xff), out8(0x40, 11932 >> 8);
	wait_for(&ticks, 1, "PIT mode 0 fires");
	out8(0x43, 0xe2); /* read back: status of channel 0 */
	check_equal(in8(0x40) & 0xbf, 0xb0, "PIT status: output high, mode 0, both bytes");
	let_interrupts_in();
	check_equal(ticks, 1, "PIT mode 0 fires once");

	out8(0x61, 1); /* gate of channel 2 */
	out8(0x43, 0xb0);
	out8(0x42, 0xff), out8(0x42, 0x0f);
	uint32_t turns = 0;
	while (!(in8(0x61) & 0x20) && turns < 2000000) turns++;
	check(turns < 2000000, "PIT channel 2 reaches its terminal count on port 0x61");
}
