// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The module half of the attack lab. It makes /proc/attack, which anyone may open (that is the hole in this driver):
 *     write "NAME [ARGUMENT]"   strikes; the error is the result
 *     write "undo NAME"         takes it back
 *     read                      eight bytes: what the last strike on this file answered
 */
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "attack.h"

static const struct verb *const groups[] = { table_verbs, object_verbs, register_verbs };

static const struct verb *find(const char *name)
{
    const struct verb *verb;
    size_t group;

    for (group = 0; group < ARRAY_SIZE(groups); group++)
        for (verb = groups[group]; verb->name; verb++)
            if (!strcmp(verb->name, name))
                return verb;
    return NULL;
}

static int control_open(struct inode *inode, struct file *file)
{
    file->private_data = kzalloc(sizeof(u64), GFP_KERNEL);
    return file->private_data ? 0 : -ENOMEM;
}

static int control_release(struct inode *inode, struct file *file)
{
    kfree(file->private_data);
    return 0;
}

static ssize_t control_read(struct file *file, char __user *to, size_t length, loff_t *position)
{
    if (length < sizeof(u64))
        return -EINVAL;
    return copy_to_user(to, file->private_data, sizeof(u64)) ? -EFAULT : sizeof(u64);
}

static ssize_t control_write(struct file *file, const char __user *from, size_t length, loff_t *position)
{
    char line[64], *rest = line, *word;
    const struct verb *verb;
    u64 argument = 0;
    int result;

    if (length >= sizeof(line))
        return -EINVAL;
    if (copy_from_user(line, from, length))
        return -EFAULT;
    line[length] = 0;
    word = strsep(&rest, " ");
    if (!strcmp(word, "undo")) {
        verb = rest ? find(rest) : NULL;
        result = !verb ? -ENOENT : verb->undo ? verb->undo() : 0;
        return result ? result : length;
    }
    if (!strcmp(word, "symbol")) {
        *(u64 *)file->private_data = rest ? symbol(rest) : 0;
        return length;
    }
    verb = find(word);
    if (!verb)
        return -ENOENT;
    if (rest && kstrtou64(rest, 0, &argument))
        return -EINVAL;
    result = verb->strike(argument, file->private_data);
    return result ? result : length;
}

static const struct proc_ops control = {
    .proc_open = control_open,
    .proc_release = control_release,
    .proc_read = control_read,
    .proc_write = control_write,
    .proc_lseek = no_llseek,
};

static int __init attack_init(void)
{
    return proc_create("attack", 0666, NULL, &control) ? 0 : -ENOMEM;
}

static void __exit attack_exit(void)
{
    const struct verb *verb;
    size_t group;

    remove_proc_entry("attack", NULL);
    for (group = 0; group < ARRAY_SIZE(groups); group++)
        for (verb = groups[group]; verb->name; verb++)
            if (verb->undo)
                verb->undo();
}

module_init(attack_init);
module_exit(attack_exit);
MODULE_DESCRIPTION("What a rootkit does, one step at a time, to test guards with");
MODULE_LICENSE("Dual MIT/GPL");
