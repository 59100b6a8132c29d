namespace Hyperscope.GuestLinux;

/// <summary>What a vCPU tells of where its kernel is.</summary>
internal readonly record struct VcpuStart(ulong Cr0, ulong Cr3, ulong Cr4, ulong Efer, ulong Lstar)
{
    private const ulong Paging = 1UL << 31, LongModeActive = 1UL << 10, FiveLevelPaging = 1UL << 12, FrameMask = 0x000f_ffff_ffff_f000;

    // Page table isolation: the table of user mode is the page behind that of the kernel.
    private const ulong UserTableBit = 0x1000;

    private static readonly uint[] Msrs = [MsrIndex.Lstar];

    public bool IsLongMode => (Cr0 & Paging) != 0 && (Efer & LongModeActive) != 0;

    public bool IsFiveLevel => (Cr4 & FiveLevelPaging) != 0;

    /// <summary>Top tables that may be the kernel's, the likelier one first.</summary>
    public IEnumerable<Gpa> Roots()
    {
        ulong table = Cr3 & FrameMask;
        yield return new Gpa(table & ~UserTableBit);
        if ((table & UserTableBit) != 0)
            yield return new Gpa(table);
    }

    /// <summary>Asks all vCPUs; those that have not been started or refuse are left out.</summary>
    public static async Task<List<VcpuStart>> ReadAsync(IntrospectedVm vm, CancellationToken cancellation)
    {
        var states = new List<VcpuStart>();
        int count = Math.Max(vm.Vcpus.Count, 1);
        for (int i = 0; i < count; i++)
        {
            try
            {
                VcpuRegisters registers = await vm.GetVcpu(i).GetRegistersAsync(Msrs, cancellation).ConfigureAwait(false);
                KvmSregs system = registers.System;
                states.Add(new VcpuStart(system.Cr0, system.Cr3, system.Cr4, system.Efer, registers.Msr(MsrIndex.Lstar)));
                if (i >= 3 && states.Any(static state => state.IsLongMode && state.Lstar != 0))
                    break; // the rest has nothing to add
            }
            catch (KvmiException refused) when (refused.Error is KvmError.TryAgain or KvmError.NotFound or KvmError.InvalidArgument)
            {
                continue;
            }
        }

        return states;
    }
}
