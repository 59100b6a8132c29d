// SPDX-License-Identifier: MIT OR GPL-2.0
/* Attacks on control registers and MSRs. Each takes itself back before interrupts are on again. */
#include <linux/compiler.h>
#include <linux/irqflags.h>
#include <asm/asm.h>
#include <asm/cpufeature.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>
#include <asm/special_insns.h>

#include "attack.h"

/* A guard may answer a write to a control register with an exception. The kernel's own functions pin bits, so not these. */
#define LOAD_CR(name)                                                                                                   \
    static int load_##name(unsigned long value)                                                                        \
    {                                                                                                                   \
        int fault = -EFAULT;                                                                                            \
                                                                                                                        \
        asm volatile("1: mov %[value], %%" #name "\n"                                                                   \
                     "   xor %[fault], %[fault]\n"                                                                      \
                     "2:\n" _ASM_EXTABLE(1b, 2b)                                                                        \
                     : [fault] "+&r"(fault)                                                                             \
                     : [value] "r"(value)                                                                               \
                     : "memory");                                                                                       \
        return fault;                                                                                                   \
    }

LOAD_CR(cr0)
LOAD_CR(cr4)

/* Read-only data of this module: with CR0.WP clear it is not. */
static const u64 sealed = 1;

static int strike_wp(u64 argument, u64 *answer)
{
    unsigned long flags, original;
    int result;

    local_irq_save(flags);
    original = native_read_cr0();
    result = load_cr0(original & ~X86_CR0_WP);
    if (!result)
        result = native_read_cr0() & X86_CR0_WP ? -EPERM : store((void *)&sealed, ATTACK_MAGIC, sizeof(u64));
    *answer = READ_ONCE(sealed);
    if (*answer != 1)
        store((void *)&sealed, 1, sizeof(u64));
    if (!(native_read_cr0() & X86_CR0_WP))
        load_cr0(original);
    local_irq_restore(flags);
    return result;
}

/* With CR4.SMAP clear the kernel reads user memory without saying so. The argument is an address of user space. */
static int strike_smap(u64 argument, u64 *answer)
{
    unsigned long flags, original;
    int result;

    local_irq_save(flags);
    original = native_read_cr4();
    if (!(original & X86_CR4_SMAP)) {
        local_irq_restore(flags);
        return -ENODEV;
    }
    result = load_cr4(original & ~X86_CR4_SMAP);
    if (!result && native_read_cr4() & X86_CR4_SMAP)
        result = -EPERM;
    if (!result)
        *answer = *(volatile u64 *)argument;
    if (!(native_read_cr4() & X86_CR4_SMAP))
        load_cr4(original);
    local_irq_restore(flags);
    return result;
}

/* With CR4.SMEP clear the kernel executes user memory. The argument is a function of user space. */
static int strike_smep(u64 argument, u64 *answer)
{
    unsigned long (*function)(void) = (void *)argument;
    unsigned long flags, original;
    int result;

    local_irq_save(flags);
    original = native_read_cr4();
    if (!(original & X86_CR4_SMEP)) {
        local_irq_restore(flags);
        return -ENODEV;
    }
    result = load_cr4(original & ~X86_CR4_SMEP);
    if (!result && native_read_cr4() & X86_CR4_SMEP)
        result = -EPERM;
    /* Page-table isolation maps user memory without execute permission in the kernel's own tables; the bit is gone all the same. */
    if (!result)
        *answer = boot_cpu_has(X86_FEATURE_PTI) ? ATTACK_MAGIC : function();
    if (!(native_read_cr4() & X86_CR4_SMEP))
        load_cr4(original);
    local_irq_restore(flags);
    return result;
}

static int strike_msr(unsigned int msr, char *entry, unsigned long (*enter)(void), u64 *answer)
{
    unsigned long flags;
    u64 original, now;
    int result;

    local_irq_save(flags);
    rdmsrl(msr, original);
    result = wrmsrl_safe(msr, (u64)entry) ? -EFAULT : 0;
    rdmsrl(msr, now);
    if (!result && now != (u64)entry)
        result = -EPERM;
    if (!result)
        *answer = enter();
    if (now != original)
        wrmsrl_safe(msr, original);
    local_irq_restore(flags);
    return result;
}

/* System calls enter the kernel at our code. */
static int strike_lstar(u64 argument, u64 *answer)
{
    return strike_msr(MSR_LSTAR, attack_syscall_entry, attack_syscall, answer);
}

/* So do those of 32-bit programs. */
static int strike_sysenter(u64 argument, u64 *answer)
{
    return strike_msr(MSR_IA32_SYSENTER_EIP, attack_sysenter_entry, attack_sysenter, answer);
}

const struct verb register_verbs[] = {
    { "cr0-wp", strike_wp, NULL },
    { "cr4-smap", strike_smap, NULL },
    { "cr4-smep", strike_smep, NULL },
    { "lstar", strike_lstar, NULL },
    { "sysenter", strike_sysenter, NULL },
    {},
};
