/* SPDX-License-Identifier: MIT */
/* What the programs of the lab need of Linux, without a C library: a static program of a few kilobytes. x86-64 only. */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/wait.h>

static inline long syscall4(long number, long a, long b, long c, long d)
{
    register long r10 asm("r10") = d;
    long result;

    asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}

static inline long syscall6(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 asm("r10") = d;
    register long r8 asm("r8") = e;
    register long r9 asm("r9") = f;
    long result;

    asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return result;
}

/* A system call with up to four arguments; negative results are errors. */
#define CALL4(number, a, b, c, d, ...) syscall4(number, (long)(a), (long)(b), (long)(c), (long)(d))
#define CALL(number, ...) CALL4(number, ##__VA_ARGS__, 0, 0, 0, 0)

/* text.c: one line is one write, so that lines of two programs do not mix. */
struct line {
    char text[256];
    size_t length;
};

void put(struct line *line, const char *text);
void put_number(struct line *line, long value);
void put_hex(struct line *line, unsigned long value);
void print(struct line *line); /* ends the line and writes it */

size_t length_of(const char *text);
bool equal(const char *left, const char *right);
bool starts_with(const char *text, const char *start);
unsigned long parse_hex(const char *text);

/* files.c */
long read_all(const char *path, char *to, size_t size); /* ends it with a zero; the length, or an error */
bool file_has_line_starting(const char *path, const char *start); /* any size of file */
long find_symbol(const char *name); /* from /proc/kallsyms; 0 when it is not there */
bool directory_has(const char *path, const char *name);
long write_file(const char *path, const char *text, int mode);

#endif
