using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Hyperscope.LinuxHost;
using Hyperscope.Vm;

namespace Hyperscope.Kvm;

/// <summary>One vCPU of the kernel: a descriptor and the page shared with it. Belongs to one thread.</summary>
public sealed unsafe partial class KvmVcpu : IDisposable
{
    private readonly FileDescriptorHandle _handle;
    private readonly MemoryMapping _page;

    internal KvmVcpu(KvmVm vm, FileDescriptorHandle handle, int pageBytes)
    {
        Vm = vm;
        _handle = handle;
        _page = MemoryMapping.Create(handle, 0, (ulong)pageBytes);
        PageBytes = pageBytes;
    }

    /// <summary>Whose vCPU this is.</summary>
    public KvmVm Vm { get; }

    /// <summary>Bytes of the shared page.</summary>
    internal int PageBytes { get; }

    /// <summary>The shared page. Sound: mapped until Dispose, which the owner calls after the vCPU's thread has ended; the kernel gave at least
    /// the size of the structure.</summary>
    internal ref KvmRun Page => ref Unsafe.AsRef<KvmRun>((void*)_page.Address);

    /// <summary>The data of a port exit, which lies behind the structure in the same mapping.</summary>
    internal Span<byte> PortData(in KvmExitIo io)
    {
        ulong bytes = (ulong)io.Size * io.Count;
        return io.DataOffset <= (ulong)PageBytes && bytes <= (ulong)PageBytes - io.DataOffset
            ? new Span<byte>((byte*)_page.Address + io.DataOffset, (int)bytes)
            : [];
    }

    /// <summary>Executes the guest until something must be done outside.</summary>
    /// <returns>0, or the error number: EINTR and EAGAIN are ordinary, EFAULT means memory that this process may not touch.</returns>
    internal int Run() => RunVcpu(_handle, KvmRequests.Run.Code, 0) == 0 ? 0 : Marshal.GetLastPInvokeError();

    internal void SetSregs(in KvmSregs sregs) => Set(KvmRequests.SetSregs, sregs);

    internal void GetSregs(out KvmSregs sregs) => Get(KvmRequests.GetSregs, out sregs);

    internal void SetRegs(in KvmRegs regs) => Set(KvmRequests.SetRegs, regs);

    internal void GetRegs(out KvmRegs regs) => Get(KvmRequests.GetRegs, out regs);

    internal void GetXsave(Span<byte> image)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(image.Length, sizeof(KvmXsave));
        Ioctl.Call(_handle, KvmRequests.GetXsave, image);
    }

    internal void SetXsave(Span<byte> image)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(image.Length, sizeof(KvmXsave));
        Ioctl.Call(_handle, KvmRequests.SetXsave, image);
    }

    internal ulong GetXcr0()
    {
        Get(KvmRequests.GetXcrs, out KvmXcrs registers);
        return registers.Count == 0 ? 1 : registers.FirstValue;
    }

    internal void SetXcr0(ulong value) => Set(KvmRequests.SetXcrs, new KvmXcrs { Count = 1, FirstValue = value });

    internal void GetDebugRegs(out KvmDebugRegs registers) => Get(KvmRequests.GetDebugRegs, out registers);

    internal void SetDebugRegs(in KvmDebugRegs registers) => Set(KvmRequests.SetDebugRegs, registers);

    internal void SetGuestDebug(uint control) =>
        Set(KvmRequests.SetGuestDebug, new KvmGuestDebug { Control = control == 0 ? 0 : control | KvmGuestDebug.Enable });

    internal bool TryGetMsr(uint index, out ulong value)
    {
        OneMsr list = new() { Header = { Count = 1 }, Entry = { Index = index } };
        bool read = Ioctl.Call(_handle, KvmRequests.GetMsrs, MemoryMarshal.AsBytes(new Span<OneMsr>(ref list))) == 1;
        value = list.Entry.Data;
        return read;
    }

    internal bool TrySetMsr(uint index, ulong value)
    {
        OneMsr list = new() { Header = { Count = 1 }, Entry = { Index = index, Data = value } };
        return Ioctl.Call(_handle, KvmRequests.SetMsrs, MemoryMarshal.AsBytes(new Span<OneMsr>(ref list))) == 1;
    }

    /// <summary>Reads several MSRs with one call.</summary>
    /// <returns>How many were read, from the first one on.</returns>
    internal int GetMsrs(Span<KvmMsrEntry> entries)
    {
        Span<byte> bytes = stackalloc byte[sizeof(KvmListHeader) + (entries.Length * sizeof(KvmMsrEntry))];
        MemoryMarshal.Write(bytes, new KvmListHeader { Count = (uint)entries.Length });
        Span<KvmMsrEntry> list = MemoryMarshal.Cast<byte, KvmMsrEntry>(bytes[sizeof(KvmListHeader)..]);
        entries.CopyTo(list);
        int count = Ioctl.Call(_handle, KvmRequests.GetMsrs, bytes);
        list.CopyTo(entries);
        return count;
    }

    internal void SetCpuid(ReadOnlySpan<KvmCpuidEntry> entries)
    {
        byte[] bytes = new byte[sizeof(KvmListHeader) + (entries.Length * sizeof(KvmCpuidEntry))];
        MemoryMarshal.Write(bytes, new KvmListHeader { Count = (uint)entries.Length });
        MemoryMarshal.AsBytes(entries).CopyTo(bytes.AsSpan(sizeof(KvmListHeader)));
        Ioctl.Call(_handle, KvmRequests.SetCpuid2, bytes.AsSpan());
    }

    /// <summary>Guest TSC ticks per second.</summary>
    internal ulong GetTscFrequency() => (ulong)Ioctl.Call(_handle, KvmRequests.GetTscKhz) * 1000;

    /// <inheritdoc/>
    public void Dispose()
    {
        _page.Dispose();
        _handle.Dispose();
    }

    private void Get<T>(IoctlRequest<T> request, out T value, [CallerArgumentExpression(nameof(request))] string name = "")
        where T : unmanaged
    {
        value = default;
        _ = Ioctl.Call(_handle, request, ref value, name);
    }

    private void Set<T>(IoctlRequest<T> request, in T value, [CallerArgumentExpression(nameof(request))] string name = "")
        where T : unmanaged
    {
        T copy = value;
        _ = Ioctl.Call(_handle, request, ref copy, name);
    }

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int RunVcpu(FileDescriptorHandle fd, nuint request, nuint argument);

    [StructLayout(LayoutKind.Sequential)]
    private struct OneMsr
    {
        public KvmListHeader Header;
        public KvmMsrEntry Entry;
    }
}
