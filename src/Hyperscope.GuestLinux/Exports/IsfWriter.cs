using System.Text;
using System.Text.Json;

namespace Hyperscope.GuestLinux;

/// <summary>Writes a kernel's types and symbols in the intermediate symbol format (ISF) that Volatility 3 and LibVMI read.</summary>
/// <remarks>Everything is the guest's own word: types from BTF, symbols from kallsyms at the addresses that the kernel was linked for. BTF says
/// nothing of most variables, so the few whose type tools ask for are named here. Source: the schema 6.2.0 that comes with Volatility 3.</remarks>
internal sealed class IsfWriter
{
    private const string Format = "6.2.0";
    private const int MaxNesting = 32; // pointers to pointers; a guest's types may nest as they like
    private const ulong ImageBase = 0xffffffff_80000000; // below are offsets and addresses that KASLR does not move with the image

    /// <summary>Variables that tools look up by type. A name that a kernel lacks is left out with its symbol.</summary>
    private static readonly Dictionary<string, KnownType> _knownVariables = new(StringComparer.Ordinal)
    {
        ["init_task"] = KnownType.Struct("task_struct"),
        ["init_mm"] = KnownType.Struct("mm_struct"),
        ["init_pid_ns"] = KnownType.Struct("pid_namespace"),
        ["init_user_ns"] = KnownType.Struct("user_namespace"),
        ["init_uts_ns"] = KnownType.Struct("uts_namespace"),
        ["init_nsproxy"] = KnownType.Struct("nsproxy"),
        ["init_net"] = KnownType.Struct("net"),
        ["init_fs"] = KnownType.Struct("fs_struct"),
        ["init_files"] = KnownType.Struct("files_struct"),
        ["modules"] = KnownType.Struct("list_head"),
        ["net_namespace_list"] = KnownType.Struct("list_head"),
        ["tty_drivers"] = KnownType.Struct("list_head"),
        ["vmap_area_list"] = KnownType.Struct("list_head"),
        ["iomem_resource"] = KnownType.Struct("resource"),
        ["module_kset"] = KnownType.Pointer("kset"),
        ["file_systems"] = KnownType.Pointer("file_system_type"),
        ["prb"] = KnownType.Pointer("printk_ringbuffer"),
        ["mod_tree"] = KnownType.Struct("mod_tree_root"),
        ["_text"] = KnownType.Base("char"),
        ["_etext"] = KnownType.Base("char"),
        ["_stext"] = KnownType.Base("char"),
        ["_sinittext"] = KnownType.Base("char"),
        ["_einittext"] = KnownType.Base("char"),
        ["page_offset_base"] = KnownType.Base("long unsigned int"),
        ["vmalloc_base"] = KnownType.Base("long unsigned int"),
        ["vmemmap_base"] = KnownType.Base("long unsigned int"),
        ["phys_base"] = KnownType.Base("long unsigned int"),
        ["jiffies_64"] = KnownType.Base("long unsigned int"),
    };

    private readonly LinuxGuest _guest;
    private readonly Btf _btf;
    private readonly Utf8JsonWriter _json;
    private readonly Dictionary<(bool IsEnum, string Name), int> _owners = [];
    private readonly Dictionary<string, int> _variables = new(StringComparer.Ordinal);

    /// <summary>A writer for one guest and one file.</summary>
    internal IsfWriter(LinuxGuest guest, Utf8JsonWriter json)
    {
        _guest = guest;
        _btf = guest.Btf;
        _json = json;
        for (int id = 1; id < _btf.Count; id++)
        {
            BtfKind kind = _btf.KindOf(id);
            if (IsAggregate(kind) || IsEnum(kind))
                _owners.TryAdd((IsEnum(kind), _btf.NameOf(id)), id);
            else if (kind == BtfKind.Variable)
                _variables.TryAdd(_btf.NameOf(id), _btf.TargetOf(id));
        }
    }

    /// <summary>Writes all of it.</summary>
    /// <returns>Numbers of what was written.</returns>
    internal async Task<IsfSummary> WriteAsync(CancellationToken cancellation)
    {
        _json.WriteStartObject();
        WriteMetadata();
        WriteBaseTypes();
        int types = await WriteSectionAsync("user_types", IsAggregate, WriteAggregate, cancellation).ConfigureAwait(false);
        int enums = await WriteSectionAsync("enums", IsEnum, WriteEnum, cancellation).ConfigureAwait(false);
        int symbols = await WriteSymbolsAsync(cancellation).ConfigureAwait(false);
        _json.WriteEndObject();
        await _json.FlushAsync(cancellation).ConfigureAwait(false);
        return new IsfSummary(types, enums, symbols);
    }

    private static bool IsAggregate(BtfKind kind) => kind is BtfKind.Struct or BtfKind.Union;

    private static bool IsEnum(BtfKind kind) => kind is BtfKind.Enum or BtfKind.Enum64;

    private void WriteMetadata()
    {
        _json.WriteStartObject("metadata");
        _json.WriteString("format", Format);
        _json.WriteStartObject("producer");
        _json.WriteString("name", "hyperscope");
        _json.WriteString("version", typeof(IsfWriter).Assembly.GetName().Version?.ToString(3) ?? "0.0.0");
        _json.WriteEndObject();
        _json.WriteStartObject("linux");
        WriteSource("symbols", "symtab"); // the schema knows no kallsyms and no BTF; these are what comes nearest
        WriteSource("types", "dwarf");
        _json.WriteEndObject();
        _json.WriteEndObject();
    }

    private void WriteSource(string what, string kind)
    {
        _json.WriteStartArray(what);
        _json.WriteStartObject();
        _json.WriteString("kind", kind);
        _json.WriteString("name", _guest.Release);
        _json.WriteEndObject();
        _json.WriteEndArray();
    }

    private void WriteBaseTypes()
    {
        var written = new HashSet<string>(StringComparer.Ordinal);
        _json.WriteStartObject("base_types");
        for (int id = 1; id < _btf.Count; id++)
        {
            BtfKind kind = _btf.KindOf(id);
            if (kind is not (BtfKind.Int or BtfKind.Float) || !written.Add(_btf.NameOf(id)))
                continue;
            uint encoding = _btf.IntegerOf(id) >> 24;
            bool isChar = _btf.NameOf(id) is "char" or "unsigned char" or "signed char";
            string sort = kind == BtfKind.Float ? "float" : (encoding & 4) != 0 ? "bool" : isChar ? "char" : "int";
            WriteBase(_btf.NameOf(id), _btf.SizeOf(id), kind == BtfKind.Float || (encoding & 1) != 0, sort);
        }

        // What enums and known variables refer to, whether or not a kernel uses it elsewhere.
        foreach ((string name, int size, bool isSigned, string sort) in new[]
        {
            ("void", 0, false, "void"), ("pointer", 8, false, "int"), ("int", 4, true, "int"), ("unsigned int", 4, false, "int"),
            ("long int", 8, true, "int"), ("long unsigned int", 8, false, "int"), ("char", 1, true, "char"),
        })
        {
            if (written.Add(name))
                WriteBase(name, size, isSigned, sort);
        }

        _json.WriteEndObject();
    }

    private void WriteBase(string name, long size, bool isSigned, string kind)
    {
        _json.WriteStartObject(name);
        _json.WriteNumber("size", size);
        _json.WriteBoolean("signed", isSigned);
        _json.WriteString("kind", kind);
        _json.WriteString("endian", "little");
        _json.WriteEndObject();
    }

    private async Task<int> WriteSectionAsync(string name, Func<BtfKind, bool> wanted, Action<int> write, CancellationToken cancellation)
    {
        int count = 0;
        _json.WriteStartObject(name);
        for (int id = 1; id < _btf.Count; id++)
        {
            if (!wanted(_btf.KindOf(id)))
                continue;
            write(id);
            count++;
            await FlushSomeAsync(cancellation).ConfigureAwait(false);
        }

        _json.WriteEndObject();
        return count;
    }

    private void WriteAggregate(int id)
    {
        _json.WriteStartObject(UniqueName(id));
        _json.WriteString("kind", _btf.KindOf(id) == BtfKind.Union ? "union" : "struct");
        _json.WriteNumber("size", _btf.SizeOf(id));
        _json.WriteStartObject("fields");
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (BtfMember member in _btf.MembersOf(id))
        {
            bool isAnonymous = member.Name.Length == 0;
            string name = isAnonymous ? $"unnamed_field_{names.Count}" : member.Name;
            if (names.Add(name))
                WriteField(name, member, isAnonymous);
        }

        _json.WriteEndObject();
        _json.WriteEndObject();
    }

    private void WriteField(string name, BtfMember member, bool isAnonymous)
    {
        _json.WriteStartObject(name);
        if (member.BitSize == 0)
        {
            _json.WriteNumber("offset", member.Offset);
            WriteType("type", member.Type.Id, 0);
        }
        else
        {
            uint unit = (uint)Math.Clamp(member.Size, 1, 8) * 8; // bits of the integer that holds the field
            _json.WriteNumber("offset", member.BitOffset / unit * (unit / 8));
            _json.WriteStartObject("type");
            _json.WriteString("kind", "bitfield");
            _json.WriteNumber("bit_position", member.BitOffset % unit);
            _json.WriteNumber("bit_length", member.BitSize);
            WriteType("type", member.Type.Id, 0);
            _json.WriteEndObject();
        }

        if (isAnonymous)
            _json.WriteBoolean("anonymous", true);
        _json.WriteEndObject();
    }

    private void WriteEnum(int id)
    {
        IReadOnlyList<(string Name, long Value)> values = _btf.EnumeratorsOf(id);
        long size = _btf.SizeOf(id);
        bool isSigned = values.Any(static item => item.Value < 0);
        _json.WriteStartObject(UniqueName(id));
        _json.WriteNumber("size", size);
        _json.WriteString("base", (size == 8, isSigned) switch
        {
            (true, true) => "long int",
            (true, false) => "long unsigned int",
            (false, true) => "int",
            (false, false) => "unsigned int",
        });
        _json.WriteStartObject("constants");
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach ((string name, long value) in values)
        {
            if (names.Add(name))
                _json.WriteNumber(name, value);
        }

        _json.WriteEndObject();
        _json.WriteEndObject();
    }

    private async Task<int> WriteSymbolsAsync(CancellationToken cancellation)
    {
        var written = new HashSet<string>(StringComparer.Ordinal);
        _json.WriteStartObject("symbols");
        foreach (KernelSymbol symbol in _guest.Symbols.All())
        {
            if (!written.Add(symbol.Name))
                continue; // local functions share names; the first is kept
            ulong address = symbol.Address.Value;
            _json.WriteStartObject(symbol.Name);
            _json.WriteNumber("address", address >= ImageBase ? unchecked(address - (ulong)_guest.Layout.Slide) : address);
            if (symbol.Name == "linux_banner")
                WriteBanner();
            else if (_variables.TryGetValue(symbol.Name, out int type))
                WriteType("type", type, 0);
            else if (_knownVariables.TryGetValue(symbol.Name, out KnownType? known))
                known.Write(_json);
            _json.WriteEndObject();
            await FlushSomeAsync(cancellation).ConfigureAwait(false);
        }

        _json.WriteEndObject();
        return written.Count;
    }

    /// <summary>The banner with its text: it is how Volatility tells which file belongs to which memory.</summary>
    private void WriteBanner()
    {
        byte[] banner = Encoding.Latin1.GetBytes(_guest.Banner + "\n\0");
        _json.WriteStartObject("type");
        _json.WriteString("kind", "array");
        _json.WriteNumber("count", banner.Length);
        _json.WriteStartObject("subtype");
        _json.WriteString("kind", "base");
        _json.WriteString("name", "char");
        _json.WriteEndObject();
        _json.WriteEndObject();
        _json.WriteBase64String("constant_data", banner);
    }

    private void WriteType(string property, int id, int depth)
    {
        id = _btf.Resolve(id);
        BtfKind kind = depth < MaxNesting ? _btf.KindOf(id) : BtfKind.Void;
        _json.WriteStartObject(property);
        switch (kind)
        {
            case BtfKind.Int or BtfKind.Float:
                _json.WriteString("kind", "base");
                _json.WriteString("name", _btf.NameOf(id));
                break;
            case BtfKind.Pointer:
                _json.WriteString("kind", "pointer");
                WriteType("subtype", _btf.TargetOf(id), depth + 1);
                break;
            case BtfKind.Array:
                (int element, uint count) = _btf.ArrayOf(id);
                _json.WriteString("kind", "array");
                _json.WriteNumber("count", count);
                WriteType("subtype", element, depth + 1);
                break;
            case BtfKind.Struct or BtfKind.Union or BtfKind.Enum or BtfKind.Enum64:
                _json.WriteString("kind", kind == BtfKind.Struct ? "struct" : kind == BtfKind.Union ? "union" : "enum");
                _json.WriteString("name", UniqueName(id));
                break;
            case BtfKind.FunctionPrototype:
                _json.WriteString("kind", "function");
                break;
            default: // void, and what the kernel only declares
                _json.WriteString("kind", "base");
                _json.WriteString("name", "void");
                break;
        }

        _json.WriteEndObject();
    }

    /// <summary>The name that a type has in the file: unnamed ones, and later ones of the same name, are told apart by their number.</summary>
    private string UniqueName(int id)
    {
        string name = _btf.NameOf(id);
        if (name.Length == 0)
            return $"unnamed_{id:x}";
        return _owners[(IsEnum(_btf.KindOf(id)), name)] == id ? name : $"{name}__{id:x}";
    }

    private async ValueTask FlushSomeAsync(CancellationToken cancellation)
    {
        if (_json.BytesPending > 1 << 16)
            await _json.FlushAsync(cancellation).ConfigureAwait(false);
    }

    /// <summary>The type of a variable that BTF does not describe.</summary>
    private sealed record KnownType(string Kind, string Name, bool IsPointer)
    {
        internal static KnownType Struct(string name) => new("struct", name, false);

        internal static KnownType Pointer(string name) => new("struct", name, true);

        internal static KnownType Base(string name) => new("base", name, false);

        internal void Write(Utf8JsonWriter json)
        {
            json.WriteStartObject("type");
            if (IsPointer)
            {
                json.WriteString("kind", "pointer");
                json.WriteStartObject("subtype");
            }

            json.WriteString("kind", Kind);
            json.WriteString("name", Name);
            json.WriteEndObject();
            if (IsPointer)
                json.WriteEndObject();
        }
    }
}
