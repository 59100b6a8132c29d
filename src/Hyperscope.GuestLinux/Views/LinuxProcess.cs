namespace Hyperscope.GuestLinux;

/// <summary>Where a process was found.</summary>
[Flags]
public enum FoundIn
{
    /// <summary>Nowhere.</summary>
    None = 0,

    /// <summary>In the list of tasks.</summary>
    List = 1,

    /// <summary>In the index of pids.</summary>
    Index = 2,

    /// <summary>In both.</summary>
    Both = List | Index,
}

/// <summary>User and group ids and capabilities.</summary>
/// <param name="Uid">Real user.</param>
/// <param name="Gid">Real group.</param>
/// <param name="EffectiveUid">Effective user.</param>
/// <param name="EffectiveGid">Effective group.</param>
/// <param name="Capabilities">Effective capabilities, a bit each.</param>
public readonly record struct LinuxCredentials(uint Uid, uint Gid, uint EffectiveUid, uint EffectiveGid, ulong Capabilities);

/// <summary>The inode numbers of a process's namespaces, as <c>/proc/PID/ns</c> shows them; 0 where unknown.</summary>
public readonly record struct LinuxNamespaces(uint Mount, uint Pid, uint Net, uint Uts, uint Ipc, uint User, uint Cgroup);

/// <summary>A process or a thread.</summary>
public sealed record LinuxProcess
{
    /// <summary>Its <c>struct task_struct</c>.</summary>
    public required Gva Task { get; init; }

    /// <summary>The thread's number.</summary>
    public required int Pid { get; init; }

    /// <summary>The process's number.</summary>
    public required int Tgid { get; init; }

    /// <summary>The parent process's number; 0 if it has none.</summary>
    public required int ParentPid { get; init; }

    /// <summary>Its name, up to 15 characters.</summary>
    public required string Comm { get; init; }

    /// <summary>R running, S sleeping, D in uninterruptible sleep, T stopped, t traced, Z zombie, X dead, P parked, I idle.</summary>
    public required char State { get; init; }

    /// <summary>It runs in the kernel only.</summary>
    public required bool IsKernelThread { get; init; }

    /// <summary>Who it acts as.</summary>
    public required LinuxCredentials Credentials { get; init; }

    /// <summary>The <c>struct cred</c> they are in.</summary>
    public required Gva Cred { get; init; }

    /// <summary>Its <c>struct mm_struct</c>; 0 for kernel threads and zombies.</summary>
    public required Gva Mm { get; init; }

    /// <summary>Its <c>struct files_struct</c>; 0 for zombies.</summary>
    public required Gva Files { get; init; }

    /// <summary>Its namespaces.</summary>
    public required LinuxNamespaces Namespaces { get; init; }

    /// <summary>Threads of its process.</summary>
    public required int Threads { get; init; }

    /// <summary>When it started, from the guest's boot on.</summary>
    public required TimeSpan StartTime { get; init; }

    /// <summary>Where it was found: in the list of tasks, in the index of pids.</summary>
    public FoundIn Found { get; init; } = FoundIn.Both;

    /// <summary>It was found in one of the two only.</summary>
    public bool IsHidden => Found != FoundIn.Both;
}

/// <summary>A range of a process's memory.</summary>
/// <param name="Start">First byte.</param>
/// <param name="End">One past the last.</param>
/// <param name="Access">What the process may do with it.</param>
/// <param name="IsShared">Writes are seen by others.</param>
/// <param name="Offset">Where in the file it starts, in bytes.</param>
/// <param name="Device">The file's device, <c>major:minor</c> in hex.</param>
/// <param name="Inode">The file's number; 0 if there is no file.</param>
/// <param name="Name">The file's path, or a name such as <c>[heap]</c>; may be empty.</param>
public sealed record LinuxMapping(
    Gva Start, Gva End, PageAccess Access, bool IsShared, ulong Offset, string Device, ulong Inode, string Name);

/// <summary>An open file of a process.</summary>
/// <param name="Descriptor">Its number.</param>
/// <param name="File">Its <c>struct file</c>.</param>
/// <param name="Path">Its path, or what it is: <c>socket:[123]</c>.</param>
/// <param name="Flags">As given to open, such as O_RDWR.</param>
/// <param name="Position">Where it is read next.</param>
/// <param name="Inode">The file's number.</param>
public sealed record LinuxFile(int Descriptor, Gva File, string Path, uint Flags, ulong Position, ulong Inode);
