namespace Hyperscope.Kvmi;

/// <summary>What is fixed about one kind of event.</summary>
/// <param name="Id">The id.</param>
/// <param name="Accepts">Actions that its reply may carry; none: it has no reply.</param>
/// <param name="DataSize">Bytes of specific data.</param>
/// <param name="ReplyDataSize">Bytes of specific data in the reply.</param>
public readonly record struct EventInfo(EventId Id, EventActions Accepts, int DataSize, int ReplyDataSize)
{
    /// <summary>Bytes of the event's payload.</summary>
    public int PayloadSize => KvmiConstants.EventHeaderSize + DataSize;

    /// <summary>A vCPU event; UNHOOK and CREATE_VCPU are events of the VM.</summary>
    public bool IsVcpuEvent => Id is not (EventId.Unhook or EventId.CreateVcpu);

    /// <summary>Sent because a command asked for it once, so its switch has no effect.</summary>
    public bool IsOnRequest => Id is EventId.PauseVcpu or EventId.Trap or EventId.Singlestep;
}

/// <summary>The core events. One row each; the facts come from the structs.</summary>
public static class EventCatalog
{
    private static readonly EventInfo[] Rows =
    [
        Row<UnhookEvent>(),
        Row<PauseVcpuEvent>(),
        Row<HypercallEvent>(),
        Row<BreakpointEvent>(),
        Row<CrEvent>(),
        Row<TrapEvent>(),
        Row<XsetbvEvent>(),
        Row<DescriptorEvent>(),
        Row<MsrEvent>(),
        Row<PageFaultEvent>(),
        Row<SinglestepEvent>(),
    ];

    private static readonly EventInfo[] ExtensionRows = [Row<CpuidEvent>(), Row<CreateVcpuEvent>(), Row<AccessEvent>()];

    /// <summary>Every core event, in the order of ids.</summary>
    public static ReadOnlySpan<EventInfo> All => Rows;

    /// <summary>Events beyond v9, which a v9 peer finds with VM_CHECK_EVENT.</summary>
    public static ReadOnlySpan<EventInfo> Extensions => ExtensionRows;

    /// <summary>Finds an event; false if the id is unknown.</summary>
    public static bool TryGet(EventId id, out EventInfo info)
    {
        if ((uint)id < (uint)Rows.Length)
        {
            info = Rows[(int)id];
            return true;
        }

        foreach (EventInfo extension in ExtensionRows)
        {
            if (extension.Id == id)
            {
                info = extension;
                return true;
            }
        }

        info = default;
        return false;
    }

    private static EventInfo Row<T>()
        where T : unmanaged, IEvent<T> => new(T.Id, T.Accepts, T.WireSize, T.ReplyDataSize);
}
