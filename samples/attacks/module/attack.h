/* SPDX-License-Identifier: MIT OR GPL-2.0 */
#ifndef ATTACK_H
#define ATTACK_H

#include <linux/types.h>

/* What hijacked code returns, so that user space can tell that it ran. */
#define ATTACK_MAGIC 0x5ca1ab1eUL

/*
 * One attack. Both functions return 0 when the effect is there (gone), -EPERM when every step went through but the effect is not
 * there, -EFAULT when a step was answered with an exception, and any other error when there was nothing to try it on.
 */
struct verb {
    const char *name;
    int (*strike)(u64 argument, u64 *answer);
    int (*undo)(void); /* may be null: the attack takes itself back */
};

extern const struct verb table_verbs[], object_verbs[], register_verbs[];

/* memory.c */
unsigned long symbol(const char *name); /* 0 when there is none */
int store(void *address, u64 value, unsigned int size); /* as the kernel's own mapping allows; 1, 2, 4 or 8 bytes */
int overwrite(unsigned long address, u64 value, unsigned int size); /* through a writable mapping of our own */

/* entry.S */
extern char attack_gate[], attack_syscall_entry[], attack_sysenter_entry[];
unsigned long attack_raise(void); /* int ATTACK_VECTOR */
unsigned long attack_syscall(void);
unsigned long attack_sysenter(void);

#endif
