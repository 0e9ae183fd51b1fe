/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Never ends: halts with interrupts off.
 */
#include "guest.h"

void run(void) {
	print("sleeping\n");
	for (;;) __asm__ volatile("cli; hlt");
}
