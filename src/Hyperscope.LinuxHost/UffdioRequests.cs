using System.Runtime.InteropServices;
using static Hyperscope.LinuxHost.IoctlDirection;

namespace Hyperscope.LinuxHost;

/// <summary>The requests of linux/userfaultfd.h that are used here, named as there.</summary>
internal static class UffdioRequests
{
    public const byte WriteProtectNumber = 0x06;

    private const byte Uffdio = 0xAA;

    public static readonly IoctlRequest<UffdioRegister> Register = new(ReadWrite, Uffdio, 0x00);
    public static readonly IoctlRequest<UffdioRange> Unregister = new(Read, Uffdio, 0x01); // the direction is the header's
    public static readonly IoctlRequest<UffdioWriteProtect> WriteProtect = new(ReadWrite, Uffdio, WriteProtectNumber);
    public static readonly IoctlRequest<UffdioApi> Api = new(ReadWrite, Uffdio, 0x3F);
}

/// <summary>uffdio_api. 24 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UffdioApi
{
    public const ulong Version = 0xAA, Sigbus = 1 << 7, WriteProtectShared = 1 << 12;

    public ulong Api, Features, Ioctls;
}

/// <summary>uffdio_range. 16 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UffdioRange
{
    public ulong Start, Length;
}

/// <summary>uffdio_register. 32 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UffdioRegister
{
    public const ulong WriteProtect = 1 << 1;

    public UffdioRange Range;
    public ulong Mode, Ioctls;
}

/// <summary>uffdio_writeprotect. 24 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UffdioWriteProtect
{
    public const ulong Deny = 1;

    public UffdioRange Range;
    public ulong Mode;
}
