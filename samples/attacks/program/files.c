// SPDX-License-Identifier: MIT
#include "guest.h"

long read_all(const char *path, char *to, size_t size)
{
    long file = CALL(__NR_open, path, O_RDONLY), length;

    if (file < 0)
        return file;
    length = CALL(__NR_read, file, to, size - 1);
    CALL(__NR_close, file);
    to[length < 0 ? 0 : length] = 0;
    return length;
}

/* Goes through a file line by line until the function says that it is enough. Lines are cut at 256 bytes. */
static void each_line(const char *path, bool (*function)(const char *line, void *state), void *state)
{
    static char buffer[16384];
    char line[256];
    size_t length = 0;
    long file = CALL(__NR_open, path, O_RDONLY), count, at;

    if (file < 0)
        return;
    while ((count = CALL(__NR_read, file, buffer, sizeof(buffer))) > 0) {
        for (at = 0; at < count; at++) {
            if (buffer[at] != '\n') {
                if (length < sizeof(line) - 1)
                    line[length++] = buffer[at];
                continue;
            }
            line[length] = 0;
            length = 0;
            if (function(line, state)) {
                CALL(__NR_close, file);
                return;
            }
        }
    }
    CALL(__NR_close, file);
}

struct search {
    const char *wanted;
    unsigned long found;
};

static bool starts(const char *line, void *state)
{
    struct search *search = state;

    search->found = starts_with(line, search->wanted);
    return search->found;
}

bool file_has_line_starting(const char *path, const char *start)
{
    struct search search = { start, 0 };

    each_line(path, starts, &search);
    return search.found;
}

/* ffffffff81162940 T kallsyms_lookup_name */
static bool names(const char *line, void *state)
{
    struct search *search = state;

    if (length_of(line) < 20 || !equal(line + 19, search->wanted))
        return false;
    search->found = parse_hex(line);
    return true;
}

long find_symbol(const char *name)
{
    struct search search = { name, 0 };

    each_line("/proc/kallsyms", names, &search);
    return search.found;
}

struct entry {
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[];
};

bool directory_has(const char *path, const char *name)
{
    static char buffer[4096];
    long directory = CALL(__NR_open, path, O_RDONLY | O_DIRECTORY), count, at;
    bool found = false;

    while ((count = CALL(__NR_getdents64, directory, buffer, sizeof(buffer))) > 0) {
        for (at = 0; at < count; at += ((struct entry *)&buffer[at])->length)
            found |= equal(((struct entry *)&buffer[at])->name, name);
    }
    CALL(__NR_close, directory);
    return found;
}

long write_file(const char *path, const char *text, int mode)
{
    long file = CALL(__NR_open, path, O_WRONLY | O_CREAT | O_TRUNC, mode), result;

    if (file < 0)
        return file;
    result = CALL(__NR_write, file, text, length_of(text));
    CALL(__NR_close, file);
    return result;
}
