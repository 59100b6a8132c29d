// SPDX-License-Identifier: MIT
#include "guest.h"

size_t length_of(const char *text)
{
    size_t length = 0;

    while (text[length])
        length++;
    return length;
}

bool equal(const char *left, const char *right)
{
    while (*left && *left == *right)
        left++, right++;
    return *left == *right;
}

bool starts_with(const char *text, const char *start)
{
    while (*start)
        if (*text++ != *start++)
            return false;
    return true;
}

unsigned long parse_hex(const char *text)
{
    unsigned long value = 0;

    for (;; text++) {
        int digit = *text >= '0' && *text <= '9' ? *text - '0' : *text >= 'a' && *text <= 'f' ? *text - 'a' + 10 : -1;

        if (digit < 0)
            return value;
        value = value << 4 | digit;
    }
}

void put(struct line *line, const char *text)
{
    while (*text && line->length < sizeof(line->text) - 1)
        line->text[line->length++] = *text++;
}

static void put_digits(struct line *line, unsigned long value, unsigned int base)
{
    char digits[24];
    int count = 0;

    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    while (count && line->length < sizeof(line->text) - 1)
        line->text[line->length++] = digits[--count];
}

void put_number(struct line *line, long value)
{
    if (value < 0)
        put(line, "-");
    put_digits(line, value < 0 ? -(unsigned long)value : (unsigned long)value, 10);
}

void put_hex(struct line *line, unsigned long value)
{
    put(line, "0x");
    put_digits(line, value, 16);
}

void print(struct line *line)
{
    line->text[line->length++] = '\n';
    CALL(__NR_write, 1, line->text, line->length);
    line->length = 0;
}

/* The compiler calls these by name. */
void *memset(void *to, int value, size_t count)
{
    asm volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
    return to;
}

void *memcpy(void *to, const void *from, size_t count)
{
    void *at = to;

    asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(count) : : "memory");
    return to;
}
