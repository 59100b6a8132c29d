namespace Hyperscope.GuestLinux;

/// <summary>A name of the kernel or of one of its modules.</summary>
/// <param name="Address">Where it is.</param>
/// <param name="Type">As <c>nm</c> shows it: T text, D data, R read-only data, B zeroed data; lower case if local.</param>
/// <param name="Name">The name.</param>
public readonly record struct KernelSymbol(Gva Address, char Type, string Name)
{
    /// <summary>It names code.</summary>
    public bool IsText => Type is 'T' or 't' or 'W' or 'w';

    /// <inheritdoc/>
    public override string ToString() => Name;
}

/// <summary>An address by the symbol before it.</summary>
/// <param name="Symbol">The nearest symbol at or below the address.</param>
/// <param name="Offset">Bytes from there.</param>
/// <param name="Size">Bytes to the next symbol; 0 for the last one.</param>
public readonly record struct SymbolOffset(KernelSymbol Symbol, ulong Offset, ulong Size)
{
    /// <inheritdoc/>
    public override string ToString() => Offset == 0 ? Symbol.Name : $"{Symbol.Name}+0x{Offset:x}";
}
