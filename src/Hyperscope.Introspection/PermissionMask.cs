namespace Hyperscope.Introspection;

/// <summary>A set of small ids, and of extension ids, that one thread changes and others test.</summary>
/// <remarks>Source: kvmi-abi.md 4.3.</remarks>
internal sealed class PermissionMask(int count, ulong mandatory)
{
    private const int ExtensionCount = 64;

    private readonly ulong _every = (1UL << count) - 1;
    private readonly ulong _mandatory = mandatory;
    private ulong _bits = mandatory;
    private ulong _extensions;

    /// <summary>True if a command may be used; one that does what an older one does goes by that one's permission.</summary>
    public bool Allows(MessageId id) => Allows((int)(id == MessageId.VmSetViewPageAccess ? MessageId.VmSetPageAccess : id));

    /// <summary>True if the id is known by number and allowed.</summary>
    public bool Allows(int id) => id < count
        ? (Volatile.Read(ref _bits) >> id & 1) != 0
        : IsExtension(id) && (Volatile.Read(ref _extensions) >> (id - KvmiConstants.FirstExtensionId) & 1) != 0;

    /// <summary>Allows or disallows one id, or all with -1. The arguments were checked.</summary>
    /// <returns>False: the id is one that stays allowed.</returns>
    public bool TrySet(int id, bool allow)
    {
        if (id < 0)
        {
            Volatile.Write(ref _bits, allow ? _every : _mandatory);
            Volatile.Write(ref _extensions, allow ? ulong.MaxValue : 0);
            return true;
        }

        if (id >= count)
        {
            if (IsExtension(id))
                Set(ref _extensions, 1UL << (id - KvmiConstants.FirstExtensionId), allow);
            return true;
        }

        ulong bit = 1UL << id;
        if (!allow && (_mandatory & bit) != 0)
            return false;
        Set(ref _bits, bit, allow);
        return true;
    }

    private static bool IsExtension(int id) => id is >= KvmiConstants.FirstExtensionId and < KvmiConstants.FirstExtensionId + ExtensionCount;

    private static void Set(ref ulong bits, ulong bit, bool allow)
    {
        if (allow)
            Interlocked.Or(ref bits, bit);
        else
            Interlocked.And(ref bits, ~bit);
    }
}
