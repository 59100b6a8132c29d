namespace Hyperscope.Devices;

/// <summary>Joins the local APICs and the IOAPIC of one machine. Complete before the first vCPU runs; has no lock.</summary>
public sealed class ApicBus : IApicBus
{
    private LocalApic[] _locals = [];
    private IoApic? _ioApic;

    /// <summary>Adds a local APIC.</summary>
    public void Attach(LocalApic local) => _locals = [.. _locals, local];

    /// <summary>Sets the IOAPIC.</summary>
    public void Attach(IoApic ioApic) => _ioApic = ioApic;

    /// <inheritdoc/>
    public void EndOfInterrupt(byte vector) => _ioApic?.EndOfInterrupt(vector);

    /// <inheritdoc/>
    public void Send(in ApicMessage message, DestinationShorthand shorthand = DestinationShorthand.None, LocalApic? sender = null)
    {
        if (message.Mode == DeliveryMode.LowestPriority)
        {
            LowestPriority(message, shorthand, sender)?.Accept(message with { Mode = DeliveryMode.Fixed });
            return;
        }

        foreach (LocalApic local in _locals)
        {
            if (!IsAddressed(local, message, shorthand, sender))
                continue;
            if (local == sender && shorthand != DestinationShorthand.None && (message.Mode is DeliveryMode.Init or DeliveryMode.Startup))
                continue; // not a valid combination
            local.Accept(message);
        }
    }

    private static bool IsAddressed(LocalApic local, in ApicMessage message, DestinationShorthand shorthand, LocalApic? sender) => shorthand switch
    {
        DestinationShorthand.Self => local == sender,
        DestinationShorthand.AllIncludingSelf => true,
        DestinationShorthand.AllExcludingSelf => local != sender,
        _ => message.IsBroadcast || local.IsAddressedBy(message),
    };

    private LocalApic? LowestPriority(in ApicMessage message, DestinationShorthand shorthand, LocalApic? sender)
    {
        LocalApic? chosen = null;
        int lowest = int.MaxValue;
        foreach (LocalApic local in _locals)
        {
            if (!local.IsSoftwareEnabled || !IsAddressed(local, message, shorthand, sender))
                continue;
            int priority = local.CurrentPriority;
            if (priority < lowest)
            {
                lowest = priority;
                chosen = local;
            }
        }

        return chosen;
    }
}
