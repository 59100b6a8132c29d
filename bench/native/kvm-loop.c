/* The least KVM program that runs the loop of Hyperscope.Compare's BareGuest, for comparison: for each line of input it runs the loop once and
   prints nanoseconds from KVM_RUN to HLT.
   Build: gcc -O2 -static -o kvm-loop bench/native/kvm-loop.c    Usage: kvm-loop ROUNDS */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

static const uint8_t loop[] = {
    0x48, 0xB9, 0, 0, 0, 0, 0, 0, 0, 0, 0x48, 0x01, 0xC8, 0x48, 0x89, 0x04, 0x25, 0x00, 0x60, 0x00, 0x00,
    0x48, 0x31, 0xC2, 0x48, 0x6B, 0xD2, 0x03, 0x48, 0xFF, 0xC9, 0x75, 0xE9, 0xF4,
};

int main(int argc, char **argv)
{
    enum { BYTES = 0x8000, TABLES = 0x1000, CODE = 0x4000 };
    uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000000;
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    uint8_t *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    *(uint64_t *)(memory + TABLES) = TABLES + 0x1003;
    *(uint64_t *)(memory + TABLES + 0x1000) = TABLES + 0x2003;
    *(uint64_t *)(memory + TABLES + 0x2000) = 0x83;
    memcpy(memory + CODE, loop, sizeof loop);
    memcpy(memory + CODE + 2, &rounds, 8);
    struct kvm_userspace_memory_region region = { .memory_size = BYTES, .userspace_addr = (uintptr_t)memory };
    ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
    int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    struct kvm_run *run = mmap(NULL, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    struct kvm_sregs sregs;
    ioctl(vcpu, KVM_GET_SREGS, &sregs);
    struct kvm_segment code = { .limit = 0xFFFFFFFF, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1 };
    struct kvm_segment data = { .limit = 0xFFFFFFFF, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1 };
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.cr0 = 0x80000011;
    sregs.cr3 = TABLES;
    sregs.cr4 = 0x20;
    sregs.efer = 0x500;
    struct kvm_regs regs = { .rip = CODE, .rsp = BYTES, .rflags = 2 };
    if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0)
        return perror("KVM_SET_SREGS"), 1;
    for (int key; (key = getchar()) != EOF;) {
        struct timespec start, end;
        if (key != '\n')
            continue;
        if (ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
            return perror("KVM_SET_REGS"), 1;
        clock_gettime(CLOCK_MONOTONIC, &start);
        do
            if (ioctl(vcpu, KVM_RUN, 0) < 0)
                return perror("KVM_RUN"), 1;
        while (run->exit_reason == KVM_EXIT_INTR);
        clock_gettime(CLOCK_MONOTONIC, &end);
        if (run->exit_reason != KVM_EXIT_HLT)
            return fprintf(stderr, "exit %u\n", run->exit_reason), 1;
        printf("%lld\n", (end.tv_sec - start.tv_sec) * 1000000000LL + end.tv_nsec - start.tv_nsec);
        fflush(stdout);
    }
    return 0;
}
