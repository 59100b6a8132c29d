using Hyperscope.LinuxHost;
using Hyperscope.Vm;

namespace Hyperscope.Kvm;

/// <summary>One VM of the kernel: memory slots and what concerns all its vCPUs.</summary>
public sealed class KvmVm : IDisposable
{
    private readonly FileDescriptorHandle _handle;

    internal KvmVm(KvmDevice device, FileDescriptorHandle handle)
    {
        Device = device;
        _handle = handle;
    }

    /// <summary>Whose VM this is.</summary>
    public KvmDevice Device { get; }

    /// <summary>Makes a vCPU.</summary>
    /// <exception cref="LinuxException">The kernel refused.</exception>
    public KvmVcpu CreateVcpu(VcpuIndex index) => new(this, Ioctl.Open(_handle, KvmRequests.CreateVcpu, index.Value), Device.RunPageBytes);

    /// <summary>Three pages that hosts with VT-x need for themselves, at an address that the guest does not use.</summary>
    internal void SetTssAddress(uint address) => Ioctl.Call(_handle, KvmRequests.SetTssAddress, address);

    /// <summary>Another such page.</summary>
    internal void SetIdentityMapAddress(ulong address) => Ioctl.Call(_handle, KvmRequests.SetIdentityMapAddress, ref address);

    /// <summary>Creates, changes or (with 0 bytes) deletes a memory slot. Returns when no vCPU uses the old one.</summary>
    internal void SetMemory(uint slot, Gpa gpa, ulong bytes, nint hostAddress, bool isReadOnly)
    {
        var region = new KvmUserspaceMemoryRegion
        {
            Slot = slot,
            Flags = isReadOnly ? KvmUserspaceMemoryRegion.ReadOnly : 0,
            GuestAddress = gpa.Value,
            Bytes = bytes,
            UserAddress = (ulong)hostAddress,
        };
        Ioctl.Call(_handle, KvmRequests.SetUserMemoryRegion, ref region);
    }

    /// <summary>Switches a capability on.</summary>
    internal unsafe void Enable(KvmCapability capability, ulong argument)
    {
        var request = new KvmEnableCap { Capability = (uint)capability };
        request.Arguments[0] = argument;
        Ioctl.Call(_handle, KvmRequests.EnableCap, ref request);
    }

    /// <summary>Makes every hypercall of the guest an exit.</summary>
    internal void InterceptHypercalls()
    {
        // The kernel arms the intercept with the MSR that Xen guests register with; the last of Xen's range is one that nobody writes.
        const uint LastXenMsr = 0x4FFF_FFFF;
        var config = new KvmXenHvmConfig { Flags = KvmXenHvmConfig.InterceptHypercalls, Msr = LastXenMsr };
        Ioctl.Call(_handle, KvmRequests.XenHvmConfig, ref config);
    }

    /// <summary>Makes accesses to the given MSRs exits, and those to all others the kernel's business again.</summary>
    /// <param name="msrs">In ascending order; x2APIC registers (0x800 to 0x8ff) cannot be among them.</param>
    /// <exception cref="NotSupportedException">They need more ranges than the kernel takes.</exception>
    internal unsafe void SetMsrFilter(IReadOnlyList<uint> msrs)
    {
        const int MaxBits = 0x600 * 8; // KVM_MSR_FILTER_MAX_BITMAP_SIZE
        var filter = new KvmMsrFilter();
        byte* bitmaps = stackalloc byte[KvmMsrFilter.MaxRanges * (MaxBits / 8)];
        int range = -1;
        foreach (uint msr in msrs)
        {
            if (range < 0 || msr - filter.Ranges[range].First >= MaxBits)
            {
                if (++range == KvmMsrFilter.MaxRanges)
                    throw new NotSupportedException($"{msrs.Count} MSRs lie in more than {KvmMsrFilter.MaxRanges} ranges of {MaxBits}");
                byte* bitmap = bitmaps + (range * (MaxBits / 8));
                new Span<byte>(bitmap, MaxBits / 8).Fill(0xFF);
                filter.Ranges[range] = new KvmMsrFilterRange
                {
                    Flags = KvmMsrFilterRange.Reads | KvmMsrFilterRange.Writes,
                    First = msr,
                    Bitmap = (nint)bitmap,
                };
            }

            ref KvmMsrFilterRange current = ref filter.Ranges[range];
            uint bit = msr - current.First;
            current.Count = bit + 1;
            ((byte*)current.Bitmap)[bit / 8] &= (byte)~(1 << (int)(bit % 8));
        }

        Ioctl.Call(_handle, KvmRequests.SetMsrFilter, ref filter);
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();
}
