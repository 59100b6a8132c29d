using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Reply data of <see cref="AccessEvent"/>, and of a page fault in dialects that have it (C name <c>kvmi_event_pf_reply</c>). 272
/// bytes; what is missing counts as zero.</summary>
/// <remarks>Sources: kvmi-dialect-libkvmi.md 5, protocol.md.</remarks>
[StructLayout(LayoutKind.Sequential)]
public struct PageFaultReply
{
    /// <summary>Bytes on the wire.</summary>
    public const int WireSize = 272;

    /// <summary>Bytes of <see cref="Data"/>.</summary>
    public const int MaxDataSize = 256;

    /// <summary>Linear address of the first byte of <see cref="Data"/>.</summary>
    public Gva DataAddress;

    /// <summary>Bytes of <see cref="Data"/> that the read sees instead of memory, or (<see cref="AccessEvent"/> only) that are fetched or
    /// written instead; 0: none.</summary>
    public uint DataSize;

    private byte _singlestep;
    private byte _completesRepeat;
    private byte _discards;
    private readonly byte _padding;

    /// <summary>What the access sees or stores.</summary>
    public PageFaultData Data;

    /// <summary>Asks for one step under relaxed rights, which CONTINUE does here without being asked.</summary>
    public bool Singlestep
    {
        readonly get => _singlestep != 0;
        set => _singlestep = (byte)(value ? 1 : 0);
    }

    /// <summary>A write does not reach memory, and the instruction goes on as if it had. <see cref="AccessEvent"/> only.</summary>
    public bool Discards
    {
        readonly get => _discards != 0;
        set => _discards = (byte)(value ? 1 : 0);
    }

    /// <summary>The rest of a repeated string instruction raises no event for this kind of access.</summary>
    public bool CompletesRepeat
    {
        readonly get => _completesRepeat != 0;
        set => _completesRepeat = (byte)(value ? 1 : 0);
    }
}

/// <summary>256 bytes.</summary>
[InlineArray(PageFaultReply.MaxDataSize)]
[SuppressMessage("Performance", "CA1815", Justification = "a buffer, never compared")]
public struct PageFaultData
{
    private byte _element;
}
