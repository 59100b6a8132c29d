namespace Hyperscope.GuestLinux;

/// <summary>Which events of a guest are wanted.</summary>
public sealed record GuestEventOptions
{
    /// <summary>Kinds; system calls and files only come if <see cref="Syscalls"/> and <see cref="OpenPrefixes"/> name some.</summary>
    public GuestEventKinds Kinds { get; init; } = GuestEventKinds.Created | GuestEventKinds.Executed | GuestEventKinds.Exited
        | GuestEventKinds.ModuleLoaded | GuestEventKinds.ModuleUnloaded | GuestEventKinds.SyscallEntered | GuestEventKinds.FileOpened;

    /// <summary>System calls by name, such as <c>openat</c>, or by number; <c>all</c> for all of them.</summary>
    public IReadOnlyList<string> Syscalls { get; init; } = [];

    /// <summary>Files whose path starts with one of these.</summary>
    public IReadOnlyList<string> OpenPrefixes { get; init; } = [];

    /// <summary>Only what this process or thread does; null: all. A process is its own child's parent, so its creation counts as well.</summary>
    public int? Pid { get; init; }

    /// <summary>Only what tasks of this name do; null: all.</summary>
    public string? Comm { get; init; }

    /// <summary>Events that may wait to be read. Above, they are counted in <see cref="GuestWatch.Dropped"/>: the guest does not
    /// wait for a slow reader.</summary>
    public int Capacity { get; init; } = 65536;

    /// <summary>Patch a byte of each function even where the VM could watch it.</summary>
    public bool PatchText { get; init; }
}
