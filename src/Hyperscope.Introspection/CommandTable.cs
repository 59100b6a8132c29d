using System.Diagnostics.CodeAnalysis;

namespace Hyperscope.Introspection;

internal delegate KvmError VmHandler<T>(IntrospectionSession session, in T command);

internal delegate KvmError VmHandler<T, TReply>(IntrospectionSession session, in T command, out TReply reply);

internal delegate KvmError VmDataHandler<T>(IntrospectionSession session, in T command, ReadOnlySpan<byte> tail, ref ReplyData reply);

internal delegate KvmError VcpuHandler<T>(IntrospectedVcpu vcpu, in T command);

internal delegate KvmError VcpuHandler<T, TReply>(IntrospectedVcpu vcpu, in T command, out TReply reply);

internal delegate KvmError VcpuDataHandler<T>(IntrospectedVcpu vcpu, in T command, ReadOnlySpan<byte> tail, ref ReplyData reply);

/// <summary>Runs one command: checks what its struct can check, then the handler.</summary>
/// <exception cref="ProtocolException">The payload is short in a way that ends the connection.</exception>
internal delegate KvmError CommandBody(
    IntrospectionSession session, IntrospectedVcpu? vcpu, ReadOnlySpan<byte> payload, ref ReplyData reply);

/// <summary>One command as the engine knows it.</summary>
/// <param name="RunsOnVcpu">It is executed by the thread of the vCPU it names, after the checks of kvmi-abi.md 2.3.</param>
/// <param name="Body">What it does.</param>
internal sealed record CommandRow(bool RunsOnVcpu, CommandBody Body);

/// <summary>Which commands there are, where each runs and what it does. Adding one is a struct, a method and a row.</summary>
internal static class CommandTable
{
    private static readonly Dictionary<MessageId, CommandRow> Extensions = [];
    private static readonly CommandRow?[] Rows = new CommandRow?[KvmiConstants.MessageCount];

    static CommandTable()
    {
        OnReceiver<GetVersion, GetVersionReply>(static (session, in _, out reply) => session.GetVersion(out reply));
        OnReceiver<VmCheckCommand>(static (session, in command) => session.CheckCommand(command.Subject));
        OnReceiver<VmCheckEvent>(static (session, in command) => session.CheckEvent(command.Subject));
        OnReceiver<VmGetInfo, VmGetInfoReply>(static (session, in _, out reply) => session.GetInfo(out reply));
        OnReceiver<VmControlEvents>(static (session, in command) => session.ControlEvents(command.EventId, command.Enable));
        OnReceiverData<VmReadPhysical>(static (session, in command, _, ref reply) => session.ReadPhysical(command, ref reply));
        OnReceiverData<VmWritePhysical>(static (session, in command, tail, ref _) => session.WritePhysical(command, tail));
        OnReceiver<VcpuPause>(static (session, in command) => session.Pause(command.Vcpu.Index, command.Wait));
        OnReceiver<VmControlCleanup>(static (session, in command) => session.ControlCleanup(command.Enable));
        OnReceiver<VmGetMaxGfn, VmGetMaxGfnReply>(static (session, in _, out reply) => session.GetMaxGfn(out reply));
        OnReceiverData<VmSetPageAccess>(static (session, in command, tail, ref _) => session.SetPageAccess(command, tail));
        OnReceiverData<VmSetWatches>(static (session, in command, tail, ref _) => session.SetWatches(command, tail));
        OnReceiver<VmGetWatchInfo, VmGetWatchInfoReply>(static (session, in _, out reply) => session.GetWatchInfo(out reply));

        OnVcpu<VcpuGetInfo, VcpuGetInfoReply>(static (vcpu, in _, out reply) => vcpu.GetInfo(out reply));
        OnVcpu<VcpuControlEvents>(static (vcpu, in command) => vcpu.ControlEvents(command.EventId, command.Enable));
        OnVcpuData<VcpuGetRegisters>(static (vcpu, in command, tail, ref reply) => vcpu.GetRegisters(command, tail, ref reply));
        OnVcpu<VcpuSetRegisters>(static (vcpu, in command) => vcpu.SetRegisters(command.Regs));
        OnVcpu<VcpuGetCpuid, CpuidResult>(
            static (vcpu, in command, out reply) => vcpu.GetCpuid(command.Function, command.Index, out reply));
        OnVcpu<VcpuControlCr>(static (vcpu, in command) => vcpu.ControlCr(command.Cr, command.Enable));
        OnVcpu<VcpuInjectException>(static (vcpu, in command) => vcpu.InjectException(command), checksItself: true);
        OnVcpu<VcpuGetXcr, VcpuGetXcrReply>(static (vcpu, in command, out reply) => vcpu.GetXcr(command.Xcr, out reply));
        OnVcpuData<VcpuGetXsave>(static (vcpu, in _, _, ref reply) => vcpu.GetXsave(ref reply));
        OnVcpuData<VcpuSetXsave>(static (vcpu, in _, tail, ref _) => vcpu.SetXsave(tail));
        OnVcpu<VcpuGetMtrrType, VcpuGetMtrrTypeReply>(static (vcpu, in command, out reply) => vcpu.GetMtrrType(command.Gpa, out reply));
        OnVcpu<VcpuControlMsr>(static (vcpu, in command) => vcpu.ControlMsr(command.Msr, command.Enable));
        OnVcpu<VcpuControlSinglestep>(static (vcpu, in command) => vcpu.ControlSinglestep(command.Enable));
        OnVcpu<VcpuTranslateGva, VcpuTranslateGvaReply>(static (vcpu, in command, out reply) => vcpu.TranslateGva(command.Gva, out reply));
    }

    /// <summary>Finds a command; false if there is none with this id.</summary>
    public static bool TryGet(MessageId id, [NotNullWhen(true)] out CommandRow? row)
    {
        if ((uint)id >= (uint)Rows.Length)
            return Extensions.TryGetValue(id, out row);
        row = Rows[(int)id];
        return row is not null;
    }

    private static void OnReceiver<T>(VmHandler<T> handler)
        where T : unmanaged, ICommand<T> =>
        Add<T>(false, false, (session, _, in command, _, ref _) => handler(session, command));

    private static void OnReceiver<T, TReply>(VmHandler<T, TReply> handler)
        where T : unmanaged, ICommand<T, TReply>
        where TReply : unmanaged => Add<T>(false, false, (session, _, in command, _, ref reply) =>
        {
            KvmError error = handler(session, command, out TReply data);
            reply.Set(data);
            return error;
        });

    private static void OnReceiverData<T>(VmDataHandler<T> handler)
        where T : unmanaged, ICommand<T> =>
        Add<T>(false, false, (session, _, in command, tail, ref reply) => handler(session, command, tail, ref reply));

    private static void OnVcpu<T>(VcpuHandler<T> handler, bool checksItself = false)
        where T : unmanaged, ICommand<T> =>
        Add<T>(true, checksItself, (_, vcpu, in command, _, ref _) => handler(vcpu!, command));

    private static void OnVcpu<T, TReply>(VcpuHandler<T, TReply> handler)
        where T : unmanaged, ICommand<T, TReply>
        where TReply : unmanaged => Add<T>(true, false, (_, vcpu, in command, _, ref reply) =>
        {
            KvmError error = handler(vcpu!, command, out TReply data);
            reply.Set(data);
            return error;
        });

    private static void OnVcpuData<T>(VcpuDataHandler<T> handler)
        where T : unmanaged, ICommand<T> =>
        Add<T>(true, false, (_, vcpu, in command, tail, ref reply) => handler(vcpu!, command, tail, ref reply));

    private static void Add<T>(bool runsOnVcpu, bool checksItself, AnyHandler<T> handler)
        where T : unmanaged, ICommand<T>
    {
        KvmError Run(IntrospectionSession session, IntrospectedVcpu? vcpu, ReadOnlySpan<byte> payload, ref ReplyData reply)
        {
            var command = Message.Read<T>(payload[..Math.Min(payload.Length, T.WireSize)]);
            bool isShort = T.HasTail && payload.Length < T.WireSize + T.TailSizeOf(command);
            if (isShort && T.ShortTailCloses)
                ThrowShort(T.Id, payload.Length);
            if (!checksItself && !command.IsWellFormed && !session.Dialect.IgnoresPadding)
                return KvmError.InvalidArgument;
            if (isShort)
                return KvmError.InvalidArgument;
            return handler(session, vcpu, command, Message.Tail(payload, T.WireSize), ref reply);
        }

        var row = new CommandRow(runsOnVcpu, Run);
        if ((int)T.Id < Rows.Length)
            Rows[(int)T.Id] = row;
        else
            Extensions.Add(T.Id, row);
    }

    [DoesNotReturn]
    private static void ThrowShort(MessageId id, int length) =>
        throw new ProtocolException($"command {id} has a payload of {length} bytes, less than it announces");

    private delegate KvmError AnyHandler<T>(
        IntrospectionSession session, IntrospectedVcpu? vcpu, in T command, ReadOnlySpan<byte> tail, ref ReplyData reply);
}
