using System.Runtime.CompilerServices;

namespace Hyperscope.Kvmi;

/// <summary>What is fixed about one kind of command.</summary>
/// <param name="Id">The id.</param>
/// <param name="HasVcpu">The request starts with a vCPU block.</param>
/// <param name="RequestSize">Bytes of the request's fixed part.</param>
/// <param name="ReplyDataSize">Bytes of the reply's fixed part, behind the error block.</param>
/// <param name="HasTail">The request goes on behind its fixed part.</param>
/// <param name="IsMandatory">Always allowed; the device manager cannot forbid it.</param>
public readonly record struct CommandInfo(
    MessageId Id, bool HasVcpu, int RequestSize, int ReplyDataSize, bool HasTail, bool IsMandatory);

/// <summary>The core commands. One row each; the facts come from the structs.</summary>
public static class CommandCatalog
{
    private static readonly CommandInfo[] Rows =
    [
        Row<GetVersion, GetVersionReply>(isMandatory: true),
        Row<VmCheckCommand>(isMandatory: true),
        Row<VmCheckEvent>(isMandatory: true),
        Row<VmGetInfo, VmGetInfoReply>(),
        Row<VmControlEvents>(),
        Row<VmReadPhysical>(),
        Row<VmWritePhysical>(),
        Row<VcpuGetInfo, VcpuGetInfoReply>(),
        Row<VcpuPause>(),
        Row<VcpuControlEvents>(),
        Row<VcpuGetRegisters, VcpuGetRegistersReply>(),
        Row<VcpuSetRegisters>(),
        Row<VcpuGetCpuid, CpuidResult>(),
        Row<VmControlCleanup>(),
        Row<VcpuControlCr>(),
        Row<VcpuInjectException>(),
        Row<VmGetMaxGfn, VmGetMaxGfnReply>(),
        Row<VcpuGetXcr, VcpuGetXcrReply>(),
        Row<VcpuGetXsave>(),
        Row<VcpuSetXsave>(),
        Row<VcpuGetMtrrType, VcpuGetMtrrTypeReply>(),
        Row<VcpuControlMsr>(),
        Row<VmSetPageAccess>(),
        Row<VcpuControlSinglestep>(),
        Row<VcpuTranslateGva, VcpuTranslateGvaReply>(),
    ];

    private static readonly CommandInfo[] ExtensionRows =
    [
        Row<VmSetWatches>(),
        Row<VmGetWatchInfo, VmGetWatchInfoReply>(),
    ];

    /// <summary>Commands beyond v9, in the order of ids from <see cref="KvmiConstants.FirstExtensionId"/> up.</summary>
    public static ReadOnlySpan<CommandInfo> Extensions => ExtensionRows;

    /// <summary>Every core command, in the order of ids from 1 up.</summary>
    public static ReadOnlySpan<CommandInfo> All => Rows;

    /// <summary>Finds a command; false if the id is unknown or <see cref="MessageId.Event"/>.</summary>
    public static bool TryGet(MessageId id, out CommandInfo info)
    {
        if ((uint)id - 1 < (uint)Rows.Length)
        {
            info = Rows[(int)id - 1];
            return true;
        }

        if ((uint)id - KvmiConstants.FirstExtensionId < (uint)ExtensionRows.Length)
        {
            info = ExtensionRows[(int)id - KvmiConstants.FirstExtensionId];
            return true;
        }

        info = default;
        return false;
    }

    private static CommandInfo Row<T>(bool isMandatory = false)
        where T : unmanaged, ICommand<T> =>
        new(T.Id, T.HasVcpu, T.WireSize, 0, T.HasTail, isMandatory);

    private static CommandInfo Row<T, TReply>(bool isMandatory = false)
        where T : unmanaged, ICommand<T, TReply>
        where TReply : unmanaged =>
        new(T.Id, T.HasVcpu, T.WireSize, Unsafe.SizeOf<TReply>(), T.HasTail, isMandatory);
}
