using System.Runtime.CompilerServices;

namespace Hyperscope.Client;

/// <summary>One vCPU of an introspected VM.</summary>
/// <remarks>Commands to a vCPU are carried out by that vCPU: while its VM does not run it, they stay unanswered. All commands can throw
/// <see cref="KvmiException"/> (the VM refused), <see cref="ConnectionClosedException"/> and <see cref="TimeoutException"/>.</remarks>
public sealed partial class IntrospectedVcpu
{
    private readonly Connection _connection;
    private EventSlot _slot;
    private uint _outstanding; // seq of its unanswered event, or 0

    internal IntrospectedVcpu(IntrospectedVm vm, Connection connection, VcpuIndex index)
    {
        Vm = vm;
        Index = index;
        _connection = connection;
        _slot = new EventSlot(connection, this);
    }

    /// <summary>The VM it belongs to.</summary>
    public IntrospectedVm Vm { get; }

    /// <summary>Its position in the VM.</summary>
    public VcpuIndex Index { get; }

    /// <inheritdoc/>
    public override string ToString() => $"vCPU {Index}";

    /// <summary>Reads the guest's TSC frequency in Hz; 0 if unknown.</summary>
    public async ValueTask<ulong> GetTscFrequencyAsync(CancellationToken cancellation = default) =>
        (await Ask<VcpuGetInfo, VcpuGetInfoReply>(new VcpuGetInfo(Index), cancellation).ConfigureAwait(false)).TscSpeed;

    /// <summary>Stops the vCPU: a <see cref="PauseVcpuEvent"/> follows, and the vCPU stands still until that is answered.</summary>
    /// <param name="wait">Complete only after the vCPU has left guest mode.</param>
    /// <param name="cancellation">Gives up waiting for the reply.</param>
    public ValueTask PauseAsync(bool wait = true, CancellationToken cancellation = default) =>
        Tell(new VcpuPause(Index, wait), cancellation);

    /// <summary>Switches an event on or off for this vCPU. <see cref="IntrospectedVm.EnableAsync"/> does so for all.</summary>
    public ValueTask ControlEventAsync(EventId eventId, bool enable, CancellationToken cancellation = default) =>
        Tell(new VcpuControlEvents(Index, eventId, enable), cancellation);

    /// <summary>Reads all registers, and the given MSRs.</summary>
    /// <param name="msrs">At most 481 MSR indexes.</param>
    /// <param name="cancellation">Gives up waiting for the reply.</param>
    public ValueTask<VcpuRegisters> GetRegistersAsync(ReadOnlyMemory<uint> msrs = default, CancellationToken cancellation = default)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(msrs.Length, KvmiConstants.MaxRegisterMsrs);
        return _connection.RunAsync(
            new VcpuGetRegisters(Index, (ushort)msrs.Length), msrs, ReplyReaders.Registers(msrs.Length), default, cancellation);
    }

    /// <summary>Replaces the general registers when the pending event is answered; possible only while an event of this vCPU
    /// waits.</summary>
    public ValueTask SetRegistersAsync(in KvmRegs registers, CancellationToken cancellation = default) =>
        Tell(new VcpuSetRegisters(Index, registers), cancellation);

    /// <summary>Reads a CPUID leaf as the guest sees it.</summary>
    public ValueTask<CpuidResult> GetCpuidAsync(uint function, uint index = 0, CancellationToken cancellation = default) =>
        Ask<VcpuGetCpuid, CpuidResult>(new VcpuGetCpuid(Index, function, index), cancellation);

    /// <summary>Selects a control register (0, 3 or 4) for <see cref="CrEvent"/>, which must be enabled as well.</summary>
    public ValueTask ControlCrAsync(byte cr, bool enable, CancellationToken cancellation = default) =>
        Tell(new VcpuControlCr(Index, cr, enable), cancellation);

    /// <summary>Selects an MSR for <see cref="MsrEvent"/>, which must be enabled as well. Only writes are seen.</summary>
    public ValueTask ControlMsrAsync(uint msr, bool enable, CancellationToken cancellation = default) =>
        Tell(new VcpuControlMsr(Index, msr, enable), cancellation);

    /// <summary>Injects an exception at the next entry; a <see cref="TrapEvent"/> says what really went in.</summary>
    public ValueTask InjectExceptionAsync(
        byte vector, uint errorCode = 0, ulong address = 0, CancellationToken cancellation = default) =>
        Tell(new VcpuInjectException(Index, vector, errorCode, address), cancellation);

    /// <summary>Reads XCR0.</summary>
    public async ValueTask<ulong> GetXcr0Async(CancellationToken cancellation = default) =>
        (await Ask<VcpuGetXcr, VcpuGetXcrReply>(new VcpuGetXcr(Index), cancellation).ConfigureAwait(false)).Value;

    /// <summary>Reads the XSAVE image in standard format, 4096 bytes in v9.</summary>
    public ValueTask<byte[]> GetXsaveAsync(CancellationToken cancellation = default) =>
        _connection.RunAsync(new VcpuGetXsave(Index), default(ReadOnlyMemory<byte>), ReplyReaders.Copy, default, cancellation);

    /// <summary>Loads an XSAVE image of up to 4096 bytes in standard format, at once; a missing rest counts as zero.</summary>
    public ValueTask SetXsaveAsync(ReadOnlyMemory<byte> image, CancellationToken cancellation = default)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(image.Length, KvmiConstants.XsaveSize);
        return _connection.RunAsync(new VcpuSetXsave(Index), image, cancellation);
    }

    /// <summary>Reads the memory type that the MTRRs give an address.</summary>
    public async ValueTask<MemoryType> GetMtrrTypeAsync(Gpa gpa, CancellationToken cancellation = default) =>
        (await Ask<VcpuGetMtrrType, VcpuGetMtrrTypeReply>(new VcpuGetMtrrType(Index, gpa), cancellation).ConfigureAwait(false)).Type;

    /// <summary>Switches single-stepping on or off: a <see cref="SinglestepEvent"/> follows each instruction.</summary>
    public ValueTask ControlSinglestepAsync(bool enable, CancellationToken cancellation = default) =>
        Tell(new VcpuControlSinglestep(Index, enable), cancellation);

    /// <summary>Has the vCPU see memory by another view, from its next instruction on. An extension of v9.</summary>
    public ValueTask SwitchViewAsync(ushort view, CancellationToken cancellation = default) =>
        Tell(new VcpuSwitchView(Index, view), cancellation);

    /// <summary>Asks which view the vCPU is in. An extension of v9.</summary>
    public async ValueTask<ushort> GetViewAsync(CancellationToken cancellation = default) =>
        (await Ask<VcpuGetView, ViewNumber>(new VcpuGetView(Index), cancellation).ConfigureAwait(false)).View;

    /// <summary>Lets the guest switch this vCPU to a view by VMFUNC, or not any more. An extension of v9.</summary>
    public ValueTask ShowViewAsync(ushort view, bool visible, CancellationToken cancellation = default) =>
        Tell(new VcpuControlView(Index, view, visible), cancellation);

    /// <summary>Translates a linear address with the vCPU's paging; <see langword="null"/> if it is not mapped.</summary>
    public async ValueTask<Gpa?> TranslateAsync(Gva gva, CancellationToken cancellation = default) =>
        (await Ask<VcpuTranslateGva, VcpuTranslateGvaReply>(new VcpuTranslateGva(Index, gva), cancellation).ConfigureAwait(false)).Gpa;

    /// <summary>Notes that an event arrived. Reader thread only.</summary>
    /// <returns>The slot to load it into.</returns>
    /// <exception cref="ProtocolException">The previous one has no answer yet.</exception>
    internal EventSlot EventArrived(uint seq)
    {
        uint previous = Interlocked.Exchange(ref _outstanding, seq);
        if (previous != 0)
            throw new ProtocolException($"vCPU {Index} sent event {seq} before event {previous} was answered");
        if (_slot.IsInUse)
            _slot = new EventSlot(_connection, this);
        return _slot;
    }

    /// <summary>Notes that the outstanding event has its answer.</summary>
    internal void EventAnswered() => Volatile.Write(ref _outstanding, 0);

    /// <summary>Gives a slot away for good. Reader thread only.</summary>
    internal EventSlot Detach(EventSlot slot)
    {
        if (ReferenceEquals(slot, _slot))
            _slot = new EventSlot(_connection, this);
        return slot;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ValueTask Tell<TCommand>(in TCommand command, CancellationToken cancellation)
        where TCommand : unmanaged, ICommand<TCommand> => _connection.RunAsync(command, default(ReadOnlyMemory<byte>), cancellation);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ValueTask<TReply> Ask<TCommand, TReply>(in TCommand command, CancellationToken cancellation)
        where TCommand : unmanaged, ICommand<TCommand, TReply>
        where TReply : unmanaged =>
        _connection.RunAsync(command, default(ReadOnlyMemory<byte>), ReplyReaders.Fixed<TReply>.Read, default, cancellation);
}
