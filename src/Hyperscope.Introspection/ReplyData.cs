using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hyperscope.Introspection;

/// <summary>Where a handler puts its reply: behind the error block of the message that will be sent.</summary>
/// <param name="space">Room for the largest legal reply.</param>
internal ref struct ReplyData(Span<byte> space)
{
    /// <summary>Room for the largest legal reply.</summary>
    public readonly Span<byte> Space = space;

    /// <summary>Bytes used.</summary>
    public int Length { get; private set; }

    /// <summary>The reply is this structure.</summary>
    public void Set<T>(in T value)
        where T : unmanaged
    {
        MemoryMarshal.Write(Space, value);
        Length = Unsafe.SizeOf<T>();
    }

    /// <summary>The reply is the first bytes of <see cref="Space"/>.</summary>
    public Span<byte> Take(int length)
    {
        Length = length;
        return Space[..length];
    }
}
