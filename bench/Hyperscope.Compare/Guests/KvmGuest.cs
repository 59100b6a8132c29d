using Hyperscope.Kvm;
using Hyperscope.X64;

namespace Hyperscope.Compare.Guests;

/// <summary>A bare guest on the KVM back end: no board, no tool.</summary>
internal sealed class KvmGuest : IDisposable
{
    private readonly GuestMemory _memory = new();
    private readonly ViewTable _views = new();
    private readonly KvmBackend _backend;

    public KvmGuest(ulong rounds, ProtectionMethod protection = ProtectionMethod.Auto)
    {
        _ = _memory.AddSlot(new Gpa(0), BareGuest.Bytes);
        _ = _memory.TryLoad(new Gpa(0), BareGuest.Image(BareGuest.Loop(rounds)));
        var group = new ProcessorGroup(_memory, _views, new Machine.DeviceBus());
        Vcpu = group.AddVcpu(new CpuModel());
        _backend = new KvmBackend(group, protection: protection);
        Rewind();
    }

    public SoftwareVcpu Vcpu { get; }

    /// <summary>Back to the first instruction, from HLT too.</summary>
    public void Rewind()
    {
        Vcpu.Reset();
        Vcpu.GetSpecialRegisters(out KvmSregs special);
        (KvmRegs general, special) = BareGuest.Registers(special);
        Vcpu.SetSpecialRegisters(special);
        Vcpu.SetRegisters(general);
    }

    /// <summary>Denies writes to the page that the loop writes to; <paramref name="watcher"/> is asked.</summary>
    public void Restrict(IPageTrackSubscriber watcher)
    {
        lock (_views.Main.AccessMap.WriterLock)
            _ = _views.Main.AccessMap.Set(new Gpa(BareGuest.Page).Frame, PageAccess.Read | PageAccess.Execute);
        _backend.ApplyRestrictions();
        _memory.PageTracker.Subscribe(watcher);
    }

    public void Dispose()
    {
        _backend.Dispose();
        Vcpu.Dispose();
        _memory.Dispose();
    }
}
