using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Asks for the protocol version and what the hypervisor half can do (C name KVMI_GET_VERSION).</summary>
/// <remarks>No request data. Always allowed, always succeeds. Source: kvmi-abi.md 2.5.1.</remarks>
public readonly struct GetVersion : ICommand<GetVersion, GetVersionReply>
{
    /// <inheritdoc/>
    public static MessageId Id => MessageId.GetVersion;

    /// <inheritdoc/>
    public static int WireSize => 0;

    /// <inheritdoc/>
    public bool IsWellFormed => true;
}

/// <summary>Reply data of <see cref="GetVersion"/> (C name <c>kvmi_get_version_reply</c>). 16 bytes.</summary>
/// <param name="version">Protocol version.</param>
/// <param name="features">What the hypervisor half can do.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct GetVersionReply(uint version, Features features)
{
    /// <summary>Protocol version, <see cref="KvmiConstants.Version"/>.</summary>
    public readonly uint Version = version;

    private readonly uint _padding;

    /// <summary>What the hypervisor half can do.</summary>
    public readonly Features Features = features;

    /// <summary>All padding is zero.</summary>
    public bool IsWellFormed => _padding == 0 && Features.IsWellFormed;
}

/// <summary>What the hypervisor half can do (C name <c>kvmi_features</c>). 8 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
public readonly struct Features
{
    private readonly byte _singlestep;
    private readonly Padding7 _padding;

    /// <summary>Notes what there is.</summary>
    /// <param name="singlestep">A vCPU can be single-stepped.</param>
    /// <param name="viewFunction">The guest can switch views; for dialects that have a place for it, zero in v9.</param>
    /// <param name="views">vCPUs can be in different views; likewise.</param>
    public Features(bool singlestep, bool viewFunction = false, bool views = false)
    {
        _singlestep = (byte)(singlestep ? 1 : 0);
        _padding[0] = (byte)(viewFunction ? 1 : 0);
        _padding[1] = (byte)(views ? 1 : 0);
    }

    /// <summary>A vCPU can be single-stepped.</summary>
    public bool Singlestep => _singlestep != 0;

    /// <summary>All padding is zero.</summary>
    public bool IsWellFormed => _singlestep <= 1 && _padding.IsZero;
}
