/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * INIT and start-up IPIs to three application processors.
 */
#include "guest.h"

enum { CPUS = 4, VECTOR = 0x60 };

struct after_init {
	uint64_t base;
	uint32_t svr, tpr, lint0, id, ldr;
};

static counter runs[CPUS], answers[CPUS];
static volatile struct after_init seen[CPUS];

static void on_vector(uint8_t vector) {
	(void)vector;
	answers[cpu_id()]++;
	lapic_eoi();
}

static void on_start(void) {
	uint32_t cpu = cpu_id();
	load_idt();
	seen[cpu].base = rdmsr(IA32_APIC_BASE);
	seen[cpu].svr = lapic_read(APIC_SVR);
	seen[cpu].tpr = lapic_read(APIC_TPR);
	seen[cpu].lint0 = lapic_read(APIC_LVT_LINT0);
	seen[cpu].ldr = lapic_read(APIC_LDR);
	seen[cpu].id = lapic_read(APIC_ID);
	lapic_enable();
	lapic_write(APIC_TPR, 0x10);
	lapic_write(APIC_LDR, 0x22000000);
	runs[cpu]++;
	for (;;) sti_hlt();
}

static void init(uint32_t cpu) { send_ipi(cpu, ICR_INIT | ICR_ASSERT); }
static void start_up(uint32_t cpu) { send_ipi(cpu, ICR_START_UP | ICR_ASSERT | SIPI_VECTOR); }
static void ask(uint32_t cpu) { send_ipi(cpu, ICR_ASSERT | VECTOR); }

/* The CPU runs: it answers. Whatever was sent to it before has arrived then. */
static void expect_answer(uint32_t cpu, const char *name) {
	uint32_t before = answers[cpu];
	ask(cpu);
	wait_for(&answers[cpu], before + 1, name);
}

static void pass_time(void) {
	for (int turn = 0; turn < 2000; turn++) in8(0x80);
}

static void waiting(void) {
	start_up(1); /* it waits for one since reset, without any INIT */
	wait_for(&runs[1], 1, "a SIPI starts a CPU that came out of reset");
	ask(2);
	pass_time();
	check(!runs[2] && !answers[2], "a fixed IPI starts nobody");
	init(2);
	start_up(2);
	wait_for(&runs[2], 1, "INIT and SIPI start a CPU");
}

static void state(void) {
	check_equal(seen[1].base, LAPIC | APIC_BASE_EN, "an application processor is enabled and not the BSP");
	check_equal(seen[1].svr, 0xff, "its APIC is software-disabled");
	check_equal(seen[1].lint0, LVT_MASKED, "its LINT0 is masked");
	check_equal(seen[1].id, 1u << 24, "it has its id");
}

static void second_sipi(void) {
	expect_answer(1, "it answers");
	start_up(1);
	expect_answer(1, "a second SIPI");
	check_equal(runs[1], 1, "  does not start it again");
	send_ipi(1, ICR_INIT | ICR_LEVEL);
	expect_answer(1, "an INIT level de-assert");
	check_equal(runs[1], 1, "  does nothing");
}

static void init_again(void) {
	init(1);
	uint32_t before = answers[1];
	ask(1);
	pass_time();
	check(answers[1] == before && runs[1] == 1, "after an INIT it waits");
	start_up(1);
	wait_for(&runs[1], 2, "until a SIPI");
	check_equal(seen[1].svr, 0xff, "INIT reset its SVR");
	check_equal(seen[1].tpr, 0, "INIT reset its TPR");
	check_equal(seen[1].ldr, 0, "INIT reset its LDR");
	check_equal(seen[1].id, 1u << 24, "and kept its id");
	check_equal(seen[1].base, LAPIC | APIC_BASE_EN, "and IA32_APIC_BASE");
	expect_answer(1, "it answers again");
	check_equal(answers[1], before + 1, "the IPI that came while it waited is lost");
}

static void order(void) {
	start_up(1);
	init(1);
	pass_time();
	check_equal(runs[1], 2, "a SIPI before the INIT counts for nothing");
	start_up(1);
	wait_for(&runs[1], 3, "one after it does");
}

static void everyone(void) {
	uint32_t before[CPUS];
	for (uint32_t turn = 0; turn < 20; turn++) {
		for (uint32_t cpu = 1; cpu < CPUS; cpu++) before[cpu] = runs[cpu];
		send_ipi(0, ICR_OTHERS | ICR_INIT | ICR_ASSERT);
		send_ipi(0, ICR_OTHERS | ICR_START_UP | ICR_ASSERT | SIPI_VECTOR);
		for (uint32_t cpu = 1; cpu < CPUS; cpu++) await(&runs[cpu], before[cpu] + 1, "it starts");
		for (uint32_t cpu = 1; cpu < CPUS; cpu++) {
			if (runs[cpu] != before[cpu] + 1) check(0, "it starts once");
		}
	}
	check(1, "INIT and at once SIPI to all but self start everyone, each time");
	for (uint32_t cpu = 1; cpu < CPUS; cpu++) expect_answer(cpu, "and each answers");
}

static void from_a_pin(void) {
	set_rte(20, RTE_INIT, 3);
	pulse_line(20);
	uint32_t before = answers[3];
	ask(3);
	pass_time();
	check_equal(answers[3], before, "an IOAPIC pin can send INIT");
	before = runs[3];
	start_up(3);
	wait_for(&runs[3], before + 1, "a SIPI ends it");
}

static void self(void) {
	send_ipi(0, ICR_SELF | ICR_INIT | ICR_ASSERT);
	send_ipi(0, ICR_ALL | ICR_INIT | ICR_ASSERT);
	pass_time();
	check(1, "INIT with shorthand self or all including self is not sent");
	expect_answer(1, "so the others run on");
}

void run(void) {
	set_handler(VECTOR, on_vector);
	lapic_enable();
	prepare_trampoline(on_start);
	waiting();
	state();
	second_sipi();
	init_again();
	order();
	everyone();
	from_a_pin();
	self();
}
