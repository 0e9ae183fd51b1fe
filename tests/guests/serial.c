/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * The serial port's transmitter interrupt on IRQ4.
 */
#include "guest.h"

enum { IRQ = 4, THR = 0x3f8, IER = 0x3f9, IIR = 0x3fa, LSR = 0x3fd };
enum { TRANSMITTER = 2, NONE = 1 };

static const char text[] = "sent by interrupt\n";
static counter events;
static volatile uint32_t sent;
static volatile uint8_t identification;

static void on_serial(uint8_t vector) {
	(void)vector;
	identification = in8(IIR);
	events++;
	if (sent < sizeof text - 1) out8(THR, text[sent++]);
	isa_eoi(IRQ);
}

void run(void) {
	isa_connect(IRQ, on_serial);
	let_interrupts_in();
	uint32_t silent = events;
	uint8_t idle = in8(IIR) & 0xf, status = in8(LSR);

	out8(IER, TRANSMITTER);
	/* Nothing else may be printed until all is sent. */
	await(&events, sizeof text, "an interrupt for each character, and the last one");
	uint8_t reported = identification;
	let_interrupts_in();
	uint32_t after = events;
	out8(IER, 0);

	check_equal(silent, 0, "no interrupt while none is enabled");
	check_equal(idle, NONE, "and none is pending");
	check_equal(status & 0x60, 0x60, "the transmitter is empty");
	check_equal(reported & 0xf, TRANSMITTER, "the identification register names the transmitter");
	check_equal(after, sizeof text, "one interrupt for each time that it becomes empty");
	let_interrupts_in();
	check_equal(events, after, "none after it is disabled");
}
