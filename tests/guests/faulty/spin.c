/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Never ends: spins with interrupts off, without any exit.
 */
#include "guest.h"

void run(void) {
	cli();
	print("spinning\n");
	for (;;) __asm__ volatile("pause");
}
