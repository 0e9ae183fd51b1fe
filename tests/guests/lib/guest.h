/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * What every guest here uses: port and register access, handlers, checks that print, and the
 * way out through isa-debug-exit.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef void (*handler_fn)(uint8_t vector);

static inline void out8(uint16_t port, uint8_t value) {
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}
static inline void out32(uint16_t port, uint32_t value) {
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}
static inline uint8_t in8(uint16_t port) {
	uint8_t value;
	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}
static inline uint64_t rdmsr(uint32_t msr) {
	uint32_t low, high;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
	return (uint64_t)high << 32 | low;
}
static inline void wrmsr(uint32_t msr, uint64_t value) {
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}
static inline uint64_t rdtsc(void) {
	uint32_t low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}
static inline void cpuid(uint32_t leaf, uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d) {
	__asm__ volatile("cpuid" : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d) : "a"(leaf), "c"(0));
}
static inline void cli(void) { __asm__ volatile("cli" : : : "memory"); }
static inline void sti(void) { __asm__ volatile("sti" : : : "memory"); }
static inline void sti_hlt(void) { __asm__ volatile("sti; hlt" : : : "memory"); }
static inline uint32_t mmio_read(uint64_t address) { return *(volatile uint32_t *)address; }
static inline void mmio_write(uint64_t address, uint32_t value) {
	*(volatile uint32_t *)address = value;
}

/* Each guest has one. Returning from it ends the guest with the result of its checks. */
void run(void);

void print(const char *text);
void print_number(uint64_t value);
/* Prints "ok NAME" or "FAIL NAME"; one failure makes the guest's result a failure. */
void check(int condition, const char *name);
/* check(), and prints both values where they differ. */
void check_equal(uint64_t got, uint64_t want, const char *name);
/* Ends the guest: exit status 33 if every check passed, 35 if not. */
__attribute__((noreturn)) void finish(void);

void set_handler(uint8_t vector, handler_fn handler);
/* Lets interrupts in until *counter has reached `want`; an exit a turn, so that no CPU spins.
 * Gives up, as a failed check, after a bounded number of turns. */
void wait_for(volatile uint32_t *counter, uint32_t want, const char *name);
/* Lets pending interrupts in and returns with interrupts off. */
void let_interrupts_in(void);

/* The test device's interrupt lines. */
static inline void set_line(uint8_t line, int level) { out8(0x2000 + line, level != 0); }

/* 8259A pair at vectors PIC_BASE and PIC_BASE + 8, everything masked. */
#define PIC_BASE 0x20
void pic_init(void);
void pic_unmask(uint8_t irq);
void pic_eoi(uint8_t irq);
uint8_t pic_isr(uint16_t command_port);
uint8_t pic_irr(uint16_t command_port);

/* Local APIC, through its page. */
#define LAPIC 0xfee00000ull
enum {
	APIC_ID = 0x20, APIC_VERSION = 0x30, APIC_TPR = 0x80, APIC_EOI = 0xb0, APIC_LDR = 0xd0, APIC_DFR = 0xe0,
	APIC_SVR = 0xf0, APIC_ISR = 0x100, APIC_TMR = 0x180, APIC_IRR = 0x200, APIC_ESR = 0x280, APIC_ICR = 0x300,
	APIC_ICR_HIGH = 0x310, APIC_LVT_TIMER = 0x320, APIC_LVT_LINT0 = 0x350, APIC_LVT_LINT1 = 0x360,
	APIC_LVT_ERROR = 0x370, APIC_TIMER_INITIAL = 0x380, APIC_TIMER_CURRENT = 0x390, APIC_TIMER_DIVIDE = 0x3e0,
};
#define LVT_MASKED (1u << 16)
#define LVT_EXTINT (7u << 8)
#define LVT_NMI (4u << 8)
int has_apic(void);
static inline uint32_t lapic_read(uint32_t reg) { return mmio_read(LAPIC + reg); }
static inline void lapic_write(uint32_t reg, uint32_t value) { mmio_write(LAPIC + reg, value); }
void lapic_enable(void);
static inline void lapic_eoi(void) { lapic_write(APIC_EOI, 0); }
void send_ipi(uint32_t destination, uint32_t low);

/* I/O APIC. */
#define IOAPIC 0xfec00000ull
#define RTE_LEVEL (1u << 15)
#define RTE_REMOTE_IRR (1u << 14)
#define RTE_MASKED (1u << 16)
uint32_t ioapic_read(uint8_t reg);
void ioapic_write(uint8_t reg, uint32_t value);
static inline uint32_t rte_low(uint8_t pin) { return ioapic_read(0x10 + 2 * pin); }
void set_rte(uint8_t pin, uint32_t low, uint8_t destination);

/* Application processors: INIT, SIPI and a stack. `entry` runs on the CPU with that APIC id. */
void prepare_trampoline(void (*entry)(void));
void start_cpu(uint32_t apic_id, void (*entry)(void));
void load_idt(void);
#define SIPI_VECTOR 0x08
