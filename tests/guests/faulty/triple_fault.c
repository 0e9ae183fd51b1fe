/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Ends in a triple fault: an exception without any IDT.
 */
#include "guest.h"

void run(void) {
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) nothing = { 0, 0 };
	print("about to fault\n");
	__asm__ volatile("lidt %0\n\tud2" : : "m"(nothing));
}
