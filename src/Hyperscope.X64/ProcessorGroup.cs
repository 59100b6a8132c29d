using Hyperscope.Vm;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>The software processors of one VM and what they share: memory, rights, decoded code, the bus.</summary>
/// <remarks>
/// <para>The shootdown protocol: each vCPU says whether it is in guest mode, that is, whether it may be using cached translations.
/// Whoever invalidates something first makes the change visible, then posts a request to each vCPU, then waits for those in guest mode
/// to take it or leave. A vCPU takes requests between blocks and before it enters guest mode. A vCPU that invalidates
/// something leaves guest mode first, so two of them never wait for each other.</para>
/// </remarks>
public sealed class ProcessorGroup
{
    private readonly List<SoftwareVcpu> _vcpus = [];
    private readonly Lock _exclusive = new();

    // Held, outside guest mode, while a frame becomes code or stops being code; else a vCPU could decode between another's two steps.
    private readonly Lock _code = new();

    /// <summary>Makes an empty group over a VM's memory.</summary>
    /// <param name="memory">Guest memory; the group answers its invalidation callbacks.</param>
    /// <param name="views">Rights of frames.</param>
    /// <param name="bus">Ports and device memory.</param>
    public ProcessorGroup(GuestMemory memory, ViewTable views, IGuestBus bus)
    {
        Memory = memory;
        Views = views;
        Bus = bus;
        memory.TranslationsInvalid += InvalidateTranslations;
        memory.Written += InvalidateCode;
    }

    /// <summary>Guest memory.</summary>
    public GuestMemory Memory { get; }

    /// <summary>Rights of frames.</summary>
    public ViewTable Views { get; }

    /// <summary>Ports and device memory.</summary>
    public IGuestBus Bus { get; }

    /// <summary>The processors; the position is the index.</summary>
    public IReadOnlyList<SoftwareVcpu> Vcpus => _vcpus;

    internal CodeTracker Code { get; } = new();

    /// <summary>Adds a processor in its reset state.</summary>
    public SoftwareVcpu AddVcpu(CpuModel model)
    {
        var vcpu = new SoftwareVcpu(this, new VcpuIndex((ushort)_vcpus.Count), model);
        _vcpus.Add(vcpu);
        return vcpu;
    }

    /// <summary>Makes every vCPU forget the translations it cached; returns when none is in use. Any thread.</summary>
    public void InvalidateTranslations()
    {
        SoftwareVcpu? self = LeaveGuestIfInside();
        Broadcast(VcpuRequests.FlushTranslations, frame: 0);
        self?.EnterGuest();
    }

    /// <summary>Drops what was decoded from a range of frames that was written from outside the guest.</summary>
    internal void InvalidateCode(Gfn first, ulong count)
    {
        for (ulong gfn = first.Value; gfn < first.Value + count; gfn++)
        {
            if (Code.IsCode(gfn))
                InvalidateCode(gfn);
        }
    }

    /// <summary>Drops what was decoded from a frame, on every vCPU, before it returns.</summary>
    internal void InvalidateCode(ulong gfn)
    {
        SoftwareVcpu? self = LeaveGuestIfInside();
        lock (_code)
        {
            Code.Clear(gfn);
            Broadcast(VcpuRequests.DropCode, gfn);
        }

        self?.EnterGuest();
    }

    /// <summary>Makes a frame one that code is decoded from: from the return on no vCPU writes to it through a cached translation.</summary>
    internal void ProtectCode(ulong gfn)
    {
        SoftwareVcpu? self = LeaveGuestIfInside();
        lock (_code)
        {
            if (Code.Announce(gfn))
            {
                Broadcast(VcpuRequests.ProtectCode, gfn);
                Code.Settle(gfn);
            }
        }

        self?.EnterGuest();
    }

    /// <summary>Runs <paramref name="action"/> while no other vCPU is in guest mode. The caller is a vCPU in guest mode.</summary>
    /// <returns>False: it was not run, because the vCPU was kicked while it was outside.</returns>
    internal bool RunExclusive(SoftwareVcpu self, Action action)
    {
        bool isDone = false;
        self.LeaveGuest();
        lock (_exclusive)
        {
            foreach (SoftwareVcpu vcpu in _vcpus)
            {
                if (vcpu != self)
                    vcpu.Park();
            }

            try
            {
                self.EnterGuest();
                isDone = !self.IsKicked;
                if (isDone)
                    action();
                self.LeaveGuest();
            }
            finally
            {
                foreach (SoftwareVcpu vcpu in _vcpus)
                {
                    if (vcpu != self)
                        vcpu.Unpark();
                }
            }
        }

        self.EnterGuest();
        return isDone;
    }

    // Asks something of every vCPU and waits until it is done or bound to be done first. The caller is not in guest mode.
    private void Broadcast(VcpuRequests request, ulong frame)
    {
        foreach (SoftwareVcpu vcpu in _vcpus)
            vcpu.Post(request, frame);
        foreach (SoftwareVcpu vcpu in _vcpus)
            vcpu.AwaitRequests();
    }

    // The calling thread's vCPU if it was in guest mode; it enters again when the caller is done.
    private SoftwareVcpu? LeaveGuestIfInside()
    {
        if (SoftwareVcpu.Current is not { IsInGuestMode: true } self || self.Group != this)
            return null;
        self.LeaveGuest();
        return self;
    }
}

/// <summary>What one vCPU asks of another.</summary>
[Flags]
internal enum VcpuRequests
{
    None = 0,
    FlushTranslations = 1,
    DropCode = 2,
    ProtectCode = 4,
}
