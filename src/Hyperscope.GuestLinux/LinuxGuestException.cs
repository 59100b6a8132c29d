using System.Diagnostics.CodeAnalysis;

namespace Hyperscope.GuestLinux;

/// <summary>Guest memory does not hold what was looked for: no kernel, no such symbol or type, an address without memory, tables that
/// contradict themselves. The guest decides what its memory holds, so every method that reads it can throw this.</summary>
public class LinuxGuestException : Exception
{
    /// <summary>Names the thing, its value and the bound.</summary>
    public LinuxGuestException(string message)
        : base(message)
    {
    }

    /// <summary>The same, with what it came from.</summary>
    public LinuxGuestException(string message, Exception inner)
        : base(message, inner)
    {
    }
}

/// <summary>A virtual address of the guest that is not mapped or has no memory.</summary>
/// <param name="gva">The first byte that could not be read.</param>
/// <param name="length">Bytes that were wanted from there on.</param>
public sealed class GuestAddressException(Gva gva, long length)
    : LinuxGuestException($"{length} bytes at gva {gva} are not mapped or have no memory")
{
    /// <summary>The first byte that could not be read.</summary>
    public Gva Gva { get; } = gva;

    [DoesNotReturn]
    internal static void Throw(Gva gva, long length) => throw new GuestAddressException(gva, length);
}
