using Hyperscope.Vm;

namespace Hyperscope.Devices;

/// <summary>What interrupts one vCPU: its local APIC, and the 8259 through LINT0 where that is wired.</summary>
/// <param name="local">The vCPU's local APIC.</param>
/// <param name="pic">The 8259 pair if its output drives this vCPU's <see cref="LocalApic.SetLint0"/>, else null.</param>
public sealed class InterruptController(LocalApic local, DualPic? pic) : IVcpuInterrupts
{
    /// <inheritdoc/>
    public bool HasPending => local.HasPending || local.HasExtInt || (pic is not null && pic.HasPending && local.AcceptsPic);

    /// <inheritdoc/>
    public byte TaskPriority
    {
        get => local.Cr8;
        set => local.Cr8 = value;
    }

    /// <inheritdoc/>
    public ulong ApicBase
    {
        get => local.ApicBase;
        set => local.ApicBase = value;
    }

    /// <inheritdoc/>
    public bool TryAcknowledge(out byte vector)
    {
        // ExtINT is not subject to the task priority and goes first.
        if (pic is not null)
        {
            if (local.AcceptsPic && pic.TryAcknowledge(out vector))
                return true;
            if (local.TryTakeExtInt())
            {
                vector = pic.Acknowledge();
                return true;
            }
        }
        else
        {
            local.TryTakeExtInt(); // nobody answers the acknowledge cycle
        }

        return local.TryAcknowledge(out vector);
    }

    /// <inheritdoc/>
    public bool TryTakeNmi() => local.TryTakeNmi();

    /// <inheritdoc/>
    public bool TryReadMsr(uint index, out ulong value) => local.TryReadMsr(index, out value);

    /// <inheritdoc/>
    public bool TryWriteMsr(uint index, ulong value) => local.TryWriteMsr(index, value);
}
