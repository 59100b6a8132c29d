/*
 * A stand-in for libvirt, just large enough for LibVMI's KVM driver: it knows one domain, which it says is whatever name was asked for.
 * LibVMI opens libvirt only to look its VM up; everything about the guest it learns over the introspection socket.
 *
 *   gcc -shared -fPIC -o libvirt.so.0 libvirt-standin.c
 *   ln -s libvirt.so.0 libvirt.so; ln -s libvirt.so.0 libvirt-qemu.so; ln -s libvirt.so.0 libvirt-qemu.so.0
 *   LD_LIBRARY_PATH=$PWD vmi-process-list -n guest -s /tmp/introspector
 *
 * HYPERSCOPE_MEMORY_KIB is what virDomainGetInfo reports, 524288 unless given; the structures follow libvirt's public interface.
 */
#include <stdlib.h>
#include <string.h>

struct domain_info {
    unsigned char state;
    unsigned long max_memory_kib;
    unsigned long memory_kib;
    unsigned short vcpus;
    unsigned long long cpu_time_ns;
};

enum { DOMAIN_RUNNING = 1, DOMAIN_ID = 1 };

static char connection, domain, authentication;
static char domain_name[256] = "guest";

void *virConnectAuthPtrDefault = &authentication;

void *virConnectOpenAuth(const char *uri, void *auth, unsigned int flags)
{
    (void)uri, (void)auth, (void)flags;
    return &connection;
}

int virConnectClose(void *connect)
{
    (void)connect;
    return 0;
}

int virConnectGetLibVersion(void *connect, unsigned long *version)
{
    (void)connect;
    *version = 9000000;
    return 0;
}

void *virDomainLookupByName(void *connect, const char *name)
{
    (void)connect;
    strncpy(domain_name, name, sizeof(domain_name) - 1);
    return &domain;
}

void *virDomainLookupByID(void *connect, int id)
{
    (void)connect;
    return id == DOMAIN_ID ? &domain : NULL;
}

const char *virDomainGetName(void *dom)
{
    (void)dom;
    return domain_name;
}

unsigned int virDomainGetID(void *dom)
{
    (void)dom;
    return DOMAIN_ID;
}

int virDomainGetInfo(void *dom, struct domain_info *info)
{
    const char *memory = getenv("HYPERSCOPE_MEMORY_KIB");

    (void)dom;
    memset(info, 0, sizeof(*info));
    info->state = DOMAIN_RUNNING;
    info->max_memory_kib = info->memory_kib = memory ? strtoul(memory, NULL, 10) : 524288;
    info->vcpus = 1;
    return 0;
}

int virDomainFree(void *dom)
{
    (void)dom;
    return 0;
}

/* Suspending is done over the introspection socket; there is nothing to do here. */
int virDomainSuspend(void *dom)
{
    (void)dom;
    return 0;
}

int virDomainResume(void *dom)
{
    (void)dom;
    return 0;
}

int virDomainQemuMonitorCommand(void *dom, const char *command, char **result, unsigned int flags)
{
    (void)dom, (void)command, (void)flags;
    *result = NULL;
    return -1;
}
