using Hyperscope.Devices;
using Hyperscope.Kvm;
using Hyperscope.Vm;
using Hyperscope.X64;
using Microsoft.Extensions.Logging;

namespace Hyperscope.Machine;

/// <summary>What a VM is made of.</summary>
public sealed record VirtualMachineOptions
{
    /// <summary>A name for people, logs and handshakes.</summary>
    public string Name { get; init; } = "guest";

    /// <summary>Identifies the VM in handshakes; random unless given.</summary>
    public Guid Id { get; init; } = Guid.NewGuid();

    /// <summary>Guest memory in bytes; see <see cref="GuestMemoryMap"/> for the bounds and where it lies.</summary>
    public ulong MemoryBytes { get; init; } = 64UL << 20;

    /// <summary>Where the file of guest memory is made; null: it has no name.</summary>
    public string? MemoryFile { get; init; }

    /// <summary>Number of vCPUs, 1 to <see cref="MaxVcpus"/>.</summary>
    public int VcpuCount { get; init; } = 1;

    /// <summary>What CPUID says.</summary>
    public CpuModel CpuModel { get; init; } = new();

    /// <summary>What executes guest code.</summary>
    public VmBackend Backend { get; init; } = VmBackend.Software;

    /// <summary>How the KVM back end protects memory that tools restrict.</summary>
    public ProtectionMethod Protection { get; init; }

    /// <summary>Where the back end's decisions go; null: nowhere.</summary>
    public ILogger? Logger { get; init; }

    /// <summary>Guest time; null: the host's, from the start of the VM on. An <see cref="InstructionClock"/> makes runs repeat and goes with one
    /// vCPU.</summary>
    public IGuestClock? Clock { get; init; }

    /// <summary>Wall-clock time at the start of the VM; null: the host's.</summary>
    public DateTimeOffset? WallClock { get; init; }

    /// <summary>Where the first serial port writes.</summary>
    public ISerialOutput SerialOutput { get; init; } = NullSerialOutput.Instance;

    /// <summary>What a triple fault does.</summary>
    public ShutdownAction OnShutdown { get; init; } = ShutdownAction.Stop;

    /// <summary>Most vCPUs a VM can have.</summary>
    public const int MaxVcpus = 8;
}

/// <summary>What executes guest code.</summary>
public enum VmBackend
{
    /// <summary>The software CPU. Works everywhere and can report everything.</summary>
    Software,

    /// <summary>The kernel's /dev/kvm, with the software CPU for what the kernel stops at.</summary>
    Kvm,
}

/// <summary>What a triple fault does to the VM.</summary>
public enum ShutdownAction
{
    /// <summary>The VM ends.</summary>
    Stop,

    /// <summary>That vCPU stays as it is until the VM is stopped.</summary>
    Hold,
}
