using Hyperscope.LinuxHost;

namespace Hyperscope.Vm;

/// <summary>A range of guest-physical addresses backed by host memory.</summary>
/// <remarks>The slot keeps its mapping referenced until it is removed, because vCPUs go on using the address.</remarks>
public sealed class MemorySlot
{
    private readonly MemoryMapping _mapping;
    private readonly SharedMemory _file;
    private readonly bool _referenced;

    internal MemorySlot(Gfn first, ulong frames, SharedMemory file, bool isReadOnly)
    {
        MemoryMapping mapping = file.Map(first.Address.Value, frames << Gfn.PageShift);
        _file = file;
        First = first;
        Frames = frames;
        IsReadOnly = isReadOnly;
        _mapping = mapping;
        mapping.DangerousAddRef(ref _referenced);
        HostAddress = mapping.Address;
    }

    /// <summary>First frame.</summary>
    public Gfn First { get; }

    /// <summary>Number of frames.</summary>
    public ulong Frames { get; }

    /// <summary>The guest cannot write here (firmware); guest writes are dropped.</summary>
    public bool IsReadOnly { get; }

    /// <summary>First frame behind the slot.</summary>
    public Gfn End => new(First.Value + Frames);

    /// <summary>Where frame <see cref="First"/> is in this process.</summary>
    public nint HostAddress { get; }

    /// <summary>True if the frame lies in this slot.</summary>
    public bool Contains(Gfn gfn) => gfn.Value - First.Value < Frames;

    /// <summary>Maps the same memory once more, for a back end that restricts what the guest sees of it. The caller disposes it.</summary>
    /// <exception cref="LinuxException">mmap failed.</exception>
    public MemoryMapping MapAgain() => _file.Map(First.Address.Value, Frames << Gfn.PageShift);

    internal void Release()
    {
        if (_referenced)
            _mapping.DangerousRelease();
        _mapping.Dispose();
    }

    /// <inheritdoc/>
    public override string ToString() => $"{First.Address}..{new Gpa((End.Value << Gfn.PageShift) - 1)}{(IsReadOnly ? " read-only" : "")}";
}
