/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Where hijacked vectors and entry points lead. Everything is raised from ring 0, so that page-table isolation does not matter. */
#include "vector.h"

    .text

/* unsigned long attack_raise(void): ATTACK_MAGIC if the vector's gate leads to attack_gate. */
    .globl attack_raise
attack_raise:
    xorl %eax, %eax
    int $ATTACK_VECTOR
    ret
    int3

    .globl attack_gate
attack_gate:
    movl $0x5ca1ab1e, %eax
    iretq

/* unsigned long attack_syscall(void): interrupts off; rcx and r11 are the caller's to lose. */
    .globl attack_syscall
attack_syscall:
    xorl %eax, %eax
    syscall
    ret
    int3

    .globl attack_syscall_entry
attack_syscall_entry:
    movl $0x5ca1ab1e, %eax
    pushq %r11
    popfq
    jmp *%rcx

/* unsigned long attack_sysenter(void): interrupts off, one processor; SYSENTER loses rsp, rip and the interrupt flag. */
    .globl attack_sysenter
attack_sysenter:
    xorl %eax, %eax
    movq %rsp, saved_rsp(%rip)
    sysenter

    .globl attack_sysenter_entry
attack_sysenter_entry:
    movq saved_rsp(%rip), %rsp
    movl $0x5ca1ab1e, %eax
    ret
    int3

    .local saved_rsp
    .comm saved_rsp, 8, 8

    .section .note.GNU-stack, "", @progbits
