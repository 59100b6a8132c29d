namespace Hyperscope.GuestLinux;

/// <summary>What an entry says of its frame.</summary>
internal enum OrcKind
{
    /// <summary>Nothing: the stack cannot be followed from here.</summary>
    Undefined,

    /// <summary>There is no frame above.</summary>
    End,

    /// <summary>Called: the return address lies below the frame.</summary>
    Call,

    /// <summary>Interrupted: all registers lie at the frame.</summary>
    Registers,

    /// <summary>Interrupted: rip, cs, rflags, rsp and ss lie at the frame.</summary>
    InterruptFrame,
}

/// <summary>An entry: how to get from a frame to the one above.</summary>
/// <param name="SpOffset">Added to <paramref name="SpRegister"/>.</param>
/// <param name="BpOffset">Added to <paramref name="BpRegister"/>.</param>
/// <param name="SpRegister">One of <see cref="OrcRegister"/>.</param>
/// <param name="BpRegister">One of <see cref="OrcRegister"/>.</param>
/// <param name="Kind">What is there.</param>
internal readonly record struct OrcEntry(short SpOffset, short BpOffset, int SpRegister, int BpRegister, OrcKind Kind);

/// <summary>Registers by the numbers of entries. Source: Linux arch/x86/include/asm/orc_types.h.</summary>
internal static class OrcRegister
{
    public const int Undefined = 0, PreviousSp = 1, Dx = 2, Di = 3, Bp = 4, Sp = 5, R10 = 6, R13 = 7, BpIndirect = 8, SpIndirect = 9;
}

/// <summary>How the 6 bytes of an entry are laid out. They are two offsets and 16 bits of fields.</summary>
/// <param name="TypeShift">Where the type is in those 16 bits.</param>
/// <param name="TypeBits">2 until 6.3, 3 from 6.4 on.</param>
/// <param name="EndShift">Where the bit is that ends a stack; negative: that is a type (6.4 and later).</param>
internal sealed record OrcFormat(int TypeShift, int TypeBits, int EndShift)
{
    public const int EntrySize = 6;

    private const int FieldsOffset = 4; // of the 16 bits

    private static readonly OrcKind[] OldKinds = [OrcKind.Call, OrcKind.Registers, OrcKind.InterruptFrame, OrcKind.Undefined];

    private static readonly OrcKind[] NewKinds =
    [
        OrcKind.Undefined, OrcKind.End, OrcKind.Call, OrcKind.Registers, OrcKind.InterruptFrame, OrcKind.Undefined, OrcKind.Undefined, OrcKind.Undefined,
    ];

    /// <summary>Linux 5.15 to 6.2.</summary>
    public static OrcFormat Old => new(8, 2, 10);

    /// <summary>Linux 6.4 and later.</summary>
    public static OrcFormat New => new(8, 3, -1);

    /// <summary>The layout that a kernel describes itself.</summary>
    public static OrcFormat Of(Btf btf)
    {
        BtfStruct type = btf.StructOf("orc_entry");
        BtfMember kind = type.Member("type");
        return new OrcFormat(
            (int)kind.BitOffset - FieldsOffset * 8, kind.BitSize, type.TryMember("end", out BtfMember? end) ? (int)end.BitOffset - FieldsOffset * 8 : -1);
    }

    /// <summary>Without types: the layout changed once between the kernels that are known.</summary>
    public static OrcFormat OfRelease(string release)
    {
        string[] parts = release.Split('.', '-');
        bool isOld = parts.Length >= 2 && int.TryParse(parts[0], out int major) && int.TryParse(parts[1], out int minor)
            && (major < 6 || (major == 6 && minor < 4));
        return isOld ? Old : New;
    }

    /// <summary>Reads an entry.</summary>
    public OrcEntry Decode(ReadOnlySpan<byte> bytes)
    {
        int fields = BinaryPrimitives.ReadUInt16LittleEndian(bytes[FieldsOffset..]);
        int type = fields >> TypeShift & ((1 << TypeBits) - 1), sp = fields & 15;
        bool ends = EndShift >= 0 && (fields >> EndShift & 1) != 0;
        OrcKind kind = ends ? OrcKind.End : TypeBits == 2 ? OldKinds[type] : NewKinds[type & 7];
        if (sp == OrcRegister.Undefined && kind != OrcKind.End)
            kind = OrcKind.Undefined;
        return new OrcEntry(
            BinaryPrimitives.ReadInt16LittleEndian(bytes), BinaryPrimitives.ReadInt16LittleEndian(bytes[2..]), sp, fields >> 4 & 15, kind);
    }
}
