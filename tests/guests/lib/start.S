/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Where a guest starts: in 64-bit mode with the first 4 GiB mapped one to one, as the Linux
 * 64-bit boot protocol leaves it. Sets up a stack and its own GDT, then calls main().
 */
	.section .text.start, "ax"
	.code64
	.globl _start
_start:
	cli
	cld
	lgdt	gdt_pointer(%rip)
	lea	boot_stack_top(%rip), %rsp
	pushq	$CODE64
	lea	1f(%rip), %rax
	pushq	%rax
	lretq
1:	mov	$DATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	xor	%eax, %eax
	mov	%eax, %fs
	mov	%eax, %gs
	call	guest_main
2:	cli
	hlt
	jmp	2b

	.set	CODE64, 0x08
	.set	DATA, 0x10
	.set	CODE32, 0x18

	.section .data
	.balign	16
	.globl gdt
gdt:
	.quad	0
	.quad	0x00af9b000000ffff	/* 64-bit code */
	.quad	0x00cf93000000ffff	/* data */
	.quad	0x00cf9b000000ffff	/* 32-bit code */
gdt_end:
	.globl gdt_pointer
gdt_pointer:
	.word	gdt_end - gdt - 1
	.quad	gdt

	.section .bss
	.balign	16
	.skip	16384
boot_stack_top:

/* One stub per vector: pushes an error code where the CPU did not, then the vector. */
	.section .text
	.altmacro
	.macro	stub vector
	.balign	16
	.if	(\vector == 8) || (\vector >= 10 && \vector <= 14) || (\vector == 17) || (\vector == 21)
	.else
	pushq	$0
	.endif
	pushq	$\vector
	jmp	common
	.endm

	.balign	16
	.globl stubs
stubs:
	.set	i, 0
	.rept	256
	stub	%i
	.set	i, i + 1
	.endr

common:
	push	%rax
	push	%rcx
	push	%rdx
	push	%rbx
	push	%rbp
	push	%rsi
	push	%rdi
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	120(%rsp), %rdi		/* vector */
	mov	128(%rsp), %rsi		/* error code */
	lea	136(%rsp), %rdx		/* where RIP is, so that a handler can change it */
	cld
	call	dispatch
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rdi
	pop	%rsi
	pop	%rbp
	pop	%rbx
	pop	%rdx
	pop	%rcx
	pop	%rax
	add	$16, %rsp
	iretq

/* The trampoline of an application processor, copied to TRAMPOLINE and started by SIPI:
 * real mode, then 32-bit protected mode, then 64-bit mode on the boot processor's tables. */
	.set	TRAMPOLINE, 0x8000
	.set	AP_STACK_SHIFT, 12
	.globl trampoline, trampoline_end, trampoline_cr3, trampoline_entry, trampoline_stacks
	.balign	16
	.code16
trampoline:
	cli
	xor	%ax, %ax
	mov	%ax, %ds
	lgdtl	TRAMPOLINE + (trampoline_gdt - trampoline)
	mov	%cr0, %eax
	or	$1, %eax
	mov	%eax, %cr0
	ljmpl	$CODE32, $TRAMPOLINE + (2f - trampoline)
	.code32
2:	mov	$DATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	%cr4, %eax
	or	$0x20, %eax		/* PAE */
	mov	%eax, %cr4
	mov	TRAMPOLINE + (trampoline_cr3 - trampoline), %eax
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx	/* EFER */
	rdmsr
	or	$0x100, %eax		/* LME */
	wrmsr
	mov	%cr0, %eax
	or	$0x80000000, %eax	/* PG */
	mov	%eax, %cr0
	ljmp	$CODE64, $TRAMPOLINE + (3f - trampoline)
	.code64
3:	mov	$1, %eax		/* each CPU has a stack: its APIC id tells which */
	cpuid
	shr	$24, %ebx
	inc	%ebx
	shl	$AP_STACK_SHIFT, %ebx
	mov	TRAMPOLINE + (trampoline_stacks - trampoline), %rsp
	add	%rbx, %rsp
	mov	TRAMPOLINE + (trampoline_entry - trampoline), %rax
	call	*%rax
4:	cli
	hlt
	jmp	4b
	.balign	8
trampoline_gdt:
	.word	31
	.long	gdt
	.word	0
trampoline_cr3:
	.long	0
	.long	0
trampoline_stacks:
	.quad	0
trampoline_entry:
	.quad	0
trampoline_end:

	.section .note.GNU-stack, "", @progbits
