/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* A vector that no device and no part of the kernel uses on a small machine. */
#define ATTACK_VECTOR 0xd7
