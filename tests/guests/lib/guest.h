/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * What every guest here uses: port and register access, handlers, checks that print, and the
 * way out through isa-debug-exit.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef void (*handler_fn)(uint8_t vector);
typedef volatile uint32_t counter;

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
static inline uint64_t read_cr8(void) {
	uint64_t value;
	__asm__ volatile("mov %%cr8, %0" : "=r"(value) : : "memory");
	return value;
}
static inline void write_cr8(uint64_t value) { __asm__ volatile("mov %0, %%cr8" : : "r"(value) : "memory"); }
static inline void cli(void) { __asm__ volatile("cli" : : : "memory"); }
static inline void sti(void) { __asm__ volatile("sti" : : : "memory"); }
/* Wakes by an interrupt to come only: one that is pending already may run before the HLT. */
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
/* Lets interrupts in until *events has reached `want`; an exit a turn, so that no CPU spins.
 * Gives up, as a failed check, after a bounded number of turns. */
void wait_for(counter *events, uint32_t want, const char *name);
/* The same without a line of its own where all goes well. */
void await(counter *events, uint32_t want, const char *name);
/* Lets pending interrupts in and returns with interrupts off. */
void let_interrupts_in(void);

/* Vectors in the order in which they were taken. Handlers call record(). */
void record(uint8_t vector);
void check_vectors(const uint8_t *want, size_t count, const char *name);
/* Checks what was recorded since the last such check. */
#define check_taken(name, ...) \
	check_vectors((const uint8_t[]){ __VA_ARGS__ }, sizeof(const uint8_t[]){ __VA_ARGS__ }, name)
#define check_nothing_taken(name) check_vectors(NULL, 0, name)

/* RDMSR and WRMSR that may raise #GP, and whether they did. */
int rdmsr_faults(uint32_t msr, uint64_t *value);
int wrmsr_faults(uint32_t msr, uint64_t value);
int write_cr8_faults(uint64_t value);

/* The test device's interrupt lines. */
static inline void set_line(uint8_t line, int level) { out8(0x2000 + line, level != 0); }
static inline void pulse_line(uint8_t line) {
	set_line(line, 1);
	set_line(line, 0);
}

/* 8259A pair at vectors PIC_BASE and PIC_BASE + 8, everything masked. */
#define PIC_BASE 0x20
void pic_init(void);
void pic_init_with(uint8_t icw1, uint8_t icw4);
void pic_unmask(uint8_t irq);
void pic_mask(uint8_t irq);
void pic_eoi(uint8_t irq);
uint8_t pic_isr(uint16_t command_port);
uint8_t pic_irr(uint16_t command_port);

/* An ISA interrupt through whatever this machine has: the 8259A pair, or the IOAPIC. */
#define ISA_VECTOR(irq) (has_apic() ? 0x50 + (irq) : PIC_BASE + (irq))
void isa_connect(uint8_t irq, handler_fn handler);
void isa_eoi(uint8_t irq);

/* Local APIC: its page, or its MSRs in x2APIC mode. */
#define LAPIC 0xfee00000ull
enum {
	APIC_ID = 0x20, APIC_VERSION = 0x30, APIC_TPR = 0x80, APIC_PPR = 0xa0, APIC_EOI = 0xb0, APIC_LDR = 0xd0,
	APIC_DFR = 0xe0, APIC_SVR = 0xf0, APIC_ISR = 0x100, APIC_TMR = 0x180, APIC_IRR = 0x200, APIC_ESR = 0x280,
	APIC_ICR = 0x300, APIC_ICR_HIGH = 0x310, APIC_LVT_TIMER = 0x320, APIC_LVT_LINT0 = 0x350,
	APIC_LVT_LINT1 = 0x360, APIC_LVT_ERROR = 0x370, APIC_TIMER_INITIAL = 0x380, APIC_TIMER_CURRENT = 0x390,
	APIC_TIMER_DIVIDE = 0x3e0, APIC_SELF_IPI = 0x3f0,
};
#define IA32_APIC_BASE 0x1b
#define APIC_BASE_EN 0x800ull
#define APIC_BASE_EXTD 0x400ull
#define APIC_BASE_BSP 0x100ull
#define X2APIC_MSR(reg) (0x800 + ((reg) >> 4))
#define LVT_MASKED (1u << 16)
#define LVT_EXTINT (7u << 8)
#define LVT_NMI (4u << 8)
#define ICR_LOWEST (1u << 8)
#define ICR_NMI (4u << 8)
#define ICR_INIT (5u << 8)
#define ICR_START_UP (6u << 8)
#define ICR_LOGICAL (1u << 11)
#define ICR_ASSERT (1u << 14)
#define ICR_LEVEL (1u << 15)
#define ICR_SELF (1u << 18)
#define ICR_ALL (2u << 18)
#define ICR_OTHERS (3u << 18)
int has_apic(void);
int in_x2apic_mode(void);
/* Whether CPUID offers x2APIC mode: not on a host whose KVM keeps its MSRs to itself. */
int offers_x2apic(void);
uint32_t lapic_read(uint32_t reg);
void lapic_write(uint32_t reg, uint32_t value);
/* One bit of the 256-bit registers ISR, TMR, IRR. */
int lapic_vector_bit(uint32_t reg, uint8_t vector);
void lapic_enable(void);
void lapic_eoi(void);
void send_ipi(uint32_t destination, uint32_t low);

/* I/O APIC. */
#define IOAPIC 0xfec00000ull
#define RTE_LOWEST (1u << 8)
#define RTE_NMI (4u << 8)
#define RTE_INIT (5u << 8)
#define RTE_EXTINT (7u << 8)
#define RTE_LOGICAL (1u << 11)
#define RTE_LEVEL (1u << 15)
#define RTE_REMOTE_IRR (1u << 14)
#define RTE_MASKED (1u << 16)
uint32_t ioapic_read(uint8_t reg);
void ioapic_write(uint8_t reg, uint32_t value);
static inline uint32_t rte_low(uint8_t pin) { return ioapic_read(0x10 + 2 * pin); }
static inline void set_rte_low(uint8_t pin, uint32_t low) { ioapic_write(0x10 + 2 * pin, low); }
void set_rte(uint8_t pin, uint32_t low, uint8_t destination);

/* Application processors: INIT, SIPI and a stack for each. `entry` runs on the started CPUs. */
#define MAX_CPUS 32
#define SIPI_VECTOR 0x08
void prepare_trampoline(void (*entry)(void));
void start_cpu(uint32_t apic_id, void (*entry)(void));
void load_idt(void);
uint32_t cpu_id(void);
/* Starts CPUs 1 to count - 1; they halt with interrupts on, for ever. */
void start_cpus(uint32_t count);
/* Runs `work` in an interrupt handler of another CPU and waits until its EOI is done too. */
void call_on(uint32_t cpu, void (*work)(void));
#define CALL_VECTOR 0xe0
