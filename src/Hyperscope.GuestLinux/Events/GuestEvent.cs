namespace Hyperscope.GuestLinux;

/// <summary>Kinds of things that happen in a guest.</summary>
[Flags]
public enum GuestEventKinds
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>A process or thread was made.</summary>
    Created = 1,

    /// <summary>A process runs another program from here on.</summary>
    Executed = 2,

    /// <summary>A process or thread ends.</summary>
    Exited = 4,

    /// <summary>A system call starts.</summary>
    SyscallEntered = 8,

    /// <summary>A module is in place; its own code runs next.</summary>
    ModuleLoaded = 16,

    /// <summary>A module goes away.</summary>
    ModuleUnloaded = 32,

    /// <summary>A file is opened.</summary>
    FileOpened = 64,
}

/// <summary>A task of the guest, as it was at an event.</summary>
/// <param name="Pid">The thread's number.</param>
/// <param name="Tgid">The process's number.</param>
/// <param name="Comm">Its name, up to 15 characters.</param>
/// <param name="Task">Its <c>struct task_struct</c>.</param>
public sealed record EventTask(int Pid, int Tgid, string Comm, Gva Task)
{
    /// <summary>It is no process's first thread.</summary>
    public bool IsThread => Pid != Tgid;
}

/// <summary>When, where and in whom something happened.</summary>
/// <param name="Time">When the event reached the tool.</param>
/// <param name="Vcpu">The vCPU that executed it.</param>
/// <param name="By">The task that it executed.</param>
public sealed record EventOrigin(DateTimeOffset Time, VcpuIndex Vcpu, EventTask By);

/// <summary>Something that happened in a guest.</summary>
/// <param name="Origin">When, where and in whom.</param>
public abstract record GuestEvent(EventOrigin Origin)
{
    /// <summary>What kind it is of: exactly one.</summary>
    public abstract GuestEventKinds Kind { get; }

    /// <summary>What happened, in one line without its origin.</summary>
    public abstract string Summary { get; }
}

/// <summary>A process or thread was made, and has not run yet.</summary>
/// <param name="Origin">Its parent.</param>
/// <param name="Child">The new one.</param>
public sealed record TaskCreated(EventOrigin Origin, EventTask Child) : GuestEvent(Origin)
{
    /// <inheritdoc/>
    public override GuestEventKinds Kind => GuestEventKinds.Created;

    /// <inheritdoc/>
    public override string Summary => Child.IsThread ? $"thread {Child.Pid} of {Child.Tgid}" : $"process {Child.Pid}";
}

/// <summary>A process runs another program from here on; not an instruction of it was executed yet.</summary>
/// <param name="Origin">The process, under its new name.</param>
/// <param name="Path">As it was given to execve.</param>
/// <param name="Interpreter">What is really run, if it is a script; the same as <paramref name="Path"/> otherwise.</param>
/// <param name="Arguments">From argv[0] on; what does not fit in <see cref="MaxArgumentBytes"/> is missing.</param>
public sealed record ProgramExecuted(EventOrigin Origin, string Path, string Interpreter, IReadOnlyList<string> Arguments) : GuestEvent(Origin)
{
    /// <summary>Bytes of arguments that are read.</summary>
    public const int MaxArgumentBytes = 4096;

    /// <inheritdoc/>
    public override GuestEventKinds Kind => GuestEventKinds.Executed;

    /// <inheritdoc/>
    public override string Summary => Arguments.Count > 1 ? $"{Path} ({string.Join(' ', Arguments)})" : Path;
}

/// <summary>A process or thread ends.</summary>
/// <param name="Origin">The one that ends.</param>
/// <param name="Status">What it gave to exit.</param>
/// <param name="Signal">The signal that ended it; 0 if it ended on its own.</param>
public sealed record TaskExited(EventOrigin Origin, int Status, int Signal) : GuestEvent(Origin)
{
    /// <inheritdoc/>
    public override GuestEventKinds Kind => GuestEventKinds.Exited;

    /// <inheritdoc/>
    public override string Summary => Signal != 0 ? $"by signal {Signal}" : $"status {Status}";
}

/// <summary>A system call starts.</summary>
/// <param name="Origin">Who calls.</param>
/// <param name="Number">Its number.</param>
/// <param name="Name">Its name.</param>
/// <param name="Arguments">All of them.</param>
public sealed record SyscallEntered(EventOrigin Origin, int Number, string Name, IReadOnlyList<SyscallArgument> Arguments) : GuestEvent(Origin)
{
    /// <inheritdoc/>
    public override GuestEventKinds Kind => GuestEventKinds.SyscallEntered;

    /// <summary>It came by the door for 32-bit programs, whose numbers are others.</summary>
    public bool Is32Bit { get; init; }

    /// <inheritdoc/>
    public override string Summary => $"{Name}({string.Join(", ", Arguments)}){(Is32Bit ? " 32-bit" : "")}";
}

/// <summary>An argument of a system call.</summary>
/// <param name="Name">As the kernel names it, such as <c>filename</c>.</param>
/// <param name="Type">As the kernel declares it, such as <c>const char *</c>; empty if it does not say.</param>
/// <param name="Value">As it was passed.</param>
/// <param name="Text">The value by its type: a number, or an escaped string in quotes; an address if that string is not in memory.</param>
public sealed record SyscallArgument(string Name, string Type, ulong Value, string Text)
{
    /// <inheritdoc/>
    public override string ToString() => $"{Name}={Text}";
}

/// <summary>A module is in place; its own code runs next.</summary>
/// <param name="Origin">Who loads it.</param>
/// <param name="Name">Its name.</param>
/// <param name="Module">Its <c>struct module</c>.</param>
public sealed record ModuleLoaded(EventOrigin Origin, string Name, Gva Module) : GuestEvent(Origin)
{
    /// <inheritdoc/>
    public override GuestEventKinds Kind => GuestEventKinds.ModuleLoaded;

    /// <inheritdoc/>
    public override string Summary => $"{Name} loaded";
}

/// <summary>A module goes away: its own code does not run any more.</summary>
/// <param name="Origin">Who unloads it.</param>
/// <param name="Name">Its name.</param>
/// <param name="Module">Its <c>struct module</c>.</param>
public sealed record ModuleUnloaded(EventOrigin Origin, string Name, Gva Module) : GuestEvent(Origin)
{
    /// <inheritdoc/>
    public override GuestEventKinds Kind => GuestEventKinds.ModuleUnloaded;

    /// <inheritdoc/>
    public override string Summary => $"{Name} unloaded";
}

/// <summary>A file is opened: it was found and the rights suffice.</summary>
/// <param name="Origin">Who opens it.</param>
/// <param name="Path">Where it really is, links resolved.</param>
/// <param name="Flags">As given to open, such as O_RDWR.</param>
public sealed record FileOpened(EventOrigin Origin, string Path, uint Flags) : GuestEvent(Origin)
{
    private const uint Create = 0x40, Truncate = 0x200, Append = 0x400;

    /// <inheritdoc/>
    public override GuestEventKinds Kind => GuestEventKinds.FileOpened;

    /// <summary>How it will be used: <c>r</c>, <c>w</c>, <c>rw</c>, with <c>+create</c> and so on.</summary>
    public string Mode => ((Flags & 3) switch { 0 => "r", 1 => "w", _ => "rw" })
        + ((Flags & Create) != 0 ? "+create" : "") + ((Flags & Truncate) != 0 ? "+truncate" : "") + ((Flags & Append) != 0 ? "+append" : "");

    /// <inheritdoc/>
    public override string Summary => $"{Path} {Mode}";
}
