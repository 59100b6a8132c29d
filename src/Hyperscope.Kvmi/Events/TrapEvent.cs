using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>What became of an injected exception (C name KVMI_EVENT_TRAP).</summary>
/// <remarks>16 bytes. Source: kvmi-abi.md 2.6.5, 4.7.</remarks>
/// <param name="vector">Vector really delivered.</param>
/// <param name="errorCode">Its error code, or 0.</param>
/// <param name="address">CR2 at that moment.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct TrapEvent(byte vector, uint errorCode, ulong address) : IEvent<TrapEvent>
{
    /// <summary>Vector really delivered.</summary>
    public readonly byte Vector = vector;

    private readonly byte _padding1;
    private readonly ushort _padding2;

    /// <summary>Its error code, or 0.</summary>
    public readonly uint ErrorCode = errorCode;

    /// <summary>CR2 at that moment.</summary>
    public readonly ulong Address = address;

    /// <inheritdoc/>
    public static EventId Id => EventId.Trap;

    /// <inheritdoc/>
    public static EventActions Accepts => EventActions.Continue | EventActions.Crash;

    /// <inheritdoc/>
    public bool IsWellFormed => (_padding1 | _padding2) == 0;
}
