namespace Hyperscope.Kvm;

/// <summary>Whether this machine's KVM can carry the back end.</summary>
public static class KvmHost
{
    private static readonly KvmCapability[] Required =
    [
        KvmCapability.UserMemory, KvmCapability.ExtendedCpuid, KvmCapability.SetGuestDebug, KvmCapability.VcpuEvents, KvmCapability.DebugRegisters,
        KvmCapability.Xsave, KvmCapability.Xcrs, KvmCapability.GetTscKhz, KvmCapability.SyncRegisters, KvmCapability.ImmediateExit,
        KvmCapability.X86UserSpaceMsr, KvmCapability.X86MsrFilter,
    ];

    /// <summary>Throws unless everything that is needed is there.</summary>
    /// <exception cref="NotSupportedException">Names what is missing.</exception>
    public static void Require(KvmDevice device)
    {
        KvmCapability[] missing = [.. Required.Where(capability => device[capability] == 0)];
        if (missing.Length != 0)
            throw new NotSupportedException($"this host's KVM lacks {string.Join(", ", missing)}");
    }
}
