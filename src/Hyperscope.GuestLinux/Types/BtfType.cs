namespace Hyperscope.GuestLinux;

/// <summary>A type of the kernel.</summary>
public readonly record struct BtfType
{
    private readonly Btf _btf;

    internal BtfType(Btf btf, int id)
    {
        _btf = btf;
        Id = id;
    }

    /// <summary>Its number in the section; 0 is void.</summary>
    public int Id { get; }

    /// <summary>What it is behind typedefs and qualifiers.</summary>
    public BtfKind Kind => _btf.KindOf(_btf.Resolve(Id));

    /// <summary>Its own name; nothing for pointers, arrays and what has none.</summary>
    public string Name => _btf.NameOf(Id);

    /// <summary>Bytes; 0 where it has no size.</summary>
    public long Size => _btf.SizeOf(Id);

    /// <summary>Whether an integer has a sign.</summary>
    public bool IsSigned => (_btf.IntegerOf(_btf.Resolve(Id)) >> 24 & 1) != 0;

    /// <summary>What a pointer points to, or the element of an array; void otherwise.</summary>
    public BtfType Target
    {
        get
        {
            int id = _btf.Resolve(Id);
            return _btf.KindOf(id) switch
            {
                BtfKind.Pointer => new BtfType(_btf, _btf.TargetOf(id)),
                BtfKind.Array => new BtfType(_btf, _btf.ArrayOf(id).Element),
                _ => new BtfType(_btf, 0),
            };
        }
    }

    /// <summary>Elements of an array; 0 otherwise.</summary>
    public uint ArrayLength => _btf.ArrayOf(_btf.Resolve(Id)).Count;

    /// <summary>The structure or union that it is, or null.</summary>
    public BtfStruct? Struct => _btf.StructOf(Id);

    /// <summary>Names and values of an enum; empty otherwise.</summary>
    public IReadOnlyList<(string Name, long Value)> Enumerators => _btf.EnumeratorsOf(_btf.Resolve(Id));

    /// <summary>It as C writes it, such as <c>const char *</c>.</summary>
    public override string ToString()
    {
        string suffix = "";
        bool isConst = false;
        int id = Id;
        for (int hops = 0; hops < 32; hops++)
        {
            switch (_btf.KindOf(id))
            {
                case BtfKind.Pointer:
                    suffix = (isConst ? "*const " : "*") + suffix;
                    isConst = false;
                    break;
                case BtfKind.Array:
                    (int element, uint count) = _btf.ArrayOf(id);
                    suffix += $"[{count}]";
                    id = element;
                    continue;
                case BtfKind.Const:
                    isConst = true;
                    break;
                case BtfKind.Volatile or BtfKind.Restrict or BtfKind.TypeTag:
                    break;
                default:
                    string text = (isConst ? "const " : "") + Base(id);
                    return suffix.Length == 0 || suffix[0] == '[' ? text + suffix : $"{text} {suffix.TrimEnd()}";
            }

            id = _btf.TargetOf(id);
        }

        return "?";
    }

    private string Base(int id)
    {
        string name = _btf.NameOf(id);
        return _btf.KindOf(id) switch
        {
            BtfKind.Void => "void",
            BtfKind.Struct => name.Length == 0 ? "struct {...}" : $"struct {name}",
            BtfKind.Union => name.Length == 0 ? "union {...}" : $"union {name}",
            BtfKind.Enum or BtfKind.Enum64 => name.Length == 0 ? "enum {...}" : $"enum {name}",
            BtfKind.Forward => $"struct {name}",
            BtfKind.FunctionPrototype => "function",
            _ => name,
        };
    }
}

/// <summary>A member of a structure.</summary>
/// <param name="Name">Its name; empty for an unnamed structure or union.</param>
/// <param name="BitOffset">Bits from the start of the structure it was looked up in.</param>
/// <param name="BitSize">Bits of a bit field; 0 for an ordinary member.</param>
/// <param name="Size">Bytes of its type.</param>
/// <param name="Type">Its type.</param>
public sealed record BtfMember(string Name, uint BitOffset, int BitSize, int Size, BtfType Type)
{
    /// <summary>Bytes from the start of the structure, rounded down for a bit field.</summary>
    public int Offset => (int)(BitOffset / 8);
}

/// <summary>A parameter of a function.</summary>
public sealed record BtfParameter(string Name, BtfType Type);

/// <summary>A function's name, result and parameters.</summary>
public sealed record BtfFunction(string Name, BtfType Result, IReadOnlyList<BtfParameter> Parameters);
