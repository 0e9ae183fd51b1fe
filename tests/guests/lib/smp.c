/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Application processors.
 */
#include "guest.h"

#define STACK_SIZE 4096 /* AP_STACK_SHIFT in start.S */

extern uint8_t trampoline[], trampoline_end[];
extern uint32_t trampoline_cr3;
extern uint64_t trampoline_stacks, trampoline_entry;

static uint8_t stacks[MAX_CPUS][STACK_SIZE] __attribute__((aligned(16)));
static counter up[MAX_CPUS], done[MAX_CPUS];
static void (*volatile calls[MAX_CPUS])(void);

uint32_t cpu_id(void) {
	uint32_t a, b, c, d;
	cpuid(1, &a, &b, &c, &d);
	return b >> 24 & (MAX_CPUS - 1);
}

void prepare_trampoline(void (*entry)(void)) {
	uint64_t cr3;
	__asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
	trampoline_cr3 = cr3;
	trampoline_stacks = (uint64_t)stacks;
	trampoline_entry = (uint64_t)entry;
	volatile uint8_t *to = (volatile uint8_t *)(SIPI_VECTOR << 12);
	for (uint8_t *from = trampoline; from < trampoline_end; from++) *to++ = *from;
}

void start_cpu(uint32_t apic_id, void (*entry)(void)) {
	prepare_trampoline(entry);
	send_ipi(apic_id, ICR_INIT | ICR_ASSERT);
	send_ipi(apic_id, ICR_START_UP | ICR_ASSERT | SIPI_VECTOR);
}

static void on_call(uint8_t vector) {
	(void)vector;
	uint32_t cpu = cpu_id();
	calls[cpu]();
	lapic_eoi();
	done[cpu]++;
}

static void idle(void) {
	load_idt();
	lapic_enable();
	up[cpu_id()]++;
	for (;;) sti_hlt();
}

void start_cpus(uint32_t count) {
	set_handler(CALL_VECTOR, on_call);
	for (uint32_t cpu = 1; cpu < count; cpu++) {
		start_cpu(cpu, idle);
		await(&up[cpu], 1, "the CPU starts");
	}
}

void call_on(uint32_t cpu, void (*work)(void)) {
	uint32_t before = done[cpu];
	calls[cpu] = work;
	send_ipi(cpu, ICR_ASSERT | CALL_VECTOR);
	await(&done[cpu], before + 1, "the CPU answers a call");
}
