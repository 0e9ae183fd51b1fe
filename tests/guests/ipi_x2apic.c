/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * IPIs between 18 CPUs in x2APIC mode: two clusters of logical ids, 32-bit destinations.
 */
#include "guest.h"

enum { CPUS = 18, VECTOR = 0x60, FENCE = 0x30 };
#define EVERYONE ((1u << CPUS) - 1)
#define BROADCAST 0xffffffffu

static counter got[CPUS], fenced[CPUS];
static uint32_t ids[CPUS], ldr[CPUS];
static volatile uint32_t raised_tpr_except;

static void on_vector(uint8_t vector) {
	(void)vector;
	got[cpu_id()]++;
	lapic_eoi();
}

static void on_fence(uint8_t vector) {
	(void)vector;
	fenced[cpu_id()]++;
	lapic_eoi();
}

/* A lower vector that reached a CPU shows that nothing is still on its way to it. */
static void settle(void) {
	for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
		uint32_t before = fenced[cpu];
		send_ipi(cpu, ICR_ASSERT | FENCE);
		await(&fenced[cpu], before + 1, "the fence");
	}
}

/* Exactly the CPUs in the mask got VECTOR, once. */
static void expect(uint32_t mask, const char *name) {
	settle();
	uint32_t reached = 0, twice = 0;
	for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
		reached |= (uint32_t)(got[cpu] != 0) << cpu;
		twice |= (uint32_t)(got[cpu] > 1) << cpu;
		got[cpu] = 0;
	}
	check_equal(reached, mask, name);
	if (twice) check_equal(twice, 0, "  once each");
}

static void send(uint32_t destination, uint32_t mode) { send_ipi(destination, mode | ICR_ASSERT | VECTOR); }

static void enter_x2apic(void) {
	wrmsr(IA32_APIC_BASE, rdmsr(IA32_APIC_BASE) | APIC_BASE_EXTD);
	ids[cpu_id()] = lapic_read(APIC_ID);
	ldr[cpu_id()] = lapic_read(APIC_LDR);
}

static void set_own_tpr(void) { lapic_write(APIC_TPR, cpu_id() == raised_tpr_except ? 0x10 : 0x20); }

static void identities(void) {
	int same_ids = 1, same_ldr = 1;
	for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
		same_ids &= ids[cpu] == cpu;
		same_ldr &= ldr[cpu] == ((cpu >> 4) << 16 | 1u << (cpu & 15));
	}
	check(same_ids, "each CPU has its 32-bit id");
	check(same_ldr, "each CPU's logical id follows from it");
}

static void destinations(void) {
	send(5, 0);
	expect(1 << 5, "physical: one CPU");
	send(17, 0);
	expect(1 << 17, "physical: in the second cluster");
	send(0x100, 0);
	expect(0, "physical: ids beyond 255 are others");
	send(0xff, 0);
	expect(0, "physical: 255 is no broadcast");
	send(BROADCAST, 0);
	expect(EVERYONE, "physical: broadcast");
	send(0x0000000a, ICR_LOGICAL);
	expect(0xa, "logical: members of cluster 0");
	send(0x00010003, ICR_LOGICAL);
	expect(3u << 16, "logical: members of cluster 1");
	send(0x00020001, ICR_LOGICAL);
	expect(0, "logical: a cluster that nobody is in");
	send(BROADCAST, ICR_LOGICAL);
	expect(EVERYONE, "logical: broadcast");
}

static void shorthands(void) {
	send(0, ICR_SELF);
	expect(1, "self");
	wrmsr(X2APIC_MSR(APIC_SELF_IPI), VECTOR);
	expect(1, "SELF IPI");
	send(0, ICR_ALL);
	expect(EVERYONE, "all including self");
	send(0, ICR_OTHERS);
	expect(EVERYONE & ~1u, "all excluding self");
}

static void lowest_priority(void) {
	raised_tpr_except = 17;
	for (uint32_t cpu = 16; cpu < CPUS; cpu++) call_on(cpu, set_own_tpr);
	send(0x00010003, ICR_LOGICAL | ICR_LOWEST);
	expect(1 << 17, "lowest priority: the CPU with the lowest");
	raised_tpr_except = 16;
	for (uint32_t cpu = 16; cpu < CPUS; cpu++) call_on(cpu, set_own_tpr);
	send(0x00010003, ICR_LOGICAL | ICR_LOWEST);
	expect(1 << 16, "and then the other one");
}

static void from_a_device(void) {
	set_rte(20, VECTOR, 17);
	pulse_line(20);
	expect(1 << 17, "the IOAPIC reaches the second cluster by id");
	set_rte(20, RTE_LOGICAL | VECTOR, 0x06);
	pulse_line(20);
	expect(0x6, "and members of cluster 0 by mask");
	set_rte(20, VECTOR, 0xff);
	pulse_line(20);
	expect(EVERYONE, "its 255 is a broadcast");
}

void run(void) {
	if (!offers_x2apic()) {
		uint64_t base = rdmsr(IA32_APIC_BASE);
		check(wrmsr_faults(IA32_APIC_BASE, base | APIC_BASE_EXTD), "without CPUID's offer there is no x2APIC mode");
		return;
	}
	set_handler(VECTOR, on_vector);
	set_handler(FENCE, on_fence);
	lapic_enable();
	start_cpus(CPUS);
	for (uint32_t cpu = 1; cpu < CPUS; cpu++) call_on(cpu, enter_x2apic);
	enter_x2apic();
	identities();
	destinations();
	shorthands();
	lowest_priority();
	from_a_device();
}
