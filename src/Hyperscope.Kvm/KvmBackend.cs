using Hyperscope.LinuxHost;
using Hyperscope.Vm;
using Hyperscope.X64;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Hyperscope.Kvm;

/// <summary>One VM whose guest code the kernel executes: what all vCPUs share.</summary>
public sealed class KvmBackend : IDisposable
{
    // Below 4 GiB, where a PC has its firmware and this machine nothing.
    private const uint TssAddress = 0xFFFB_D000;
    private const ulong IdentityMapAddress = 0xFFFB_C000;

    // What the software vCPU keeps for itself: MTRRs, the APIC base, the deadline timer.
    private static readonly uint[] SoftwareMsrs = [MsrIndex.ApicBase, MsrIndex.MtrrCap, .. Enumerable.Range(0x200, 16).Select(static index => (uint)index),
        0x250, 0x258, 0x259, .. Enumerable.Range(0x268, 8).Select(static index => (uint)index), MsrIndex.MtrrDefType, MsrIndex.TscDeadline];

    private readonly KvmDevice _device;
    private readonly ProcessorGroup _group;
    private readonly ILogger _logger;
    private readonly List<KvmAccelerator> _accelerators = [];
    private readonly KvmCpuidEntry[][] _cpuid;
    private readonly Lock _gate = new();
    private readonly HashSet<uint>[] _interceptedMsrs;
    private readonly UserFaultFd? _writes;
    private uint[] _appliedMsrs = [];

    /// <summary>Makes the kernel execute the code of a group's vCPUs. Before any of them has run.</summary>
    /// <param name="group">Its vCPUs, memory and access map.</param>
    /// <param name="logger">Where decisions go.</param>
    /// <param name="protection">How memory is protected.</param>
    /// <exception cref="LinuxException">The kernel refused something.</exception>
    /// <exception cref="NotSupportedException">This host lacks something; the message says what.</exception>
    public KvmBackend(ProcessorGroup group, ILogger? logger = null, ProtectionMethod protection = ProtectionMethod.Auto)
    {
        ArgumentNullException.ThrowIfNull(group);
        _group = group;
        _logger = logger ?? NullLogger.Instance;
        _device = new KvmDevice();
        try
        {
            KvmHost.Require(_device);
            Vm = _device.CreateVm();
            Vm.SetIdentityMapAddress(IdentityMapAddress);
            Vm.SetTssAddress(TssAddress);
            Vm.Enable(KvmCapability.X86UserSpaceMsr, 1 | 2 | 4); // invalid, unknown, filtered
            if (_device[KvmCapability.ExitOnEmulationFailure] != 0)
                Vm.Enable(KvmCapability.ExitOnEmulationFailure, 1);
            Capabilities = VmCapabilities.SingleStep;
            if ((_device[KvmCapability.XenHvm] & 2) != 0)
            {
                Vm.InterceptHypercalls();
                Capabilities |= VmCapabilities.HypercallEvents;
            }

            if (KvmProbe.HasBreakpointExits(_device))
                Capabilities |= VmCapabilities.BreakpointEvents;
            _writes = ChooseProtection(protection);
            View = new GuestView(Vm, group.Memory, group.Views.Main.AccessMap, RangeBudget.OfProcess, _writes, _logger);
            _cpuid = [.. group.Vcpus.Select(vcpu => GuestCpuid.Build(_device, vcpu))];
            _interceptedMsrs = [.. group.Vcpus.Select(static _ => new HashSet<uint>())];
            ApplyMsrFilter();
            foreach (SoftwareVcpu vcpu in group.Vcpus)
            {
                var accelerator = new KvmAccelerator(this, vcpu, _logger);
                _accelerators.Add(accelerator);
                vcpu.Accelerator = accelerator;
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>What introspection gets on this back end and host. No exit exists for control registers, XSETBV, descriptor tables and
    /// CPUID.</summary>
    public VmCapabilities Capabilities { get; }

    internal KvmVm Vm { get; }

    internal GuestView View { get; }

    /// <summary>TSC ticks per second that guests see on this host.</summary>
    /// <exception cref="LinuxException">There is no KVM, or not for this user.</exception>
    public static ulong FindTscFrequency()
    {
        using var device = new KvmDevice();
        using KvmVm vm = device.CreateVm();
        using KvmVcpu vcpu = vm.CreateVcpu(new VcpuIndex(0));
        return vcpu.GetTscFrequency();
    }

    /// <summary>Makes memory protections what the access map says; returns when no vCPU can make an access that is denied.</summary>
    public void ApplyRestrictions() => View.Apply();

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (SoftwareVcpu vcpu in _group.Vcpus)
            vcpu.Accelerator = null;
        foreach (KvmAccelerator accelerator in _accelerators)
            accelerator.Dispose();
        _accelerators.Clear();
        View?.Dispose();
        _writes?.Dispose();
        Vm?.Dispose();
        _device.Dispose();
    }

    internal KvmCpuidEntry[] CpuidOf(VcpuIndex vcpu) => _cpuid[vcpu.Value];

    internal bool TryGetCpuid(VcpuIndex vcpu, uint function, uint index, out CpuidResult result)
    {
        foreach (KvmCpuidEntry entry in _cpuid[vcpu.Value])
        {
            if (entry.Function == function && ((entry.Flags & KvmCpuidEntry.IndexIsSignificant) == 0 || entry.Index == index))
            {
                result = new CpuidResult(entry.Eax, entry.Ebx, entry.Ecx, entry.Edx);
                return true;
            }
        }

        result = default;
        return GuestCpuid.IsRange(_cpuid[vcpu.Value], function);
    }

    /// <summary>A vCPU's selection of MSRs changed. The filter is the VM's, so what one vCPU selects stops all; the others do not report it.</summary>
    internal void InterceptMsrs(SoftwareVcpu vcpu)
    {
        lock (_gate)
        {
            HashSet<uint> selected = _interceptedMsrs[vcpu.Index.Value];
            if (selected.SetEquals(vcpu.InterceptedMsrs))
                return;
            selected.Clear();
            selected.UnionWith(vcpu.InterceptedMsrs);
            ApplyMsrFilter();
        }
    }

    private UserFaultFd? ChooseProtection(ProtectionMethod method)
    {
        string? obstacle = method == ProtectionMethod.Mprotect ? "so it was asked for" : KvmProbe.FindUserfaultObstacle(_device);
        if (obstacle is null)
        {
            _logger.ProtectsWithUserfaultfd();
            return new UserFaultFd();
        }

        if (method == ProtectionMethod.Userfaultfd)
            throw new NotSupportedException(obstacle);
        _logger.ProtectsWithMprotect(obstacle);
        return null;
    }

    private void ApplyMsrFilter()
    {
        uint[] msrs = [.. _interceptedMsrs.SelectMany(static set => set).Where(static msr => msr is < 0x800 or > 0x8FF).Concat(SoftwareMsrs).Distinct().Order()];
        if (msrs.AsSpan().SequenceEqual(_appliedMsrs))
            return;
        Vm.SetMsrFilter(msrs);
        _appliedMsrs = msrs;
    }
}
