namespace Hyperscope.Client;

/// <summary>The registers of a vCPU at one moment.</summary>
public sealed class VcpuRegisters
{
    private readonly KvmMsrEntry[] _msrs;

    internal VcpuRegisters(CpuMode mode, in KvmRegs general, in KvmSregs system, KvmMsrEntry[] msrs)
    {
        Mode = mode;
        General = general;
        System = system;
        _msrs = msrs;
    }

    /// <summary>The width of the running code.</summary>
    public CpuMode Mode { get; }

    /// <summary>General registers, rip and rflags.</summary>
    public KvmRegs General { get; }

    /// <summary>Segment, table and control registers.</summary>
    public KvmSregs System { get; }

    /// <summary>The MSRs that were asked for, in that order.</summary>
    public ReadOnlyMemory<KvmMsrEntry> Msrs => _msrs;

    /// <summary>The value of an MSR that was asked for.</summary>
    /// <exception cref="ArgumentException">It was not asked for.</exception>
    public ulong Msr(uint index)
    {
        foreach (KvmMsrEntry entry in _msrs)
        {
            if (entry.Index == index)
                return entry.Data;
        }

        throw new ArgumentException($"MSR 0x{index:x} was not among the {_msrs.Length} that were asked for", nameof(index));
    }
}
