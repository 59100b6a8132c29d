using Hyperscope.LinuxHost;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Hyperscope.Introspection;

/// <summary>The device manager's side of one VM: hooking, unhooking and permissions (kvmi-abi.md 4.1 and 4.2).</summary>
/// <remarks>Calls are for control threads, never for a vCPU's own. The owner of the VM unhooks before it joins vCPU threads, because a
/// vCPU may be waiting for a reply.</remarks>
public sealed class Introspector : IVcpuEvents, IPageTrackSubscriber, IDisposable
{
    private static readonly HashSet<MessageId> EmptyCommands = [];
    private static readonly HashSet<EventId> EmptyEvents = [];

    private readonly Lock _gate = new(); // held by control calls only; taken before every other lock
    private readonly IVirtualMachine _vm;
    private readonly ILogger _logger;
    private readonly VcpuInterception[] _interceptions;
    private volatile IntrospectionSession? _session;

    /// <summary>Prepares a VM for introspection; its vCPUs report here from now on.</summary>
    public Introspector(IVirtualMachine vm, ILogger<Introspector>? logger = null)
    {
        ArgumentNullException.ThrowIfNull(vm);
        _vm = vm;
        _logger = logger ?? NullLogger<Introspector>.Instance;
        _interceptions = new VcpuInterception[vm.Vcpus.Count];
        for (int index = 0; index < _interceptions.Length; index++)
            _interceptions[index] = new VcpuInterception();
        vm.SetEvents(this);
    }

    /// <summary>The VM.</summary>
    public IVirtualMachine Vm => _vm;

    /// <summary>Introspection is allowed on this host. While false every control call answers <see cref="ControlError.NotPermitted"/>.</summary>
    public bool IsEnabled { get; set; } = true;

    /// <summary>The session of the current hook, alive or closed; null when not hooked.</summary>
    public IntrospectionSession? Session => _session;

    /// <summary>A session's connection closed, for whatever reason. Raised once for each hook, on a pool thread. The VM stays hooked
    /// until <see cref="Unhook"/>: nothing is reported, restrictions stay in place and are passed over silently.</summary>
    public event Action<IntrospectionSession>? Disconnected;

    /// <summary>A vCPU has passed the clean-up it owed, so that a hook refused with <see cref="ControlError.AlreadyHooked"/> may now succeed.
    /// Raised on the vCPU's thread; must return at once.</summary>
    public event Action? CleanedUp;

    /// <summary>Starts a session on a connected socket, which it owns from here on if it succeeds (KVM_INTROSPECTION_HOOK).</summary>
    /// <returns>None; NotPermitted; AlreadyHooked (also while a vCPU owes clean-up); InvalidArgument (no open socket); OutOfMemory (the
    /// receive thread cannot start; the socket is closed).</returns>
    public ControlError Hook(StreamSocket socket, HookOptions? options = null)
    {
        lock (_gate)
        {
            ControlError error = TryHook(socket, options ?? new HookOptions());
            if (error != ControlError.None)
                _logger.HookRefused(_vm.Name, error);
            return error;
        }
    }

    /// <summary>Does the VM's half of the handshake on a connected socket, before <see cref="Hook"/>. Refusals are logged.</summary>
    /// <returns>False: the tool is refused; the caller closes the socket.</returns>
    public bool Greet(StreamSocket socket, HandshakeOptions options, string toolName = "tool", EventFd? cancel = null)
    {
        ArgumentNullException.ThrowIfNull(socket);
        ArgumentNullException.ThrowIfNull(options);
        string? failure = Handshake.Run(socket, new VmGreeting(_vm.Id, _vm.StartTime, _vm.Name), options, cancel);
        if (failure is not null)
            _logger.HandshakeFailed(_vm.Name, toolName, failure);
        return failure is null;
    }

    /// <summary>Ends the session and lifts every page restriction (KVM_INTROSPECTION_UNHOOK). Nothing happens if there is none.</summary>
    public ControlError Unhook() => IsEnabled ? EndSession() : ControlError.NotPermitted;

    /// <summary>Asks the tool to clean up and leave, if it enabled UNHOOK (KVM_INTROSPECTION_PREUNHOOK).</summary>
    /// <returns>None; NotPermitted; NotHooked; NotFound (not enabled, or not writable).</returns>
    public ControlError PreUnhook()
    {
        if (!IsEnabled)
            return ControlError.NotPermitted;
        lock (_gate)
        {
            if (_session is not { } session)
                return ControlError.NotHooked;
            return session.TrySendUnhook() ? ControlError.None : ControlError.NotFound;
        }
    }

    /// <summary>Allows or disallows a command, or all with id -1 (KVM_INTROSPECTION_COMMAND).</summary>
    /// <returns>None; NotPermitted (switched off); InvalidArgument (id below -1 or above 25, allow above 1); NotHooked; NotPermitted (one of
    /// the commands that stay allowed).</returns>
    public ControlError SetCommandPermission(int id, uint allow) => SetPermission(id, allow, KvmiConstants.MessageCount, isCommand: true);

    /// <summary>Allows or disallows an event, or all with id -1 (KVM_INTROSPECTION_EVENT).</summary>
    /// <returns>None; NotPermitted; InvalidArgument (id below -1 or above 10, allow above 1); NotHooked.</returns>
    public ControlError SetEventPermission(int id, uint allow) => SetPermission(id, allow, KvmiConstants.EventCount, isCommand: false);

    /// <summary>Unhooks.</summary>
    public void Dispose() => EndSession();

    void IVcpuEvents.OnEntry(IVcpu vcpu)
    {
        Find(vcpu)?.Service();
        if (_interceptions[vcpu.Index.Value].CleanUp(vcpu, _vm.Views))
            CleanedUp?.Invoke();
    }

    bool IVcpuEvents.IsPauseDue(IVcpu vcpu) => Find(vcpu)?.IsPauseDue ?? false;

    void IVcpuEvents.OnPauseDue(IVcpu vcpu) => Find(vcpu)?.OnPauseDue();

    InstructionVerdict IVcpuEvents.OnBreakpoint(IVcpu vcpu, Gpa? gpa, byte instructionLength) =>
        Find(vcpu)?.OnBreakpoint(gpa, instructionLength) ?? InstructionVerdict.Proceed;

    InstructionVerdict IVcpuEvents.OnControlRegisterWrite(IVcpu vcpu, byte register, ulong oldValue, ref ulong newValue) =>
        Find(vcpu)?.OnControlRegisterWrite(register, oldValue, ref newValue) ?? InstructionVerdict.Proceed;

    void IVcpuEvents.OnXsetbv(IVcpu vcpu, byte register, ulong oldValue, ulong newValue) =>
        Find(vcpu)?.OnXsetbv(register, oldValue, newValue);

    InstructionVerdict IVcpuEvents.OnDescriptorAccess(IVcpu vcpu, DescriptorTable table, bool isWrite) =>
        Find(vcpu)?.OnDescriptorAccess(table, isWrite) ?? InstructionVerdict.Proceed;

    InstructionVerdict IVcpuEvents.OnMsrWrite(IVcpu vcpu, uint index, ulong oldValue, ref ulong newValue) =>
        Find(vcpu)?.OnMsrWrite(index, oldValue, ref newValue) ?? InstructionVerdict.Proceed;

    bool IVcpuEvents.OnHypercall(IVcpu vcpu, out ulong result)
    {
        if (Find(vcpu) is { } introspected)
            return introspected.OnHypercall(out result);
        result = KvmiConstants.HypercallUnknown;
        return false;
    }

    InstructionVerdict IVcpuEvents.OnCpuid(IVcpu vcpu, uint function, uint index, byte instructionLength) =>
        Find(vcpu)?.OnCpuid(function, index, instructionLength) ?? InstructionVerdict.Proceed;

    void IVcpuEvents.OnSingleStep(IVcpu vcpu, bool failed) => Find(vcpu)?.OnSingleStep(failed);

    PageTrackVerdict IPageTrackSubscriber.BeforeAccess(IVcpu vcpu, in PageTrackAccess access) =>
        Find(vcpu)?.BeforeAccess(access) ?? PageTrackVerdict.Allow;

    // The map is keyed by address, so restrictions follow it by themselves when slots come and go.
    void IPageTrackSubscriber.SlotCreated(MemorySlot slot)
    {
    }

    void IPageTrackSubscriber.SlotFlushed(MemorySlot slot)
    {
    }

    private IntrospectedVcpu? Find(IVcpu vcpu) => _session?.Vcpu(vcpu.Index);

    private ControlError TryHook(StreamSocket socket, HookOptions options)
    {
        if (!IsEnabled)
            return ControlError.NotPermitted;
        if (_session is not null)
            return ControlError.AlreadyHooked;
        foreach (VcpuInterception interception in _interceptions)
        {
            if (interception.IsCleanupOwed)
                return ControlError.AlreadyHooked;
        }

        if (socket is null || socket.Handle.IsInvalid || socket.Handle.IsClosed)
            return ControlError.InvalidArgument;
        IntrospectionSession session;
        try
        {
            session = new IntrospectionSession(_vm, socket, options, _interceptions, _logger, closed => Disconnected?.Invoke(closed));
        }
        catch (LinuxException)
        {
            return ControlError.InvalidArgument; // epoll does not take the descriptor
        }

        foreach (MessageId id in options.AllowedCommands ?? EmptyCommands)
            session.Commands.TrySet((int)id, allow: true);
        foreach (EventId id in options.AllowedEvents ?? EmptyEvents)
            session.Events.TrySet((int)id, allow: true);
        _session = session;
        _vm.Memory.PageTracker.Subscribe(this);
        try
        {
            session.Start();
        }
        catch (OutOfMemoryException)
        {
            _session = null;
            _vm.Memory.PageTracker.Unsubscribe(this);
            session.End();
            return ControlError.OutOfMemory;
        }

        _logger.Hooked(_vm.Name, options.ToolName, options.Dialect.Name);
        return ControlError.None;
    }

    private ControlError EndSession()
    {
        lock (_gate)
        {
            if (_session is not { } session)
                return ControlError.None;
            session.End();
            _vm.Memory.PageTracker.Unsubscribe(this);
            session.UndoViews();
            _session = null;
            foreach (VcpuInterception interception in _interceptions)
                interception.RequestCleanup(session.CleansUp);
            foreach (IVcpu vcpu in _vm.Vcpus)
                vcpu.Kick();
            _logger.Unhooked(_vm.Name, session.ToolName);
            return ControlError.None;
        }
    }

    private ControlError SetPermission(int id, uint allow, int count, bool isCommand)
    {
        if (!IsEnabled)
            return ControlError.NotPermitted;
        if (id < -1 || id >= count || allow > 1)
            return ControlError.InvalidArgument;
        lock (_gate)
        {
            if (_session is not { } session)
                return ControlError.NotHooked;
            PermissionMask mask = isCommand ? session.Commands : session.Events;
            return mask.TrySet(id, allow == 1) ? ControlError.None : ControlError.NotPermitted;
        }
    }
}
