/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "guest.h"

struct gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_middle;
	uint32_t offset_high, reserved;
} __attribute__((packed));

extern uint8_t stubs[];
extern uint8_t trampoline[], trampoline_end[];
extern uint32_t trampoline_cr3;
extern uint64_t trampoline_stack, trampoline_entry;

static struct gate idt[256] __attribute__((aligned(16)));
static handler_fn handlers[256];
static int failures;

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

void dispatch(uint64_t vector, uint64_t error, uint64_t rip) {
	if (handlers[vector]) return handlers[vector](vector);
	print("unexpected vector ");
	print_number(vector);
	print(" error ");
	print_number(error);
	print(" at ");
	print_number(rip);
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
	for (int turn = 0; turn < 16; turn++) {
		sti();
		in8(0x80);
	}
	cli();
}

void wait_for(volatile uint32_t *counter, uint32_t want, const char *name) {
	for (uint32_t turn = 0; *counter < want && turn < 2000000; turn++) {
		sti();
		in8(0x80);
	}
	cli();
	check(*counter >= want, name);
}

void pic_init(void) {
	out8(0x20, 0x11), out8(0xa0, 0x11);
	out8(0x21, PIC_BASE), out8(0xa1, PIC_BASE + 8);
	out8(0x21, 4), out8(0xa1, 2);
	out8(0x21, 1), out8(0xa1, 1);
	out8(0x21, 0xff), out8(0xa1, 0xff);
}

void pic_unmask(uint8_t irq) {
	if (irq >= 8) {
		out8(0xa1, in8(0xa1) & ~(1 << (irq - 8)));
		irq = 2;
	}
	out8(0x21, in8(0x21) & ~(1 << irq));
}

void pic_eoi(uint8_t irq) {
	if (irq >= 8) out8(0xa0, 0x20);
	out8(0x20, 0x20);
}

uint8_t pic_isr(uint16_t command_port) {
	out8(command_port, 0x0b);
	return in8(command_port);
}

uint8_t pic_irr(uint16_t command_port) {
	out8(command_port, 0x0a);
	return in8(command_port);
}

int has_apic(void) {
	uint32_t a, b, c, d;
	cpuid(1, &a, &b, &c, &d);
	return d >> 9 & 1;
}

void lapic_enable(void) {
	lapic_write(APIC_TPR, 0);
	lapic_write(APIC_SVR, 0x1ff);
}

void send_ipi(uint32_t destination, uint32_t low) {
	lapic_write(APIC_ICR_HIGH, destination << 24);
	lapic_write(APIC_ICR, low);
}

uint32_t ioapic_read(uint8_t reg) {
	mmio_write(IOAPIC, reg);
	return mmio_read(IOAPIC + 0x10);
}

void ioapic_write(uint8_t reg, uint32_t value) {
	mmio_write(IOAPIC, reg);
	mmio_write(IOAPIC + 0x10, value);
}

void set_rte(uint8_t pin, uint32_t low, uint8_t destination) {
	ioapic_write(0x10 + 2 * pin, RTE_MASKED);
	ioapic_write(0x11 + 2 * pin, (uint32_t)destination << 24);
	ioapic_write(0x10 + 2 * pin, low);
}

static uint8_t ap_stacks[32][4096] __attribute__((aligned(16)));

void prepare_trampoline(void (*entry)(void)) {
	uint64_t cr3;
	__asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
	trampoline_cr3 = cr3;
	trampoline_entry = (uint64_t)entry;
	volatile uint8_t *to = (volatile uint8_t *)(SIPI_VECTOR << 12);
	for (uint8_t *from = trampoline; from < trampoline_end; from++) *to++ = *from;
}

void start_cpu(uint32_t apic_id, void (*entry)(void)) {
	trampoline_stack = (uint64_t)ap_stacks[apic_id & 31] + sizeof ap_stacks[0];
	prepare_trampoline(entry);
	send_ipi(apic_id, 0x4500);
	send_ipi(apic_id, 0x4600 | SIPI_VECTOR);
}
