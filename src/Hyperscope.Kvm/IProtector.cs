using Hyperscope.LinuxHost;

namespace Hyperscope.Kvm;

/// <summary>Puts host protections of one mapping into force. What is in force, the caller knows.</summary>
internal interface IProtector
{
    /// <summary>Whose; the caller disposes it.</summary>
    MemoryMapping Mapping { get; }

    /// <summary>Whether read-only pages take memory ranges of their own, as inaccessible ones always do.</summary>
    bool SplitsWrites { get; }

    /// <summary>Gives pages a protection. When it throws, each of them has at most the rights it had, or may lack a right it had.</summary>
    /// <param name="offset">First byte, page-aligned.</param>
    /// <param name="length">Bytes, whole pages.</param>
    /// <param name="protection">What is allowed from now on.</param>
    /// <param name="wasClosed">Some of them may have been inaccessible.</param>
    /// <exception cref="LinuxException">The kernel refused: ENOMEM means that there are too many memory ranges, or no memory.</exception>
    void Protect(ulong offset, ulong length, MemoryProtection protection, bool wasClosed);

    /// <summary>Opens all pages.</summary>
    void Open();
}

/// <summary>With mprotect alone.</summary>
internal sealed class MprotectProtector(MemoryMapping mapping) : IProtector
{
    public MemoryMapping Mapping => mapping;

    public bool SplitsWrites => true;

    public void Protect(ulong offset, ulong length, MemoryProtection protection, bool wasClosed) => mapping.Protect(offset, length, protection);

    public void Open() => mapping.Protect(0, mapping.Length, MemoryProtection.ReadWrite);
}

/// <summary>With userfaultfd's write protection below mprotect's.</summary>
/// <remarks>A page that is inaccessible may or may not be write-protected too. Memory is registered only while it has write-protected pages: in
/// registered memory the first write to a page that was read first is one more fault for the kernel.</remarks>
internal sealed class UserfaultProtector : IProtector
{
    private readonly UserFaultFd _writes;
    private bool _isRegistered;

    private UserfaultProtector(UserFaultFd writes, MemoryMapping mapping)
    {
        _writes = writes;
        Mapping = mapping;
    }

    public MemoryMapping Mapping { get; }

    public bool SplitsWrites => false;

    /// <summary>Null: the kernel cannot do that with memory of this kind, such as a file on a disk.</summary>
    public static UserfaultProtector? TryCreate(UserFaultFd writes, MemoryMapping mapping)
    {
        if (!writes.TryRegister(mapping))
            return null;
        writes.Unregister(mapping);
        return new UserfaultProtector(writes, mapping);
    }

    public void Protect(ulong offset, ulong length, MemoryProtection protection, bool wasClosed)
    {
        // In an order in which a refusal in between opens nothing.
        switch (protection)
        {
            case MemoryProtection.None:
                Mapping.Protect(offset, length, MemoryProtection.None);
                return;
            case MemoryProtection.Read:
                if (!_isRegistered && !(_isRegistered = _writes.TryRegister(Mapping)))
                    throw new NotSupportedException("the kernel no longer write-protects memory that it could write-protect before");
                _writes.Protect(Mapping, offset, length, isDenied: true);
                if (wasClosed)
                    Mapping.Protect(offset, length, MemoryProtection.ReadWrite);
                return;
            default:
                if (wasClosed)
                    Mapping.Protect(offset, length, MemoryProtection.ReadWrite);
                if (_isRegistered)
                    _writes.Protect(Mapping, offset, length, isDenied: false);
                return;
        }
    }

    public void Open()
    {
        Mapping.Protect(0, Mapping.Length, MemoryProtection.ReadWrite);
        if (!_isRegistered)
            return;
        _isRegistered = false;
        _writes.Unregister(Mapping);
    }
}
