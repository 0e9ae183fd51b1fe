/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * A 32-bit Multiboot kernel: what the information block says (Multiboot Specification 0.6.96, "Boot
 * information format"). Prints the command line, the first module and the memory map.
 */
#include <stdint.h>

#define LOADER_MAGIC 0x2badb002

__asm__(
	".section .multiboot, \"a\"\n"
	".balign 4\n"
	".long 0x1badb002, 3, -(0x1badb002 + 3)\n" /* page-aligned modules, memory information */
	".text\n"
	".globl _start\n"
	"_start:\n"
	"	mov $stack_top, %esp\n"
	"	cld\n"
	"	push %ebx\n"
	"	push %eax\n"
	"	call multiboot_main\n"
	"1:	cli\n"
	"	hlt\n"
	"	jmp 1b\n"
	".bss\n"
	".balign 16\n"
	".skip 4096\n"
	"stack_top:\n"
	".text\n");

struct info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
	uint32_t mmap_length, mmap_addr;
} __attribute__((packed));

struct module {
	uint32_t start, end, string, reserved;
} __attribute__((packed));

struct region {
	uint32_t size;
	uint64_t base, length;
	uint32_t type;
} __attribute__((packed));

enum { HAS_MEMORY = 1 << 0, HAS_CMDLINE = 1 << 2, HAS_MODULES = 1 << 3, HAS_MAP = 1 << 6, RAM = 1 };

static int failures;

static void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }

static void print_char(char c) { out8(0x3f8, c); }

static void print(const char *text) {
	while (*text) print_char(*text++);
}

static void print_hex(uint64_t value) {
	print("0x");
	for (int shift = 60; shift >= 0; shift -= 4) print_char("0123456789abcdef"[value >> shift & 15]);
}

static void check(int condition, const char *name) {
	failures += !condition;
	print(condition ? "ok " : "FAIL ");
	print(name);
	print("\n");
}

static void show_modules(const struct info *info) {
	const struct module *modules = (const struct module *)info->mods_addr;
	for (uint32_t i = 0; i < info->mods_count; i++) {
		print("module: ");
		for (const char *at = (const char *)modules[i].start; at < (const char *)modules[i].end; at++) print_char(*at);
		print("\n");
		check(modules[i].start % 4096 == 0, "the module is page-aligned");
		check(modules[i].end > modules[i].start, "the module has an end");
	}
}

static void show_map(const struct info *info) {
	uint64_t upper = 0;
	for (uint32_t at = info->mmap_addr; at < info->mmap_addr + info->mmap_length;) {
		const struct region *region = (const struct region *)at;
		print("memory: ");
		print_hex(region->base);
		print(" ");
		print_hex(region->length);
		print(region->type == RAM ? " RAM\n" : " reserved\n");
		uint64_t end = region->base + region->length;
		if (region->type == RAM && region->base <= 0x200000 && end > 0x200000) upper = end;
		at += region->size + 4;
	}
	check(upper != 0, "the map has the RAM that this kernel is in");
	check(info->mem_upper == (uint32_t)(upper >> 10) - 1024, "mem_upper is the RAM from 1 MiB on, in KiB");
	check(info->mem_lower > 0 && info->mem_lower <= 640, "mem_lower is conventional memory");
}

/* Called by _start with what EAX and EBX held. */
void multiboot_main(uint32_t magic, const struct info *info) {
	uint32_t cr0;
	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	check(magic == LOADER_MAGIC, "EAX has the boot loader's magic number");
	check((cr0 & 0x80000001) == 1, "protected mode without paging");
	check((info->flags & (HAS_MEMORY | HAS_MAP)) == (HAS_MEMORY | HAS_MAP), "there is a memory map");
	if (info->flags & HAS_CMDLINE) print("cmdline: "), print((const char *)info->cmdline), print("\n");
	if (info->flags & HAS_MODULES) show_modules(info);
	show_map(info);
	print(failures ? "guest: failed\n" : "guest: passed\n");
	out8(0xf4, failures ? 0x11 : 0x10);
}
