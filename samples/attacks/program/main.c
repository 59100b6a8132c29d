// SPDX-License-Identifier: MIT
/* The program half of the attack lab. "attack NAME" strikes and prints "attack NAME: success: ...", or blocked, or failed. */
#include "attack.h"

bool keep;

#define MODULE_PATH "/attacks/attack.ko"
#define CONTROL "/proc/attack"
#define ERROR_EPERM (-1)
#define ERROR_ENOENT (-2)
#define ERROR_EEXIST (-17)
#define ERROR_EFAULT (-14)

static const struct attack *const groups[] = { kernel_attacks, program_attacks };
static const char *const outcomes[] = { "success", "blocked", "failed" };

/* Writes "NAME 0xARGUMENT" to the module and reads its answer. */
long strike(const char *name, const unsigned long *argument, unsigned long *answer)
{
    struct line command = {};
    long file = CALL(__NR_open, CONTROL, O_RDWR), result;

    if (file < 0)
        return file;
    put(&command, name);
    if (argument) {
        put(&command, " ");
        put_hex(&command, *argument);
    }
    result = CALL(__NR_write, file, command.text, command.length);
    if (answer)
        CALL(__NR_read, file, answer, sizeof(*answer));
    CALL(__NR_close, file);
    return result < 0 ? result : 0;
}

void undo(const char *name)
{
    struct line command = {};
    long file;

    if (keep)
        return;
    file = CALL(__NR_open, CONTROL, O_RDWR);
    put(&command, "undo ");
    put(&command, name);
    CALL(__NR_write, file, command.text, command.length);
    CALL(__NR_close, file);
}

enum outcome judge(struct line *line, long error)
{
    switch (error) {
    case ERROR_EPERM:
        put(line, "the write did not hold");
        return BLOCKED;
    case ERROR_EFAULT:
        put(line, "the write raised an exception");
        return BLOCKED;
    default:
        put(line, "error ");
        put_number(line, error);
        return FAILED;
    }
}

long wait_for(long pid)
{
    int status = 0;

    CALL(__NR_wait4, pid, &status, 0, 0);
    return status;
}

static long load_module(void)
{
    struct line parameters = {};
    long file, result, lookup;

    if (CALL(__NR_access, CONTROL, 0) == 0)
        return 0;
    file = CALL(__NR_open, MODULE_PATH, O_RDONLY);
    if (file < 0)
        return file;
    lookup = find_symbol("kallsyms_lookup_name");
    if (!lookup)
        return ERROR_ENOENT;
    put(&parameters, "lookup=");
    put_hex(&parameters, lookup);
    parameters.text[parameters.length] = 0;
    result = CALL(__NR_finit_module, file, parameters.text, 0);
    CALL(__NR_close, file);
    return result;
}

static int run(const struct attack *attack)
{
    struct line line = {}, detail = {};
    enum outcome outcome = attack->run(&detail);

    detail.text[detail.length] = 0;
    put(&line, "attack ");
    put(&line, attack->name);
    put(&line, ": ");
    put(&line, outcomes[outcome]);
    put(&line, ": ");
    put(&line, detail.text);
    print(&line);
    return outcome;
}

static int usage(void)
{
    struct line line = {};
    size_t group;

    put(&line, "usage: attack [-k] NAME|all    -k keeps the effect; there are:");
    print(&line);
    for (group = 0; group < sizeof(groups) / sizeof(groups[0]); group++) {
        for (const struct attack *attack = groups[group]; attack->name; attack++) {
            put(&line, "  ");
            put(&line, attack->name);
            put(&line, ": ");
            put(&line, attack->what);
            print(&line);
        }
    }
    return 2;
}

static int main(char **arguments)
{
    struct line line = {};
    bool all, known = false;
    int worst = 0;
    size_t group;
    long error;

    if (*arguments && equal(*arguments, "-k")) {
        keep = true;
        arguments++;
    }
    if (!*arguments)
        return usage();
    error = load_module();
    if (error && error != ERROR_EEXIST) {
        put(&line, "attack: " MODULE_PATH " cannot be loaded: error ");
        put_number(&line, error);
        print(&line);
        return 2;
    }

    /* Registers and the GDT are per processor, so stay on one. */
    unsigned long first = 1;
    CALL(__NR_sched_setaffinity, 0, sizeof(first), &first);
    all = equal(*arguments, "all");
    for (group = 0; group < sizeof(groups) / sizeof(groups[0]); group++) {
        for (const struct attack *attack = groups[group]; attack->name; attack++) {
            if (all || equal(attack->name, *arguments)) {
                int outcome = run(attack);

                worst = outcome > worst ? outcome : worst;
                known = true;
            }
        }
    }
    return known ? worst : usage();
}

/* The stack at entry: argument count, arguments, a null. */
__attribute__((used)) static void begin(long *stack)
{
    CALL(__NR_exit_group, main((char **)&stack[2]));
    __builtin_unreachable();
}

asm(".globl _start\n"
    "_start:\n"
    "    xor %ebp, %ebp\n"
    "    mov %rsp, %rdi\n"
    "    and $-16, %rsp\n"
    "    call begin\n");
