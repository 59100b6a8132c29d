namespace Hyperscope.Introspection;

/// <summary>A set of small ids that one thread changes and others test. Extension ids share one switch: all or none.</summary>
/// <remarks>Source: kvmi-abi.md 4.3.</remarks>
internal sealed class PermissionMask(int count, ulong mandatory)
{
    private readonly ulong _every = (1UL << count) - 1;
    private readonly ulong _mandatory = mandatory;
    private ulong _bits = mandatory;
    private bool _extensions;

    /// <summary>True if a command may be used; one that does what an older one does goes by that one's permission.</summary>
    public bool Allows(MessageId id) => Allows((int)(id == MessageId.VmSetViewPageAccess ? MessageId.VmSetPageAccess : id));

    /// <summary>True if the id is known by number and allowed.</summary>
    public bool Allows(int id) =>
        id < count ? (Volatile.Read(ref _bits) >> id & 1) != 0 : id >= KvmiConstants.FirstExtensionId && Volatile.Read(ref _extensions);

    /// <summary>Allows or disallows one id, or all with -1. The arguments were checked.</summary>
    /// <returns>False: the id is one that stays allowed.</returns>
    public bool TrySet(int id, bool allow)
    {
        if (id < 0)
        {
            Volatile.Write(ref _bits, allow ? _every : _mandatory);
            Volatile.Write(ref _extensions, allow);
            return true;
        }

        if (id >= count)
        {
            if (id >= KvmiConstants.FirstExtensionId)
                Volatile.Write(ref _extensions, allow);
            return true;
        }

        ulong bit = 1UL << id;
        if (!allow && (_mandatory & bit) != 0)
            return false;
        if (allow)
            Interlocked.Or(ref _bits, bit);
        else
            Interlocked.And(ref _bits, ~bit);
        return true;
    }
}
