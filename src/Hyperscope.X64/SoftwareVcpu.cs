using System.Diagnostics;
using System.Runtime.InteropServices;
using Hyperscope.Vm;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>One processor of the software x86-64 machine.</summary>
/// <remarks>Facets: Run (the loop), Blocks (code), Memory (slow accesses), Paging (the walk), Requests (what other threads ask),
/// State (registers), Exceptions, Segments.</remarks>
public sealed unsafe partial class SoftwareVcpu : IVcpu, IDisposable
{
    private readonly CpuState* _c;
    private readonly Tlb _tlb = new();
    private readonly BlockCache _blocks = new();
    private readonly Op* _single;
    private readonly AccessMap _map;
    private GCHandle _self;
    private bool _disposed;

    internal SoftwareVcpu(ProcessorGroup group, VcpuIndex index, CpuModel model)
    {
        if (!System.Runtime.Intrinsics.X86.Sse42.IsSupported)
            throw new PlatformNotSupportedException("the software CPU computes vectors with the host's SSE4.2, which this host does not have");
        Group = group;
        Bus = group.Bus;
        Index = index;
        Model = model;
        _map = group.AccessMap;

        // Sound: both blocks live until Dispose, which the owner calls after the vCPU's thread has ended.
        _c = (CpuState*)NativeMemory.AlignedAlloc((nuint)sizeof(CpuState), 64);
        *_c = default;
        _c->JumpCache = (JumpCacheEntry*)NativeMemory.AlignedAlloc((nuint)(JumpCacheEntry.Entries * sizeof(JumpCacheEntry)), 64);
        new Span<JumpCacheEntry>(_c->JumpCache, JumpCacheEntry.Entries).Clear();
        _single = (Op*)NativeMemory.AlignedAlloc((nuint)(8 * sizeof(Op)), 64);
        _self = GCHandle.Alloc(this);
        _c->OwnerHandle = GCHandle.ToIntPtr(_self);
        Reset();
    }

    /// <inheritdoc/>
    public VcpuIndex Index { get; }

    /// <summary>The processors it works with.</summary>
    public ProcessorGroup Group { get; }

    /// <summary>What CPUID says, and the TSC frequency.</summary>
    public CpuModel Model { get; }

    /// <summary>What is behind ports and addresses without memory, as this vCPU sees it; the group's unless replaced before the first run.</summary>
    public IGuestBus Bus { get; set; }

    /// <summary>Where interrupts come from; null: none.</summary>
    public IVcpuInterrupts? Interrupts { get; set; }

    /// <summary>Guest time for the TSC; null: instructions retired.</summary>
    public IGuestClock? Clock { get; set; }

    /// <summary>Instructions retired and events delivered since the vCPU was made. Exact outside guest mode, at the last end of a block within it.</summary>
    public ulong InstructionsRetired => _retired + (ulong)(_budgetAtEntry - _c->Budget);

    /// <inheritdoc/>
    public ulong TscFrequency => Model.TscFrequency;

    /// <summary>The vCPU whose thread this is.</summary>
    [field: ThreadStatic]
    internal static SoftwareVcpu? Current { get; private set; }

    internal CpuState* State => _c;

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        Debug.Assert(!IsInGuestMode, "disposed while running");
        _tlb.Dispose();
        _blocks.Dispose();
        NativeMemory.AlignedFree(_single);
        NativeMemory.AlignedFree(_c->JumpCache);
        NativeMemory.AlignedFree(_c);
        _self.Free();
    }
}
