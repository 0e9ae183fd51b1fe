/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * The local APIC's timer: one-shot, periodic, TSC-deadline where CPUID offers it; its registers.
 */
#include "guest.h"

enum { TIMER = 0xec, ONE_SHOT = 0, PERIODIC = 1 << 17, DEADLINE = 2 << 17 };
#define IA32_TSC_DEADLINE 0x6e0

static counter ticks;

static void on_tick(uint8_t vector) {
	(void)vector;
	ticks++;
	lapic_eoi();
}

static void counting(void) {
	lapic_write(APIC_TIMER_DIVIDE, 0xa); /* by 128: this takes minutes */
	lapic_write(APIC_LVT_TIMER, ONE_SHOT | TIMER);
	check_equal(lapic_read(APIC_TIMER_CURRENT), 0, "the current count is 0 before it starts");
	lapic_write(APIC_TIMER_INITIAL, 0xffffffff);
	uint32_t first = lapic_read(APIC_TIMER_CURRENT);
	uint32_t turns = 0;
	while (lapic_read(APIC_TIMER_CURRENT) == first && turns < 2000000) turns++;
	uint32_t later = lapic_read(APIC_TIMER_CURRENT);
	check(first > 0x80000000 && later > 0x80000000 && later < first, "it counts down");
	check_equal(lapic_read(APIC_TIMER_INITIAL), 0xffffffff, "the initial count stays");
	lapic_write(APIC_LVT_TIMER, PERIODIC | TIMER);
	uint32_t periodic = lapic_read(APIC_TIMER_CURRENT);
	check(periodic > 0x80000000 && periodic <= later, "a change to periodic keeps counting");
	lapic_write(APIC_TIMER_INITIAL, 0);
	check_equal(lapic_read(APIC_TIMER_CURRENT), 0, "an initial count of 0 stops it");
}

static void one_shot(void) {
	lapic_write(APIC_TIMER_DIVIDE, 0xb);
	lapic_write(APIC_LVT_TIMER, ONE_SHOT | TIMER);
	ticks = 0;
	lapic_write(APIC_TIMER_INITIAL, 1000000);
	wait_for(&ticks, 1, "one-shot fires");
	check_equal(lapic_read(APIC_TIMER_CURRENT), 0, "one-shot stands at 0 afterwards");
	let_interrupts_in();
	check_equal(ticks, 1, "one-shot fires once");
	lapic_write(APIC_TIMER_INITIAL, 1000000);
	wait_for(&ticks, 2, "the next initial count starts it again");
}

static void masked(void) {
	lapic_write(APIC_LVT_TIMER, LVT_MASKED | ONE_SHOT | TIMER);
	ticks = 0;
	lapic_write(APIC_TIMER_INITIAL, 100000);
	uint32_t turns = 0;
	while (lapic_read(APIC_TIMER_CURRENT) && turns < 2000000) turns++;
	lapic_write(APIC_LVT_TIMER, ONE_SHOT | TIMER);
	let_interrupts_in();
	check_equal(ticks, 0, "what expires while masked is lost");
}

static void periodic(void) {
	lapic_write(APIC_LVT_TIMER, PERIODIC | TIMER);
	ticks = 0;
	lapic_write(APIC_TIMER_INITIAL, 5000000);
	wait_for(&ticks, 5, "periodic fires again and again");
	check(lapic_read(APIC_TIMER_CURRENT) <= 5000000, "periodic counts from the initial count");
	lapic_write(APIC_TIMER_INITIAL, 0);
	let_interrupts_in();
	uint32_t before = ticks;
	let_interrupts_in();
	check_equal(ticks, before, "periodic stops with an initial count of 0");
}

static void halted(void) {
	lapic_write(APIC_LVT_TIMER, PERIODIC | TIMER);
	ticks = 0;
	lapic_write(APIC_TIMER_INITIAL, 5000000);
	while (ticks < 5) sti_hlt();
	cli();
	lapic_write(APIC_TIMER_INITIAL, 0);
	let_interrupts_in();
	check(1, "the timer wakes a halted CPU");
}

static void deadline(void) {
	lapic_write(APIC_LVT_TIMER, ONE_SHOT | TIMER);
	wrmsr(IA32_TSC_DEADLINE, rdtsc() + 1000);
	check_equal(rdmsr(IA32_TSC_DEADLINE), 0, "the deadline is ignored in the other modes");
	let_interrupts_in();
	check_equal(ticks, 0, "and fires nothing there");

	lapic_write(APIC_LVT_TIMER, DEADLINE | TIMER);
	lapic_write(APIC_TIMER_INITIAL, 1000);
	check_equal(lapic_read(APIC_TIMER_CURRENT), 0, "the initial count is ignored in deadline mode");
	uint64_t far = rdtsc() + (1ull << 40);
	wrmsr(IA32_TSC_DEADLINE, far);
	check_equal(rdmsr(IA32_TSC_DEADLINE), far, "an armed deadline can be read");
	wrmsr(IA32_TSC_DEADLINE, 0);
	check_equal(rdmsr(IA32_TSC_DEADLINE), 0, "0 disarms it");
	let_interrupts_in();
	check_equal(ticks, 0, "nothing fired so far");

	uint64_t at = rdtsc() + 2000000;
	wrmsr(IA32_TSC_DEADLINE, at);
	wait_for(&ticks, 1, "the deadline fires");
	check(rdtsc() >= at, "not before the TSC is there");
	check_equal(rdmsr(IA32_TSC_DEADLINE), 0, "a deadline that fired reads 0");
	let_interrupts_in();
	check_equal(ticks, 1, "the deadline fires once");
	wrmsr(IA32_TSC_DEADLINE, 1);
	wait_for(&ticks, 2, "one in the past fires at once");
	wrmsr(IA32_TSC_DEADLINE, far);
	lapic_write(APIC_LVT_TIMER, PERIODIC | TIMER);
	lapic_write(APIC_LVT_TIMER, DEADLINE | TIMER);
	check_equal(rdmsr(IA32_TSC_DEADLINE), 0, "leaving the mode disarms it");
}

void run(void) {
	uint32_t a, b, c, d;
	set_handler(TIMER, on_tick);
	lapic_enable();
	counting();
	one_shot();
	masked();
	periodic();
	halted();
	ticks = 0;
	cpuid(1, &a, &b, &c, &d);
	if (c >> 24 & 1) deadline();
	else check(rdmsr_faults(IA32_TSC_DEADLINE, NULL), "without CPUID's offer there is no deadline");
}
