namespace Hyperscope.Vm;

/// <summary>A VM as introspection sees it.</summary>
public interface IVirtualMachine
{
    /// <summary>Identifies the VM in diagnostics and handshakes.</summary>
    Guid Id { get; }

    /// <summary>A name for people.</summary>
    string Name { get; }

    /// <summary>When the VM was started.</summary>
    DateTimeOffset StartTime { get; }

    /// <summary>Guest-physical memory.</summary>
    GuestMemory Memory { get; }

    /// <summary>The rights of guest frames in the view that vCPUs start in.</summary>
    AccessMap AccessMap { get; }

    /// <summary>All views, that one among them.</summary>
    ViewTable Views { get; }

    /// <summary>The virtual processors; the position is the index.</summary>
    IReadOnlyList<IVcpu> Vcpus { get; }

    /// <summary>What the back end can report and do.</summary>
    VmCapabilities Capabilities { get; }

    /// <summary>Makes every vCPU forget the translations it cached. Returns when none is in use any more; any thread, including a vCPU's own.</summary>
    void InvalidateTranslations();

    /// <summary>Directs what vCPUs report to <paramref name="events"/>, or nowhere. Takes effect at each vCPU's next event; kicks them all.</summary>
    void SetEvents(IVcpuEvents? events);

    /// <summary>Stops the VM without ceremony (KVMI action CRASH). Any thread; returns at once.</summary>
    void Terminate(string reason);
}

/// <summary>What a back end can do for introspection.</summary>
[Flags]
public enum VmCapabilities
{
    /// <summary>Memory and registers only.</summary>
    None = 0,

    /// <summary>A vCPU can be single-stepped from outside.</summary>
    SingleStep = 1 << 0,

    /// <summary>Descriptor-table accesses are reported.</summary>
    DescriptorEvents = 1 << 1,

    /// <summary>Control-register writes are reported.</summary>
    ControlRegisterEvents = 1 << 2,

    /// <summary>XSETBV is reported.</summary>
    XsetbvEvents = 1 << 3,

    /// <summary>vCPUs can be in different views.</summary>
    Views = 1 << 4,

    /// <summary>The guest can switch views by VMFUNC.</summary>
    ViewFunction = 1 << 5,

    /// <summary>CPUID is reported.</summary>
    CpuidEvents = 1 << 6,

    /// <summary>INT3 is reported.</summary>
    BreakpointEvents = 1 << 7,

    /// <summary>Hypercalls are reported.</summary>
    HypercallEvents = 1 << 8,

    /// <summary>Everything the software CPU offers.</summary>
    All = SingleStep | DescriptorEvents | ControlRegisterEvents | XsetbvEvents | Views | ViewFunction | CpuidEvents | BreakpointEvents | HypercallEvents,
}
