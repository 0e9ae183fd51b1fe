/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Resets the machine through the keyboard controller, each time that it boots.
 */
#include "guest.h"

void run(void) {
	print("resetting\n");
	out8(0x64, 0xfe);
	for (;;) in8(0x80);
}
