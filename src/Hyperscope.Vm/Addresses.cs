using System.Globalization;

namespace Hyperscope.Vm;

/// <summary>A guest-physical address in bytes.</summary>
/// <param name="Value">The address; no bound is implied.</param>
public readonly record struct Gpa(ulong Value)
{
    /// <summary>The frame this address lies in.</summary>
    public Gfn Frame => new(Value >> Gfn.PageShift);

    /// <summary>Offset inside the 4096-byte page.</summary>
    public int PageOffset => (int)(Value & (Gfn.PageSize - 1));

    /// <summary>The address <paramref name="bytes"/> further on, modulo 2^64.</summary>
    public static Gpa operator +(Gpa address, ulong bytes) => new(unchecked(address.Value + bytes));

    /// <summary>Named form of <c>+</c>.</summary>
    public static Gpa Add(Gpa address, ulong bytes) => address + bytes;

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"0x{Value:x}");
}

/// <summary>A guest-virtual (linear) address in bytes.</summary>
/// <param name="Value">The address; canonical or not.</param>
public readonly record struct Gva(ulong Value)
{
    /// <summary>What KVMI writes where no linear address is known: all ones.</summary>
    public static Gva Unknown => new(ulong.MaxValue);

    /// <summary>Offset inside the 4096-byte page.</summary>
    public int PageOffset => (int)(Value & (Gfn.PageSize - 1));

    /// <summary>The address <paramref name="bytes"/> further on, modulo 2^64.</summary>
    public static Gva operator +(Gva address, ulong bytes) => new(unchecked(address.Value + bytes));

    /// <summary>Named form of <c>+</c>.</summary>
    public static Gva Add(Gva address, ulong bytes) => address + bytes;

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"0x{Value:x}");
}

/// <summary>A guest frame number: a guest-physical address divided by 4096.</summary>
/// <param name="Value">The frame number.</param>
public readonly record struct Gfn(ulong Value)
{
    /// <summary>log2 of the page size.</summary>
    public const int PageShift = 12;

    /// <summary>Bytes in a page.</summary>
    public const int PageSize = 1 << PageShift;

    /// <summary>Address of the first byte of the frame.</summary>
    public Gpa Address => new(Value << PageShift);

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"0x{Value:x}");
}

/// <summary>The position of a vCPU in its VM, 0 to count - 1; not an APIC id.</summary>
/// <param name="Value">The index.</param>
public readonly record struct VcpuIndex(ushort Value)
{
    /// <inheritdoc/>
    public override string ToString() => Value.ToString(CultureInfo.InvariantCulture);
}
