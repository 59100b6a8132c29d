using System.Runtime.InteropServices;
using Hyperscope.TestKit;

namespace Hyperscope.Kvm.Tests;

/// <summary>Request numbers hold the sizes of their structures, so one comparison checks both.</summary>
public sealed class IoctlCodeTests
{
    private static readonly (string Name, uint Expected, uint Actual)[] Codes =
    [
        ("KVM_GET_API_VERSION", 0xAE00, KvmRequests.GetApiVersion.Code),
        ("KVM_CREATE_VM", 0xAE01, KvmRequests.CreateVm.Code),
        ("KVM_CHECK_EXTENSION", 0xAE03, KvmRequests.CheckExtension.Code),
        ("KVM_GET_VCPU_MMAP_SIZE", 0xAE04, KvmRequests.GetVcpuMmapSize.Code),
        ("KVM_GET_SUPPORTED_CPUID", 0xC008_AE05, KvmRequests.GetSupportedCpuid.Code),
        ("KVM_CREATE_VCPU", 0xAE41, KvmRequests.CreateVcpu.Code),
        ("KVM_SET_USER_MEMORY_REGION", 0x4020_AE46, KvmRequests.SetUserMemoryRegion.Code),
        ("KVM_SET_TSS_ADDR", 0xAE47, KvmRequests.SetTssAddress.Code),
        ("KVM_SET_IDENTITY_MAP_ADDR", 0x4008_AE48, KvmRequests.SetIdentityMapAddress.Code),
        ("KVM_XEN_HVM_CONFIG", 0x4038_AE7A, KvmRequests.XenHvmConfig.Code),
        ("KVM_ENABLE_CAP", 0x4068_AEA3, KvmRequests.EnableCap.Code),
        ("KVM_X86_SET_MSR_FILTER", 0x4188_AEC6, KvmRequests.SetMsrFilter.Code),
        ("KVM_RUN", 0xAE80, KvmRequests.Run.Code),
        ("KVM_GET_REGS", 0x8090_AE81, KvmRequests.GetRegs.Code),
        ("KVM_SET_REGS", 0x4090_AE82, KvmRequests.SetRegs.Code),
        ("KVM_GET_SREGS", 0x8138_AE83, KvmRequests.GetSregs.Code),
        ("KVM_SET_SREGS", 0x4138_AE84, KvmRequests.SetSregs.Code),
        ("KVM_GET_MSRS", 0xC008_AE88, KvmRequests.GetMsrs.Code),
        ("KVM_SET_MSRS", 0x4008_AE89, KvmRequests.SetMsrs.Code),
        ("KVM_SET_CPUID2", 0x4008_AE90, KvmRequests.SetCpuid2.Code),
        ("KVM_SET_GUEST_DEBUG", 0x4048_AE9B, KvmRequests.SetGuestDebug.Code),
        ("KVM_GET_VCPU_EVENTS", 0x8040_AE9F, KvmRequests.GetVcpuEvents.Code),
        ("KVM_SET_VCPU_EVENTS", 0x4040_AEA0, KvmRequests.SetVcpuEvents.Code),
        ("KVM_GET_DEBUGREGS", 0x8080_AEA1, KvmRequests.GetDebugRegs.Code),
        ("KVM_SET_DEBUGREGS", 0x4080_AEA2, KvmRequests.SetDebugRegs.Code),
        ("KVM_GET_TSC_KHZ", 0xAEA3, KvmRequests.GetTscKhz.Code),
        ("KVM_GET_XSAVE", 0x9000_AEA4, KvmRequests.GetXsave.Code),
        ("KVM_SET_XSAVE", 0x5000_AEA5, KvmRequests.SetXsave.Code),
        ("KVM_GET_XCRS", 0x8188_AEA6, KvmRequests.GetXcrs.Code),
        ("KVM_SET_XCRS", 0x4188_AEA7, KvmRequests.SetXcrs.Code),
    ];

    private static readonly (string Name, int Offset)[] Offsets =
    [
        ("struct kvm_run, request_interrupt_window", Offset<KvmRun>(nameof(KvmRun.RequestInterruptWindow))),
        ("struct kvm_run, immediate_exit", Offset<KvmRun>(nameof(KvmRun.ImmediateExit))),
        ("struct kvm_run, exit_reason", Offset<KvmRun>(nameof(KvmRun.ExitReason))),
        ("struct kvm_run, cr8", Offset<KvmRun>(nameof(KvmRun.Cr8))),
        ("struct kvm_run, io", Offset<KvmRun>(nameof(KvmRun.Io))),
        ("struct kvm_run, kvm_valid_regs", Offset<KvmRun>(nameof(KvmRun.ValidRegs))),
        ("struct kvm_run, kvm_dirty_regs", Offset<KvmRun>(nameof(KvmRun.DirtyRegs))),
        ("struct kvm_run, s", Offset<KvmRun>(nameof(KvmRun.Regs))),
        ("struct kvm_sync_regs, sregs", Offset<KvmRun>(nameof(KvmRun.Sregs)) - Offset<KvmRun>(nameof(KvmRun.Regs))),
        ("struct kvm_sync_regs, events", Offset<KvmRun>(nameof(KvmRun.Events)) - Offset<KvmRun>(nameof(KvmRun.Regs))),
        ("struct kvm_vcpu_events, interrupt", Offset<KvmVcpuEvents>(nameof(KvmVcpuEvents.InterruptInjected))),
        ("struct kvm_vcpu_events, nmi", Offset<KvmVcpuEvents>(nameof(KvmVcpuEvents.NmiInjected))),
        ("struct kvm_vcpu_events, flags", Offset<KvmVcpuEvents>(nameof(KvmVcpuEvents.Flags))),
        ("struct kvm_vcpu_events, exception_has_payload", Offset<KvmVcpuEvents>(nameof(KvmVcpuEvents.ExceptionHasPayload))),
        ("struct kvm_vcpu_events, exception_payload", Offset<KvmVcpuEvents>(nameof(KvmVcpuEvents.ExceptionPayload))),
        ("struct kvm_cpuid_entry2, eax", Offset<KvmCpuidEntry>(nameof(KvmCpuidEntry.Eax))),
        ("struct kvm_msr_filter_range, bitmap", Offset<KvmMsrFilterRange>(nameof(KvmMsrFilterRange.Bitmap))),
        ("struct kvm_debugregs, dr7", Offset<KvmDebugRegs>(nameof(KvmDebugRegs.Dr7))),
    ];

    public static TheoryData<string> Names() => [.. Codes.Select(static row => row.Name)];

    [Theory]
    [MemberData(nameof(Names))]
    public void Request_has_the_known_code(string name)
    {
        (_, uint expected, uint actual) = Codes.Single(row => row.Name == name);
        Assert.Equal(expected, actual);
    }

    [Fact]
    public void Codes_and_offsets_are_those_of_the_kernel_header()
    {
        const string Header = "linux/kvm.h";
        string? missing = KernelHeader.FindMissing(Header);
        Assert.SkipWhen(missing is not null, missing ?? "");
        Assert.Equal("", KernelHeader.Compare(
            Header,
            [.. Codes.Select(static row => (row.Name, (ulong)row.Actual)), .. Offsets.Select(static row => ($"offsetof({row.Name})", (ulong)row.Offset))]));
    }

    private static int Offset<T>(string field) => (int)Marshal.OffsetOf<T>(field);
}
