/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "guest.h"

struct gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_middle;
	uint32_t offset_high, reserved;
} __attribute__((packed));

extern uint8_t stubs[];

static struct gate idt[256] __attribute__((aligned(16)));
static handler_fn handlers[256];
static int failures;
/* Where to go on after an expected #GP. */
static volatile uint64_t fault_resume;
static volatile int faulted;

void print(const char *text) {
	for (; *text; text++) out8(0x3f8, *text);
}

void print_number(uint64_t value) {
	char text[19] = "0x", *at = text + 2;
	int shift = 60;
	while (shift > 0 && !(value >> shift)) shift -= 4;
	for (; shift >= 0; shift -= 4) *at++ = "0123456789abcdef"[value >> shift & 15];
	*at = 0;
	print(text);
}

void check(int condition, const char *name) {
	failures += !condition;
	print(condition ? "ok " : "FAIL ");
	print(name);
	print("\n");
}

void check_equal(uint64_t got, uint64_t want, const char *name) {
	check(got == want, name);
	if (got == want) return;
	print("  got ");
	print_number(got);
	print(", want ");
	print_number(want);
	print("\n");
}

void finish(void) {
	cli();
	print(failures ? "guest: failed\n" : "guest: passed\n");
	out8(0xf4, failures ? 0x11 : 0x10);
	for (;;) __asm__ volatile("cli; hlt");
}

void dispatch(uint64_t vector, uint64_t error, uint64_t *rip) {
	if (vector == 13 && fault_resume) {
		*rip = fault_resume;
		fault_resume = 0;
		faulted = 1;
		return;
	}
	if (handlers[vector]) return handlers[vector](vector);
	print("unexpected vector ");
	print_number(vector);
	print(" error ");
	print_number(error);
	print(" at ");
	print_number(*rip);
	print("\n");
	check(0, "no unexpected interrupt");
	finish();
}

void set_handler(uint8_t vector, handler_fn handler) { handlers[vector] = handler; }

void load_idt(void) {
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) pointer = { sizeof idt - 1, (uint64_t)idt };
	__asm__ volatile("lidt %0" : : "m"(pointer));
}

static void fill_idt(void) {
	for (int vector = 0; vector < 256; vector++) {
		uint64_t stub = (uint64_t)stubs + 16 * vector;
		idt[vector] = (struct gate){ stub, 0x08, 0, 0x8e, stub >> 16, stub >> 32, 0 };
	}
	load_idt();
}

void guest_main(void) {
	fill_idt();
	run();
	finish();
}

void let_interrupts_in(void) {
	/* STI once: each one would hold interrupts back over the IN that follows it. */
	sti();
	for (int turn = 0; turn < 16; turn++) in8(0x80);
	cli();
}

void await(counter *events, uint32_t want, const char *name) {
	sti();
	for (uint32_t turn = 0; *events < want && turn < 2000000; turn++) in8(0x80);
	cli();
	if (*events < want) check_equal(*events, want, name);
}

void wait_for(counter *events, uint32_t want, const char *name) {
	await(events, want, name);
	if (*events >= want) check(1, name);
}

static uint8_t taken[64];
static volatile uint32_t taken_count;

void record(uint8_t vector) {
	if (taken_count < sizeof taken) taken[taken_count] = vector;
	taken_count++;
}

void check_vectors(const uint8_t *want, size_t count, const char *name) {
	int same = taken_count == count;
	for (size_t i = 0; same && i < count; i++) same = taken[i] == want[i];
	check(same, name);
	if (!same) {
		print("  got");
		for (size_t i = 0; i < taken_count && i < sizeof taken; i++) print(" "), print_number(taken[i]);
		print(", want");
		for (size_t i = 0; i < count; i++) print(" "), print_number(want[i]);
		print("\n");
	}
	taken_count = 0;
}

/* Whether the instruction raised #GP; there is no other way to be there with `faulted` set. */
static int take_fault(void) {
	int result = faulted;
	fault_resume = 0;
	faulted = 0;
	return result;
}

#define EXPECT_FAULT "lea 1f(%%rip), %%r8\n\tmov %%r8, %[resume]\n\t"

int rdmsr_faults(uint32_t msr, uint64_t *value) {
	uint32_t low = 0, high = 0;
	__asm__ volatile(EXPECT_FAULT "rdmsr\n1:"
		: "+a"(low), "+d"(high), [resume] "=m"(fault_resume) : "c"(msr) : "r8", "memory");
	if (value) *value = (uint64_t)high << 32 | low;
	return take_fault();
}

int wrmsr_faults(uint32_t msr, uint64_t value) {
	__asm__ volatile(EXPECT_FAULT "wrmsr\n1:"
		: [resume] "=m"(fault_resume)
		: "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "r8", "memory");
	return take_fault();
}

int write_cr8_faults(uint64_t value) {
	__asm__ volatile(EXPECT_FAULT "mov %[value], %%cr8\n1:"
		: [resume] "=m"(fault_resume) : [value] "r"(value) : "r8", "memory");
	return take_fault();
}
