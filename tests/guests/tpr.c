/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Priorities: TPR, PPR and CR8, both ways.
 */
#include "guest.h"

enum { LOW = 0x41, MIDDLE = 0x52, HIGH = 0x63 };

static void (*in_service)(uint8_t vector);

static void on_vector(uint8_t vector) {
	record(vector);
	if (in_service) in_service(vector);
	lapic_eoi();
}

static void send_to_self(uint8_t vector) { send_ipi(0, ICR_SELF | ICR_ASSERT | vector); }

static void send_all(void) {
	send_to_self(LOW);
	send_to_self(HIGH);
	send_to_self(MIDDLE);
}

static void thresholds(void) {
	send_all();
	let_interrupts_in();
	check_taken("higher vectors come first", HIGH, MIDDLE, LOW);
	lapic_write(APIC_TPR, 0x50);
	send_all();
	let_interrupts_in();
	check_taken("TPR holds its own class back", HIGH);
	lapic_write(APIC_TPR, 0x4f);
	let_interrupts_in();
	check_taken("not the class above, whatever its low bits", MIDDLE);
	write_cr8(3);
	let_interrupts_in();
	check_taken("CR8 is TPR's upper half", LOW);
}

static void both_ways(void) {
	write_cr8(6);
	check_equal(lapic_read(APIC_TPR), 0x60, "CR8 shows in TPR");
	check_equal(read_cr8(), 6, "and in itself");
	lapic_write(APIC_TPR, 0x9a);
	check_equal(read_cr8(), 9, "TPR shows in CR8");
	check_equal(lapic_read(APIC_PPR), 0x9a, "PPR is TPR while nothing is in service");
	send_all();
	let_interrupts_in();
	check_nothing_taken("both hold interrupts back");
	write_cr8(5);
	let_interrupts_in();
	check_taken("lowering CR8 lets the higher one in", HIGH);
	write_cr8(0);
	let_interrupts_in();
	check_taken("and the rest", MIDDLE, LOW);
	check(write_cr8_faults(16), "CR8 has 4 bits");
	check_equal(lapic_read(APIC_TPR), 0, "a refused value changes nothing");
}

static void look_at_ppr(uint8_t vector) {
	if (vector != MIDDLE) return;
	check_equal(lapic_read(APIC_PPR), 0x50, "PPR is the class in service");
	check(lapic_vector_bit(APIC_ISR, MIDDLE), "ISR has its bit");
	lapic_write(APIC_TPR, 0x55);
	check_equal(lapic_read(APIC_PPR), 0x55, "TPR of the same class counts in full");
	lapic_write(APIC_TPR, 0);
	send_to_self(LOW);
	send_to_self(MIDDLE + 1);
	send_to_self(HIGH);
	let_interrupts_in();
	record(0xff);
}

static void nesting(void) {
	in_service = look_at_ppr;
	send_to_self(MIDDLE);
	let_interrupts_in();
	in_service = NULL;
	check_taken("only a higher class interrupts a handler", MIDDLE, HIGH, 0xff, MIDDLE + 1, LOW);
	check(!lapic_vector_bit(APIC_ISR, MIDDLE), "the EOI clears ISR");
	lapic_eoi();
	check_equal(lapic_read(APIC_PPR), 0, "an EOI with nothing in service is harmless");
}

void run(void) {
	set_handler(LOW, on_vector);
	set_handler(MIDDLE, on_vector);
	set_handler(MIDDLE + 1, on_vector);
	set_handler(HIGH, on_vector);
	lapic_enable();
	thresholds();
	both_ways();
	nesting();
}
