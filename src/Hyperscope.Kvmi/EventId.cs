namespace Hyperscope.Kvmi;

/// <summary>The core event ids, with the values of v9. C names: the member with the prefix <c>KVMI_EVENT_</c>.</summary>
/// <remarks>Source: kvmi-abi.md 2.2.</remarks>
public enum EventId : ushort
{
    /// <inheritdoc cref="UnhookEvent"/>
    Unhook = 0,

    /// <inheritdoc cref="PauseVcpuEvent"/>
    PauseVcpu = 1,

    /// <inheritdoc cref="HypercallEvent"/>
    Hypercall = 2,

    /// <inheritdoc cref="BreakpointEvent"/>
    Breakpoint = 3,

    /// <inheritdoc cref="CrEvent"/>
    Cr = 4,

    /// <inheritdoc cref="TrapEvent"/>
    Trap = 5,

    /// <inheritdoc cref="XsetbvEvent"/>
    Xsetbv = 6,

    /// <inheritdoc cref="DescriptorEvent"/>
    Descriptor = 7,

    /// <inheritdoc cref="MsrEvent"/>
    Msr = 8,

    /// <inheritdoc cref="PageFaultEvent"/>
    PageFault = 9,

    /// <inheritdoc cref="SinglestepEvent"/>
    Singlestep = 10,

    /// <inheritdoc cref="CpuidEvent"/>
    Cpuid = KvmiConstants.FirstExtensionId,

    /// <inheritdoc cref="CreateVcpuEvent"/>
    CreateVcpu = KvmiConstants.FirstExtensionId + 1,

    /// <inheritdoc cref="AccessEvent"/>
    Access = KvmiConstants.FirstExtensionId + 2,
}
