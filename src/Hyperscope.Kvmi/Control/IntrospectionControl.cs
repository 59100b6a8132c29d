using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Argument of KVM_INTROSPECTION_HOOK (C name <c>kvm_introspection_hook</c>). 24 bytes.</summary>
/// <remarks>Source: kvmi-abi.md 4.1.</remarks>
/// <param name="fd">Connected socket.</param>
/// <param name="uuid">The VM, in the byte order it is printed in; for diagnostics only.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct IntrospectionHook(int fd, UuidBytes uuid)
{
    /// <summary>Connected socket.</summary>
    public readonly int Fd = fd;

    private readonly uint _padding;

    /// <summary>The VM.</summary>
    public readonly UuidBytes Uuid = uuid;

    /// <summary>All padding is zero.</summary>
    public bool IsWellFormed => _padding == 0;
}

/// <summary>Argument of KVM_INTROSPECTION_COMMAND and _EVENT (C name <c>kvm_introspection_feature</c>). 8 bytes.</summary>
/// <param name="allow">1 allow, 0 disallow; anything else is refused.</param>
/// <param name="id">A message or event id, or -1 for all.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct IntrospectionFeature(uint allow, int id)
{
    /// <summary>1 allow, 0 disallow.</summary>
    public readonly uint Allow = allow;

    /// <summary>A message or event id, or -1 for all.</summary>
    public readonly int Id = id;
}

/// <summary>A UUID as 16 bytes in the order it is printed in.</summary>
[InlineArray(16)]
public struct UuidBytes
{
    private byte _element;

    /// <summary>The bytes of <paramref name="value"/> as it is printed.</summary>
    public static UuidBytes From(Guid value)
    {
        UuidBytes bytes = default;
        value.TryWriteBytes(bytes, bigEndian: true, out _);
        return bytes;
    }

    /// <summary>The UUID these bytes print.</summary>
    public readonly Guid ToGuid() => new(this, bigEndian: true);
}

/// <summary>Request numbers of the device manager's control calls.</summary>
public static class IntrospectionIoctl
{
    /// <summary>KVM_INTROSPECTION_HOOK.</summary>
    public const uint Hook = 0x4018AEC3;

    /// <summary>KVM_INTROSPECTION_UNHOOK.</summary>
    public const uint Unhook = 0x0000AEC4;

    /// <summary>KVM_INTROSPECTION_COMMAND.</summary>
    public const uint Command = 0x4008AEC5;

    /// <summary>KVM_INTROSPECTION_EVENT.</summary>
    public const uint Event = 0x4008AEC6;

    /// <summary>KVM_INTROSPECTION_PREUNHOOK.</summary>
    public const uint PreUnhook = 0x0000AEC7;
}
