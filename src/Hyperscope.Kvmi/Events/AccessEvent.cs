using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>A page fault with everything there is to know about the access. Where it is enabled it comes instead of
/// <see cref="PageFaultEvent"/>, and its reply may carry <see cref="PageFaultReply"/>.</summary>
/// <remarks>152 bytes; rip is at the instruction. An extension of v9. Source: protocol.md.</remarks>
[StructLayout(LayoutKind.Sequential)]
public struct AccessEvent : IEvent<AccessEvent, PageFaultReply>
{
    private const byte NewKnown = 1, Watch = 2;

    /// <summary>Linear address of the first byte, or <see cref="Vm.Gva.Unknown"/>.</summary>
    public Gva Gva;

    /// <summary>Physical address of the first byte.</summary>
    public Gpa Gpa;

    /// <summary>Exactly one of read, write, execute.</summary>
    public PageAccess Access;

    private byte _flags;

    /// <summary>The view of the vCPU.</summary>
    public ushort View;

    /// <summary>Bytes of the access, all on one page: an access across pages is one event for each. Of an instruction, its length, or 1
    /// where the page cannot be executed at all.</summary>
    public ushort Size;

    private readonly ushort _padding;

    /// <summary>The first bytes as they are in memory, 64 at most.</summary>
    public AccessData Current;

    /// <summary>Of a write, the first bytes that it would store, 64 at most; see <see cref="IsNewKnown"/>.</summary>
    public AccessData New;

    /// <inheritdoc/>
    public static EventId Id => EventId.Access;

    /// <inheritdoc/>
    public static EventActions Accepts => EventActions.Continue | EventActions.Retry | EventActions.Crash;

    /// <summary><see cref="New"/> is filled. A few instructions that store in several steps check the whole range first.</summary>
    public bool IsNewKnown
    {
        readonly get => (_flags & NewKnown) != 0;
        set => _flags = (byte)(value ? _flags | NewKnown : _flags & ~NewKnown);
    }

    /// <summary>The rights of the page allow the access; it touches watched bytes.</summary>
    public bool IsWatch
    {
        readonly get => (_flags & Watch) != 0;
        set => _flags = (byte)(value ? _flags | Watch : _flags & ~Watch);
    }

    /// <inheritdoc/>
    public readonly bool IsWellFormed => (_flags & ~(NewKnown | Watch)) == 0 && _padding == 0;
}

/// <summary>64 bytes.</summary>
[InlineArray(Size)]
[SuppressMessage("Performance", "CA1815", Justification = "a buffer, never compared")]
public struct AccessData
{
    /// <summary>Number of bytes.</summary>
    public const int Size = 64;

    private byte _element;
}
