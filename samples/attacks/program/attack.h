/* SPDX-License-Identifier: MIT */
#ifndef ATTACK_H
#define ATTACK_H

#include "guest.h"

/* What hijacked code returns, as in the module. */
#define ATTACK_MAGIC 0x5ca1ab1eL

enum outcome { SUCCESS, BLOCKED, FAILED };

/* One attack: strikes, looks whether the effect is there, says so in the line, and takes it back unless asked to keep it. */
struct attack {
    const char *name;
    enum outcome (*run)(struct line *line);
    const char *what;
};

extern const struct attack kernel_attacks[], program_attacks[];
extern bool keep; /* leave the effect in place */

/* main.c */
long strike(const char *name, const unsigned long *argument, unsigned long *answer); /* through /proc/attack; 0 or an error */
void undo(const char *name);
enum outcome judge(struct line *line, long error); /* of an error of strike(): an attack that did not hold, or could not be tried */
long wait_for(long pid); /* wait status */

#endif
