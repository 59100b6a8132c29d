using System.Runtime.InteropServices;

namespace Hyperscope.LinuxHost;

/// <summary>Write protection of single pages of shared memory as this process has it mapped (userfaultfd).</summary>
/// <remarks>
/// <para>Unlike mprotect it splits no memory range, of which a process may have few. It lies below the mapping's own protection: a write needs
/// both. Pages that nobody has touched yet can be protected too.</para>
/// <para>Nobody is told of a write that is stopped and nobody waits (UFFD_FEATURE_SIGBUS): a system call and a vCPU get EFAULT, code of this
/// process gets SIGBUS. That is why only faults in user mode are asked for (UFFD_USER_MODE_ONLY), which needs no privilege: the kernel's
/// own are stopped all the same.</para>
/// </remarks>
public sealed partial class UserFaultFd : IDisposable
{
    private const nint Userfaultfd = 323; // the system call's number
    private const nint CloseOnExec = 0x80000, NonBlocking = 0x800, UserModeOnly = 1;

    private readonly FileDescriptorHandle _handle;

    /// <summary>Opens a descriptor; closing it makes every page that it protects writable.</summary>
    /// <exception cref="LinuxException">userfaultfd is not for this process.</exception>
    /// <exception cref="NotSupportedException">This kernel cannot write-protect shared memory.</exception>
    public UserFaultFd()
    {
        nint descriptor = Syscall(Userfaultfd, CloseOnExec | NonBlocking | UserModeOnly);
        if (descriptor < 0)
            throw LinuxException.FromLastCall("userfaultfd");
        _handle = new FileDescriptorHandle((int)descriptor);
        var api = new UffdioApi { Api = UffdioApi.Version, Features = UffdioApi.Sigbus | UffdioApi.WriteProtectShared };
        if (Ioctl.TryCall(_handle, UffdioRequests.Api, ref api) >= 0)
            return;
        LinuxException refused = LinuxException.FromLastCall("ioctl UFFDIO_API");
        _handle.Dispose();
        throw refused.Errno == Errno.Invalid
            ? new NotSupportedException("this kernel's userfaultfd cannot write-protect shared memory; Linux 5.19 and later can")
            : refused;
    }

    /// <summary>Makes the pages of a mapping ones that can be protected. None is yet.</summary>
    /// <returns>False: it is not memory of a kind that can be: neither a memory file's nor tmpfs's.</returns>
    /// <exception cref="LinuxException">The kernel refused for another reason.</exception>
    public bool TryRegister(MemoryMapping mapping)
    {
        ArgumentNullException.ThrowIfNull(mapping);
        var register = new UffdioRegister { Range = RangeOf(mapping, 0, mapping.Length), Mode = UffdioRegister.WriteProtect };
        if (Ioctl.TryCall(_handle, UffdioRequests.Register, ref register) >= 0)
            return (register.Ioctls & (1UL << UffdioRequests.WriteProtectNumber)) != 0;
        LinuxException refused = LinuxException.FromLastCall("ioctl UFFDIO_REGISTER");
        return refused.Errno == Errno.Invalid ? false : throw refused;
    }

    /// <summary>Undoes <see cref="TryRegister"/>: no page of the mapping is protected any more. Unmapping does so too.</summary>
    /// <exception cref="LinuxException">The kernel refused.</exception>
    public void Unregister(MemoryMapping mapping)
    {
        ArgumentNullException.ThrowIfNull(mapping);
        UffdioRange range = RangeOf(mapping, 0, mapping.Length);
        _ = Ioctl.Call(_handle, UffdioRequests.Unregister, ref range, "UFFDIO_UNREGISTER");
    }

    /// <summary>Protects pages of a registered mapping, or ends that. When it returns, no vCPU can write to what is protected.</summary>
    /// <param name="mapping">Whose.</param>
    /// <param name="offset">First byte, page-aligned.</param>
    /// <param name="length">Bytes, whole pages.</param>
    /// <param name="isDenied">Whether writing is denied from now on.</param>
    /// <exception cref="LinuxException">The kernel refused: ENOMEM means that there is no memory for page tables.</exception>
    public void Protect(MemoryMapping mapping, ulong offset, ulong length, bool isDenied)
    {
        ArgumentNullException.ThrowIfNull(mapping);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, mapping.Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, mapping.Length - offset);
        var protect = new UffdioWriteProtect { Range = RangeOf(mapping, offset, length), Mode = isDenied ? UffdioWriteProtect.Deny : 0 };
        _ = Ioctl.Call(_handle, UffdioRequests.WriteProtect, ref protect, "UFFDIO_WRITEPROTECT");
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();

    private static UffdioRange RangeOf(MemoryMapping mapping, ulong offset, ulong length) => new() { Start = (ulong)mapping.Address + offset, Length = length };

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint Syscall(nint number, nint flags);
}
