namespace Hyperscope.Client;

/// <summary>An event of any kind. The vCPU waits until it is answered, once: UNHOOK alone has no answer.</summary>
/// <remarks>In a handler of <see cref="IntrospectedVm.On{T}"/> it is valid until the handler returns, elsewhere as long as you
/// like.</remarks>
public readonly struct VmEvent
{
    private readonly EventSlot? _slot;

    internal VmEvent(EventSlot slot)
    {
        _slot = slot;
        Sequence = slot.Seq;
    }

    /// <summary>Its number, counted from 1 over all events of the connection.</summary>
    public uint Sequence { get; }

    /// <summary>What kind of event it is.</summary>
    public EventId Id => Slot.Id;

    /// <summary>The vCPU it happened on.</summary>
    public IntrospectedVcpu Vcpu => Slot.Vcpu;

    /// <summary>General registers at the event.</summary>
    public ref readonly KvmRegs Registers => ref Slot.Header.Arch.Regs;

    /// <summary>All state that came with the event: mode, registers, some MSRs.</summary>
    public ref readonly EventArch State => ref Slot.Header.Arch;

    /// <summary>Whether it still wants an answer.</summary>
    public bool IsPending => Slot.IsPending;

    internal EventSlot Slot
    {
        get
        {
            EventSlot slot = _slot ?? throw new InvalidOperationException("default(VmEvent) is no event");
            slot.Check(Sequence);
            return slot;
        }
    }

    /// <summary>Looks at it as an event of kind <typeparamref name="T"/>.</summary>
    /// <returns>Whether it is one.</returns>
    public bool Is<T>(out VmEvent<T> typed)
        where T : unmanaged, IEvent<T>
    {
        bool matches = Slot.Id == T.Id;
        typed = matches ? new VmEvent<T>(Slot) : default;
        return matches;
    }

    /// <summary>Answers it. CR and MSR events go on with the guest's own new value.</summary>
    /// <exception cref="EventAnswerException">It is answered already, too late, or it does not accept the action.</exception>
    public void Answer(EventAction action) => Slot.Answer(Sequence, action);

    /// <summary>Lets the guest go on as if nobody watched.</summary>
    /// <exception cref="EventAnswerException">It is answered already, or too late.</exception>
    public void Continue() => Answer(EventAction.Continue);

    /// <summary>Stops the VM.</summary>
    /// <exception cref="EventAnswerException">It is answered already, or too late.</exception>
    public void Crash() => Answer(EventAction.Crash);

    /// <summary>For logs: kind, number, vCPU and rip.</summary>
    public override string ToString() => _slot is null ? "no event" : $"{Slot} at rip 0x{Registers.Rip:x}";
}

/// <summary>An event of kind <typeparamref name="T"/>. The vCPU waits until it is answered, once.</summary>
/// <typeparam name="T">One of the event structs of <c>Hyperscope.Kvmi</c>, such as <see cref="PageFaultEvent"/>.</typeparam>
/// <remarks>Its fields can be read directly (<c>e.Gpa</c>), and it has just the answers that its kind accepts; see
/// <see cref="EventExtensions"/>.</remarks>
public readonly struct VmEvent<T>
    where T : unmanaged, IEvent<T>
{
    private readonly VmEvent _event;

    internal VmEvent(EventSlot slot) => _event = new VmEvent(slot);

    /// <summary>What is specific to this kind.</summary>
    public T Data => Message.Read<T>(_event.Slot.Data);

    /// <inheritdoc cref="VmEvent.Sequence"/>
    public uint Sequence => _event.Sequence;

    /// <inheritdoc cref="VmEvent.Vcpu"/>
    public IntrospectedVcpu Vcpu => _event.Vcpu;

    /// <inheritdoc cref="VmEvent.Registers"/>
    public ref readonly KvmRegs Registers => ref _event.Registers;

    /// <inheritdoc cref="VmEvent.State"/>
    public ref readonly EventArch State => ref _event.State;

    /// <inheritdoc cref="VmEvent.IsPending"/>
    public bool IsPending => _event.IsPending;

    /// <summary>The same without its kind.</summary>
    public VmEvent Untyped => _event;

    /// <inheritdoc/>
    public override string ToString() => _event.ToString();

    internal void Answer(in PageFaultReply data) => _event.Slot.Answer(Sequence, data);

    internal void Answer(EventAction action, ulong? newValue = null) => _event.Slot.Answer(Sequence, action, newValue);
}
