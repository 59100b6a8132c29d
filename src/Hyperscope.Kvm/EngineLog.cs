using Hyperscope.Vm;
using Microsoft.Extensions.Logging;

namespace Hyperscope.Kvm;

/// <summary>What this project logs; event ids 5001 to 5099.</summary>
internal static partial class EngineLog
{
    [LoggerMessage(5001, LogLevel.Warning, "Protections near {Gpa} and perhaps elsewhere are coarser than asked for, which costs time: views of guests use {Ranges} of the memory ranges that vm.max_map_count allows this process")]
    public static partial void ProtectionIsCoarse(this ILogger logger, Gpa gpa, int ranges);

    [LoggerMessage(5002, LogLevel.Information, "vCPU {Vcpu}: an instruction at {Gva} is none that the software CPU has; hardware executes it with memory open")]
    public static partial void SteppedByHardware(this ILogger logger, VcpuIndex vcpu, Gva gva);

    [LoggerMessage(5003, LogLevel.Error, "vCPU {Vcpu}: KVM_RUN gave up with exit {Exit}, detail 0x{Detail:x}")]
    public static partial void CannotGoOn(this ILogger logger, VcpuIndex vcpu, uint exit, ulong detail);

    [LoggerMessage(5004, LogLevel.Warning, "vCPU {Vcpu}: a write to {Gpa} was carried out by the kernel before it could be asked about; RETRY is not possible there")]
    public static partial void WriteCannotBeRetried(this ILogger logger, VcpuIndex vcpu, Gpa gpa);

    [LoggerMessage(5005, LogLevel.Warning, "vCPU {Vcpu}: the kernel reports a triple fault at {Rip}, CR2 {Cr2}, IDT at {Idt}")]
    public static partial void ShutDown(this ILogger logger, VcpuIndex vcpu, Gva rip, Gva cr2, Gva idt);

    [LoggerMessage(5006, LogLevel.Information, "Pages that may not be written are protected with userfaultfd, which takes no memory ranges")]
    public static partial void ProtectsWithUserfaultfd(this ILogger logger);

    [LoggerMessage(5007, LogLevel.Information, "Pages that may not be written are protected with mprotect: {Reason}")]
    public static partial void ProtectsWithMprotect(this ILogger logger, string reason);

    [LoggerMessage(5008, LogLevel.Information, "Guest memory from {Gpa} on is protected with mprotect: userfaultfd does not take the file that it is in")]
    public static partial void MemoryIsNotShared(this ILogger logger, Gpa gpa);
}
