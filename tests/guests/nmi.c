/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * NMI: from an IPI, from an IOAPIC pin, to a CPU that is halted with interrupts off; blocked until
 * IRET.
 */
#include "guest.h"

enum { CPUS = 2, VECTOR = 0x60 };

static counter nmis[CPUS], interrupts, woken, ready;
static void (*in_nmi)(void);

static void on_nmi(uint8_t vector) {
	(void)vector;
	nmis[cpu_id()]++;
	if (in_nmi) in_nmi();
}

static void on_vector(uint8_t vector) {
	(void)vector;
	interrupts++;
	lapic_eoi();
}

static void send_nmi(uint32_t cpu) { send_ipi(cpu, ICR_NMI | ICR_ASSERT); }

/* Exits, with interrupts off. */
static void pass_time(void) {
	for (int turn = 0; turn < 16; turn++) in8(0x80);
}

static void to_self(void) {
	send_nmi(0);
	pass_time();
	check_equal(nmis[0], 1, "an NMI arrives with interrupts off");
	lapic_write(APIC_TPR, 0xff);
	send_nmi(0);
	pass_time();
	check_equal(nmis[0], 2, "whatever TPR says");
	lapic_write(APIC_TPR, 0);
	check(!lapic_vector_bit(APIC_ISR, 2) && !lapic_vector_bit(APIC_IRR, 2), "it needs no EOI");
}

static uint32_t nested;

static void send_more(void) {
	in_nmi = NULL;
	uint32_t before = nmis[0];
	send_nmi(0);
	pass_time();
	send_nmi(0);
	pass_time();
	nested = nmis[0] - before;
}

static void blocking(void) {
	nmis[0] = 0;
	in_nmi = send_more;
	send_nmi(0);
	pass_time();
	check_equal(nested, 0, "an NMI does not interrupt the handler of another");
	check_equal(nmis[0], 2, "two that came meanwhile are one after IRET");
}

static void from_a_pin(void) {
	nmis[0] = 0;
	set_rte(20, RTE_NMI, 0);
	pulse_line(20);
	pass_time();
	check_equal(nmis[0], 1, "an IOAPIC pin can send NMI");
	set_rte(20, RTE_MASKED, 0);
}

static void sleep_without_interrupts(void) {
	load_idt();
	lapic_enable();
	ready++;
	for (;;) {
		__asm__ volatile("cli; hlt" : : : "memory");
		woken++;
	}
}

/* Sends NMIs until one found the CPU halted: one that comes before the HLT does not end it. */
static void wake(uint32_t destination, uint32_t icr, const char *name) {
	uint32_t before = woken;
	for (int turn = 0; turn < 1000 && woken == before; turn++) {
		send_ipi(destination, icr | ICR_NMI | ICR_ASSERT);
		pass_time();
		pass_time();
	}
	wait_for(&woken, before + 1, name);
	check(woken <= nmis[1], "after its handler");
}

static void to_a_halted_cpu(void) {
	uint32_t own = nmis[0];
	start_cpu(1, sleep_without_interrupts);
	await(&ready, 1, "the CPU starts");
	send_ipi(1, ICR_ASSERT | VECTOR);
	for (int turn = 0; turn < 200; turn++) pass_time();
	check_equal(woken, 0, "a maskable interrupt does not wake a CPU that has them off");
	wake(1, 0, "an NMI does");
	wake(0, ICR_OTHERS, "all excluding self, as NMI");
	check_equal(nmis[0], own, "the sender gets none");
	check_equal(interrupts, 0, "the maskable interrupt still waits");
}

void run(void) {
	set_handler(2, on_nmi);
	set_handler(VECTOR, on_vector);
	lapic_enable();
	to_self();
	blocking();
	from_a_pin();
	to_a_halted_cpu();
}
