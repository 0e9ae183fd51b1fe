/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * The interrupt controllers as a driver uses them.
 */
#include "guest.h"

void pic_init_with(uint8_t icw1, uint8_t icw4) {
	out8(0x20, icw1), out8(0xa0, icw1);
	out8(0x21, PIC_BASE), out8(0xa1, PIC_BASE + 8);
	out8(0x21, 4), out8(0xa1, 2);
	out8(0x21, icw4), out8(0xa1, icw4);
	out8(0x21, 0xff), out8(0xa1, 0xff);
}

void pic_init(void) { pic_init_with(0x11, 0x01); }

void pic_unmask(uint8_t irq) {
	if (irq >= 8) {
		out8(0xa1, in8(0xa1) & ~(1 << (irq - 8)));
		irq = 2;
	}
	out8(0x21, in8(0x21) & ~(1 << irq));
}

void pic_mask(uint8_t irq) {
	uint16_t port = irq < 8 ? 0x21 : 0xa1;
	out8(port, in8(port) | 1 << (irq & 7));
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

void isa_connect(uint8_t irq, handler_fn handler) {
	set_handler(ISA_VECTOR(irq), handler);
	if (!has_apic()) {
		pic_init();
		pic_unmask(irq);
		return;
	}
	lapic_enable();
	/* IRQ0 is wired to pin 2, the others to the pin of their number. */
	set_rte(irq ? irq : 2, ISA_VECTOR(irq), lapic_read(APIC_ID) >> 24);
}

void isa_eoi(uint8_t irq) {
	if (has_apic()) lapic_eoi();
	else pic_eoi(irq);
}

int has_apic(void) {
	uint32_t a, b, c, d;
	cpuid(1, &a, &b, &c, &d);
	return d >> 9 & 1;
}

int offers_x2apic(void) {
	uint32_t a, b, c, d;
	cpuid(1, &a, &b, &c, &d);
	return c >> 21 & 1;
}

int in_x2apic_mode(void) { return (rdmsr(IA32_APIC_BASE) & APIC_BASE_EXTD) != 0; }

uint32_t lapic_read(uint32_t reg) {
	return in_x2apic_mode() ? rdmsr(X2APIC_MSR(reg)) : mmio_read(LAPIC + reg);
}

void lapic_write(uint32_t reg, uint32_t value) {
	if (in_x2apic_mode()) wrmsr(X2APIC_MSR(reg), value);
	else mmio_write(LAPIC + reg, value);
}

int lapic_vector_bit(uint32_t reg, uint8_t vector) {
	return lapic_read(reg + (vector / 32 << 4)) >> vector % 32 & 1;
}

void lapic_enable(void) {
	lapic_write(APIC_TPR, 0);
	lapic_write(APIC_SVR, 0x1ff);
}

void lapic_eoi(void) { lapic_write(APIC_EOI, 0); }

void send_ipi(uint32_t destination, uint32_t low) {
	if (in_x2apic_mode()) {
		wrmsr(X2APIC_MSR(APIC_ICR), (uint64_t)destination << 32 | low);
		return;
	}
	mmio_write(LAPIC + APIC_ICR_HIGH, destination << 24);
	mmio_write(LAPIC + APIC_ICR, low);
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
	set_rte_low(pin, RTE_MASKED);
	ioapic_write(0x11 + 2 * pin, (uint32_t)destination << 24);
	set_rte_low(pin, low);
}
