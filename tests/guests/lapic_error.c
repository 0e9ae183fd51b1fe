/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * The local APIC's errors: ESR, its latch, and the error interrupt; the spurious vector register.
 */
#include "guest.h"

enum { ERROR = 0x45, VECTOR = 0x46, SEND_ILLEGAL = 1 << 5, RECEIVE_ILLEGAL = 1 << 6, ILLEGAL_REGISTER = 1 << 7 };

static void on_vector(uint8_t vector) {
	record(vector);
	lapic_eoi();
}

static uint32_t esr(void) {
	lapic_write(APIC_ESR, 0);
	return lapic_read(APIC_ESR);
}

static void errors(void) {
	check_equal(esr(), 0, "no error so far");
	send_ipi(0, ICR_SELF | ICR_ASSERT | 0x05);
	check_equal(lapic_read(APIC_ESR), 0, "ESR shows nothing before it is written");
	check_equal(esr() & SEND_ILLEGAL, SEND_ILLEGAL, "an illegal vector is not sent");
	check_equal(esr(), 0, "a second write clears it");
	lapic_read(0x40);
	check_equal(esr(), ILLEGAL_REGISTER, "a register that is not there");
	set_rte(20, 0x05, 0);
	pulse_line(20);
	in8(0x80);
	check_equal(esr(), RECEIVE_ILLEGAL, "an illegal vector from a device");
	check_equal(lapic_read(APIC_IRR), 0, "never enters IRR");
	let_interrupts_in();
	check_nothing_taken("a masked error LVT is silent");
}

static void error_interrupt(void) {
	lapic_write(APIC_LVT_ERROR, ERROR);
	lapic_read(0x40);
	let_interrupts_in();
	check_taken("the error LVT interrupts", ERROR);
	lapic_write(APIC_LVT_ERROR, 0x05);
	esr();
	lapic_read(0x40);
	let_interrupts_in();
	check_nothing_taken("an error LVT with an illegal vector only logs");
	check_equal(esr() & ILLEGAL_REGISTER, ILLEGAL_REGISTER, "the error is there");
	lapic_write(APIC_LVT_ERROR, LVT_MASKED);
}

static void software_disable(void) {
	send_ipi(0, ICR_SELF | ICR_ASSERT | VECTOR);
	lapic_write(APIC_SVR, 0xff);
	check_equal(lapic_read(APIC_LVT_TIMER) & LVT_MASKED, LVT_MASKED, "software disable masks the LVT");
	lapic_write(APIC_LVT_ERROR, ERROR);
	check_equal(lapic_read(APIC_LVT_ERROR), LVT_MASKED | ERROR, "and keeps it masked");
	check(lapic_vector_bit(APIC_IRR, VECTOR), "what is in IRR stays");
	lapic_write(APIC_SVR, 0x1ff);
	let_interrupts_in();
	check_taken("and comes at the latest when it is enabled", VECTOR);
	lapic_write(APIC_SVR, 0xff);
	send_ipi(0, ICR_SELF | ICR_ASSERT | VECTOR);
	lapic_write(APIC_SVR, 0x1ff);
	let_interrupts_in();
	check_nothing_taken("while disabled it accepts nothing");
}

void run(void) {
	set_handler(ERROR, on_vector);
	set_handler(VECTOR, on_vector);
	lapic_enable();
	errors();
	error_interrupt();
	software_disable();
}
