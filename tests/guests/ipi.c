/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * IPIs between four CPUs in xAPIC mode: shorthands, physical and logical destinations, lowest
 * priority.
 */
#include "guest.h"

enum { CPUS = 4, VECTOR = 0x60, FENCE = 0x30 };
enum { FLAT = 0xffffffff, CLUSTER = 0x0fffffff };

static counter got[CPUS], fenced[CPUS];
static uint32_t dfr, ldr[CPUS], tpr[CPUS];

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
		reached |= (got[cpu] != 0) << cpu;
		twice |= (got[cpu] > 1) << cpu;
		got[cpu] = 0;
	}
	check_equal(reached, mask, name);
	if (twice) check_equal(twice, 0, "  once each");
}

static void send(uint32_t destination, uint32_t mode) { send_ipi(destination, mode | ICR_ASSERT | VECTOR); }

static void set_own_logical_id(void) {
	lapic_write(APIC_DFR, dfr);
	lapic_write(APIC_LDR, ldr[cpu_id()] << 24);
}

static void set_own_tpr(void) { lapic_write(APIC_TPR, tpr[cpu_id()]); }

static void on_each(void (*work)(void)) {
	work();
	for (uint32_t cpu = 1; cpu < CPUS; cpu++) call_on(cpu, work);
}

static void shorthands(void) {
	send(3, ICR_SELF);
	expect(1 << 0, "self, whatever the destination says");
	send(0, ICR_ALL);
	expect(0xf, "all including self");
	send(0, ICR_OTHERS);
	expect(0xe, "all excluding self");
}

static void physical(void) {
	for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
		send(cpu, 0);
		expect(1 << cpu, "physical: one CPU");
	}
	send(0xff, 0);
	expect(0xf, "physical: broadcast");
	send(9, 0);
	expect(0, "physical: an id that nobody has");
}

static void flat(void) {
	static const uint32_t ids[CPUS] = { 1, 2, 4, 8 };
	dfr = FLAT;
	for (int cpu = 0; cpu < CPUS; cpu++) ldr[cpu] = ids[cpu];
	on_each(set_own_logical_id);
	send(0x0a, ICR_LOGICAL);
	expect(0xa, "flat: a mask");
	send(0x01, ICR_LOGICAL);
	expect(0x1, "flat: the sender itself");
	send(0xff, ICR_LOGICAL);
	expect(0xf, "flat: broadcast");
	send(0xf0, ICR_LOGICAL);
	expect(0, "flat: bits that nobody has");
}

static void lowest_priority(void) {
	static const uint32_t priorities[CPUS] = { 0x20, 0x20, 0x20, 0x10 };
	for (int cpu = 0; cpu < CPUS; cpu++) tpr[cpu] = priorities[cpu];
	on_each(set_own_tpr);
	send(0x0e, ICR_LOGICAL | ICR_LOWEST);
	expect(1 << 3, "lowest priority: the CPU with the lowest");
	tpr[3] = 0x20, tpr[1] = 0x10;
	on_each(set_own_tpr);
	send(0x0e, ICR_LOGICAL | ICR_LOWEST);
	expect(1 << 1, "and then another one");
	send(0x04, ICR_LOGICAL | ICR_LOWEST);
	expect(1 << 2, "one that is alone in the mask");
	for (int cpu = 0; cpu < CPUS; cpu++) tpr[cpu] = 0;
	on_each(set_own_tpr);
	send(0x0e, ICR_LOGICAL | ICR_LOWEST);
	settle();
	uint32_t total = 0;
	for (uint32_t cpu = 0; cpu < CPUS; cpu++) total += got[cpu], got[cpu] = 0;
	check_equal(total, 1, "equal priorities: exactly one CPU");
}

static void cluster(void) {
	static const uint32_t ids[CPUS] = { 0x01, 0x02, 0x11, 0x12 };
	dfr = CLUSTER;
	for (int cpu = 0; cpu < CPUS; cpu++) ldr[cpu] = ids[cpu];
	on_each(set_own_logical_id);
	send(0x02, ICR_LOGICAL);
	expect(1 << 1, "cluster 0: one member");
	send(0x13, ICR_LOGICAL);
	expect(0xc, "cluster 1: both members");
	send(0x1c, ICR_LOGICAL);
	expect(0, "cluster 1: members that it does not have");
	send(0x21, ICR_LOGICAL);
	expect(0, "a cluster that nobody is in");
	send(0xff, ICR_LOGICAL);
	expect(0xf, "cluster: broadcast");
}

static void answer(void) { send_ipi(0, ICR_ASSERT | VECTOR); }

static void replies(void) {
	for (uint32_t cpu = 1; cpu < CPUS; cpu++) {
		call_on(cpu, answer);
		await(&got[0], 1, "the answer");
		expect(1 << 0, "each CPU can answer");
	}
}

static void storm(void) {
	enum { ROUNDS = 200 };
	for (uint32_t round = 1; round <= ROUNDS; round++) {
		send(0, ICR_OTHERS);
		for (uint32_t cpu = 1; cpu < CPUS; cpu++) await(&got[cpu], round, "an IPI of many");
	}
	check(got[1] == ROUNDS && got[2] == ROUNDS && got[3] == ROUNDS, "none of many is lost or doubled");
}

void run(void) {
	set_handler(VECTOR, on_vector);
	set_handler(FENCE, on_fence);
	lapic_enable();
	start_cpus(CPUS);
	shorthands();
	physical();
	flat();
	lowest_priority();
	cluster();
	replies();
	storm();
}
