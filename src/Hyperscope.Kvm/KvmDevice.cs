using System.Runtime.InteropServices;
using Hyperscope.LinuxHost;

namespace Hyperscope.Kvm;

/// <summary>The kernel's hypervisor, /dev/kvm.</summary>
public sealed class KvmDevice : IDisposable
{
    /// <summary>Where it is.</summary>
    public const string DefaultPath = "/dev/kvm";

    private const int ApiVersion = 12;
    private const int MaxCpuidEntries = 256;

    private readonly FileDescriptorHandle _handle;

    /// <summary>Opens it.</summary>
    /// <exception cref="LinuxException">There is none, or not for this user.</exception>
    /// <exception cref="NotSupportedException">It speaks another version of its interface.</exception>
    public KvmDevice(string path = DefaultPath)
    {
        _handle = DeviceFile.Open(path);
        int version = Ioctl.Call(_handle, KvmRequests.GetApiVersion);
        if (version != ApiVersion)
        {
            _handle.Dispose();
            throw new NotSupportedException($"{path} has interface version {version}, not {ApiVersion}");
        }
    }

    /// <summary>What a capability is worth: 0 if it is missing, else a number whose meaning it defines.</summary>
    public int this[KvmCapability capability] => Ioctl.Call(_handle, KvmRequests.CheckExtension, (nuint)capability);

    /// <summary>Bytes of the page that kernel and process share for each vCPU.</summary>
    internal int RunPageBytes => Ioctl.Call(_handle, KvmRequests.GetVcpuMmapSize);

    /// <summary>Makes a VM without memory and vCPUs.</summary>
    /// <exception cref="LinuxException">The kernel refused.</exception>
    public KvmVm CreateVm() => new(this, Ioctl.Open(_handle, KvmRequests.CreateVm));

    /// <summary>The CPUID leaves that this host can give a guest.</summary>
    internal KvmCpuidEntry[] GetSupportedCpuid()
    {
        int head = Marshal.SizeOf<KvmListHeader>(), entry = Marshal.SizeOf<KvmCpuidEntry>();
        byte[] bytes = new byte[head + (MaxCpuidEntries * entry)];
        MemoryMarshal.Write(bytes, new KvmListHeader { Count = MaxCpuidEntries });
        Ioctl.Call(_handle, KvmRequests.GetSupportedCpuid, bytes.AsSpan());
        int count = (int)MemoryMarshal.Read<KvmListHeader>(bytes).Count;
        return MemoryMarshal.Cast<byte, KvmCpuidEntry>(bytes.AsSpan(head, count * entry)).ToArray();
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();
}
