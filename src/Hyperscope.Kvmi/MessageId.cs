namespace Hyperscope.Kvmi;

/// <summary>The core message ids. Their values are those of v9; other dialects map theirs onto them.</summary>
/// <remarks>C names: the member with the prefix <c>KVMI_</c>, in capitals with underscores. Ids from
/// <see cref="KvmiConstants.FirstExtensionId"/> up are extensions. Source: kvmi-abi.md 2.1.</remarks>
public enum MessageId : ushort
{
    /// <summary>An event, or in the other direction the reply to one.</summary>
    Event = 0,

    /// <inheritdoc cref="Kvmi.GetVersion"/>
    GetVersion = 1,

    /// <inheritdoc cref="Kvmi.VmCheckCommand"/>
    VmCheckCommand = 2,

    /// <inheritdoc cref="Kvmi.VmCheckEvent"/>
    VmCheckEvent = 3,

    /// <inheritdoc cref="Kvmi.VmGetInfo"/>
    VmGetInfo = 4,

    /// <inheritdoc cref="Kvmi.VmControlEvents"/>
    VmControlEvents = 5,

    /// <inheritdoc cref="Kvmi.VmReadPhysical"/>
    VmReadPhysical = 6,

    /// <inheritdoc cref="Kvmi.VmWritePhysical"/>
    VmWritePhysical = 7,

    /// <inheritdoc cref="Kvmi.VcpuGetInfo"/>
    VcpuGetInfo = 8,

    /// <inheritdoc cref="Kvmi.VcpuPause"/>
    VcpuPause = 9,

    /// <inheritdoc cref="Kvmi.VcpuControlEvents"/>
    VcpuControlEvents = 10,

    /// <inheritdoc cref="Kvmi.VcpuGetRegisters"/>
    VcpuGetRegisters = 11,

    /// <inheritdoc cref="Kvmi.VcpuSetRegisters"/>
    VcpuSetRegisters = 12,

    /// <inheritdoc cref="Kvmi.VcpuGetCpuid"/>
    VcpuGetCpuid = 13,

    /// <inheritdoc cref="Kvmi.VmControlCleanup"/>
    VmControlCleanup = 14,

    /// <inheritdoc cref="Kvmi.VcpuControlCr"/>
    VcpuControlCr = 15,

    /// <inheritdoc cref="Kvmi.VcpuInjectException"/>
    VcpuInjectException = 16,

    /// <inheritdoc cref="Kvmi.VmGetMaxGfn"/>
    VmGetMaxGfn = 17,

    /// <inheritdoc cref="Kvmi.VcpuGetXcr"/>
    VcpuGetXcr = 18,

    /// <inheritdoc cref="Kvmi.VcpuGetXsave"/>
    VcpuGetXsave = 19,

    /// <inheritdoc cref="Kvmi.VcpuSetXsave"/>
    VcpuSetXsave = 20,

    /// <inheritdoc cref="Kvmi.VcpuGetMtrrType"/>
    VcpuGetMtrrType = 21,

    /// <inheritdoc cref="Kvmi.VcpuControlMsr"/>
    VcpuControlMsr = 22,

    /// <inheritdoc cref="Kvmi.VmSetPageAccess"/>
    VmSetPageAccess = 23,

    /// <inheritdoc cref="Kvmi.VcpuControlSinglestep"/>
    VcpuControlSinglestep = 24,

    /// <inheritdoc cref="Kvmi.VcpuTranslateGva"/>
    VcpuTranslateGva = 25,

    /// <inheritdoc cref="Kvmi.VmSetWatches"/>
    VmSetWatches = KvmiConstants.FirstExtensionId,

    /// <inheritdoc cref="Kvmi.VmGetWatchInfo"/>
    VmGetWatchInfo = KvmiConstants.FirstExtensionId + 1,
}
