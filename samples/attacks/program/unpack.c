// SPDX-License-Identifier: MIT
/* Attacks within user space: programs that write code and then execute it, as packers and exploits do. */
#include "attack.h"

/* What a child ends with that could not do its part. */
#define NOT_HUGE 43
#define NOT_MAPPED 44

/* mov eax, 42; ret, as a packer would hide it. */
static const unsigned char packed[] = { 0xb8 ^ 0x5a, 42 ^ 0x5a, 0x5a, 0x5a, 0x5a, 0xc3 ^ 0x5a };

static void unpack(unsigned char *to)
{
    for (size_t at = 0; at < sizeof(packed); at++)
        to[at] = packed[at] ^ 0x5a;
}

static unsigned char *map(int rights)
{
    return (unsigned char *)syscall6(__NR_mmap, 0, 4096, rights, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static int is_error(const void *result)
{
    return (unsigned long)result > -4096ul;
}

static int flip(void)
{
    unsigned char *code = map(PROT_READ | PROT_WRITE);

    if (is_error(code))
        return NOT_MAPPED;
    unpack(code);
    if (CALL(__NR_mprotect, code, 4096, PROT_READ | PROT_EXEC) < 0)
        return 1;
    return ((int (*)(void))code)();
}

static int both(void)
{
    unsigned char *code = map(PROT_READ | PROT_WRITE | PROT_EXEC);

    if (is_error(code))
        return NOT_MAPPED;
    unpack(code);
    return ((int (*)(void))code)();
}

/* In the middle of a huge page. */
static int huge(void)
{
    const unsigned long size = 2 << 20;
    unsigned long area = syscall6(__NR_mmap, 0, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *code = (unsigned char *)((area + size - 1) & -size) + size / 2 + 64;

    if (is_error((void *)area))
        return NOT_MAPPED;
    /* The kernel makes none by itself where there is little memory. */
    write_file("/sys/kernel/mm/transparent_hugepage/enabled", "madvise", 0);
    CALL(__NR_madvise, (area + size - 1) & -size, size, MADV_HUGEPAGE);
    unpack(code);
    if (!file_has_line_starting("/proc/self/smaps", "AnonHugePages:      2048 kB"))
        return NOT_HUGE;
    if (CALL(__NR_mprotect, (area + size - 1) & -size, size, PROT_READ | PROT_EXEC) < 0)
        return 1;
    return ((int (*)(void))code)();
}

/* In a process of its own, since a guard may end it. */
static enum outcome executed(struct line *line, int (*how)(void))
{
    long child = CALL(__NR_fork), status;

    if (child == 0)
        CALL(__NR_exit_group, how());
    status = wait_for(child);
    if (status == 42 << 8) {
        put(line, "the unpacked code ran");
        return SUCCESS;
    }
    if (status == NOT_HUGE << 8) {
        put(line, "the kernel gave no huge page");
        return FAILED;
    }
    if (status == NOT_MAPPED << 8) {
        put(line, "the kernel gave no memory");
        return FAILED;
    }
    if (status & 0x7f) {
        put(line, "the process was ended by signal ");
        put_number(line, status & 0x7f);
    } else {
        put(line, "the unpacked code did not run: status ");
        put_number(line, status >> 8);
    }
    return BLOCKED;
}

static enum outcome unpacker(struct line *line)
{
    return executed(line, flip);
}

static enum outcome unpacker_rwx(struct line *line)
{
    return executed(line, both);
}

static enum outcome unpacker_huge(struct line *line)
{
    return executed(line, huge);
}

const struct attack program_attacks[] = {
    { "unpacker", unpacker, "a program writes code, makes it executable and runs it" },
    { "unpacker-rwx", unpacker_rwx, "a program runs code on a page that it can write" },
    { "unpacker-huge", unpacker_huge, "a program writes code into a huge page, makes it executable and runs it" },
    {},
};
