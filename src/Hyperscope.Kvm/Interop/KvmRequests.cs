using Hyperscope.LinuxHost;
using Hyperscope.Vm;
using static Hyperscope.LinuxHost.IoctlDirection;

namespace Hyperscope.Kvm;

/// <summary>The requests of linux/kvm.h that are used here, named as there.</summary>
internal static class KvmRequests
{
    private const byte Kvm = 0xAE;

    // On /dev/kvm.
    public static readonly IoctlRequest GetApiVersion = new(Kvm, 0x00);
    public static readonly IoctlRequest CreateVm = new(Kvm, 0x01);
    public static readonly IoctlRequest CheckExtension = new(Kvm, 0x03);
    public static readonly IoctlRequest GetVcpuMmapSize = new(Kvm, 0x04);
    public static readonly IoctlRequest<KvmListHeader> GetSupportedCpuid = new(ReadWrite, Kvm, 0x05);

    // On a VM.
    public static readonly IoctlRequest CreateVcpu = new(Kvm, 0x41);
    public static readonly IoctlRequest<KvmUserspaceMemoryRegion> SetUserMemoryRegion = new(Write, Kvm, 0x46);
    public static readonly IoctlRequest SetTssAddress = new(Kvm, 0x47);
    public static readonly IoctlRequest<ulong> SetIdentityMapAddress = new(Write, Kvm, 0x48);
    public static readonly IoctlRequest<KvmXenHvmConfig> XenHvmConfig = new(Write, Kvm, 0x7A);
    public static readonly IoctlRequest<KvmEnableCap> EnableCap = new(Write, Kvm, 0xA3);
    public static readonly IoctlRequest<KvmMsrFilter> SetMsrFilter = new(Write, Kvm, 0xC6);

    // On a vCPU.
    public static readonly IoctlRequest Run = new(Kvm, 0x80);
    public static readonly IoctlRequest<KvmRegs> GetRegs = new(Read, Kvm, 0x81);
    public static readonly IoctlRequest<KvmRegs> SetRegs = new(Write, Kvm, 0x82);
    public static readonly IoctlRequest<KvmSregs> GetSregs = new(Read, Kvm, 0x83);
    public static readonly IoctlRequest<KvmSregs> SetSregs = new(Write, Kvm, 0x84);
    public static readonly IoctlRequest<KvmListHeader> GetMsrs = new(ReadWrite, Kvm, 0x88);
    public static readonly IoctlRequest<KvmListHeader> SetMsrs = new(Write, Kvm, 0x89);
    public static readonly IoctlRequest<KvmListHeader> SetCpuid2 = new(Write, Kvm, 0x90);
    public static readonly IoctlRequest<KvmGuestDebug> SetGuestDebug = new(Write, Kvm, 0x9B);
    public static readonly IoctlRequest<KvmVcpuEvents> GetVcpuEvents = new(Read, Kvm, 0x9F);
    public static readonly IoctlRequest<KvmVcpuEvents> SetVcpuEvents = new(Write, Kvm, 0xA0);
    public static readonly IoctlRequest<KvmDebugRegs> GetDebugRegs = new(Read, Kvm, 0xA1);
    public static readonly IoctlRequest<KvmDebugRegs> SetDebugRegs = new(Write, Kvm, 0xA2);
    public static readonly IoctlRequest GetTscKhz = new(Kvm, 0xA3);
    public static readonly IoctlRequest<KvmXsave> GetXsave = new(Read, Kvm, 0xA4);
    public static readonly IoctlRequest<KvmXsave> SetXsave = new(Write, Kvm, 0xA5);
    public static readonly IoctlRequest<KvmXcrs> GetXcrs = new(Read, Kvm, 0xA6);
    public static readonly IoctlRequest<KvmXcrs> SetXcrs = new(Write, Kvm, 0xA7);
}

/// <summary>What a host's KVM may or may not be able to do (KVM_CAP_*).</summary>
public enum KvmCapability
{
#pragma warning disable CS1591 // the names are those of linux/kvm.h
    UserMemory = 3,
    ExtendedCpuid = 7,
    MemorySlots = 10,
    SetGuestDebug = 23,
    XenHvm = 38,
    VcpuEvents = 41,
    DebugRegisters = 50,
    Xsave = 55,
    Xcrs = 56,
    TscControl = 60,
    GetTscKhz = 61,
    MaxVcpus = 66,
    SyncRegisters = 74,
    ImmediateExit = 136,
    X86UserSpaceMsr = 188,
    X86MsrFilter = 189,
    ExitOnEmulationFailure = 204,
#pragma warning restore CS1591
}
