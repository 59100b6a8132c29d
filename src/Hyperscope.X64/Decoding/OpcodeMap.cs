using Hyperscope.X64.Instructions;

namespace Hyperscope.X64.Decoding;

/// <summary>The opcode maps: one-byte, 0F, 0F 38 and 0F 3A, each with columns for no prefix, 66, F3 and F2.</summary>
/// <remarks>A family of instructions adds its rows in a static <c>Register(OpcodeMap)</c>, listed in the constructor: the one line elsewhere.</remarks>
internal sealed class OpcodeMap
{
    private const int Columns = 4;

    private readonly OpcodeRow?[] _rows = new OpcodeRow?[4 * Columns * 256];

    /// <summary>The map of the whole processor.</summary>
    public static OpcodeMap Instance { get; } = new();

    private OpcodeMap()
    {
        Moves.Register(this);
        Arithmetic.Register(this);
        Branches.Register(this);
        Stack.Register(this);
        VectorMoves.Register(this);
        VectorState.Register(this);
        VectorInteger.Register(this);
        VectorShuffles.Register(this);
        VectorStrings.Register(this);
        VectorFloat.Register(this);
        VectorConvert.Register(this);
        MmxMoves.Register(this);
        X87Arithmetic.Register(this);
        X87Moves.Register(this);
        X87Control.Register(this);
        X87Functions.Register(this);
        Shifts.Register(this);
        PrivilegedFlags.Register(this);
        InterruptInstructions.Register(this);
        ControlRegisterInstructions.Register(this);
        SystemInstructions.Register(this);
        SegmentInstructions.Register(this);
        FarTransfers.Register(this);
        Multiplication.Register(this);
        CompareExchange.Register(this);
        Bits.Register(this);
        ByteOrder.Register(this);
        FlagInstructions.Register(this);
        StackFrames.Register(this);
        DecimalAdjust.Register(this);
        Strings.Register(this);
        PortStrings.Register(this);
        Ports.Register(this);
    }

    /// <summary>Every row, groups opened, with its position. For tests and documentation.</summary>
    public IEnumerable<(int Map, int Column, int Opcode, int Group, OpcodeRow Row)> Rows
    {
        get
        {
            for (int index = 0; index < _rows.Length; index++)
            {
                if (_rows[index] is not { } row)
                    continue;
                int map = index / (Columns * 256), column = index / 256 % Columns, opcode = index % 256;
                if (row.Group is null)
                {
                    yield return (map, column, opcode, -1, row);
                    continue;
                }

                for (int member = 0; member < row.Group.Length; member++)
                {
                    if (row.Group[member] is { } child)
                        yield return (map, column, opcode, member, child);
                }
            }
        }
    }

    /// <summary>Finds a row: map 0 to 3, column 0 (none), 1 (66), 2 (F3), 3 (F2).</summary>
    public OpcodeRow? Find(int map, int column, byte opcode) => _rows[(((map * Columns) + column) * 256) + opcode];

    /// <summary>Adds a row that ignores 66, F2 and F3 (or takes 66 as operand size).</summary>
    /// <param name="opcode">0x00 to 0xFF, 0x0F00 up, 0x0F3800 up or 0x0F3A00 up.</param>
    /// <param name="row">The row.</param>
    public void Add(int opcode, OpcodeRow row)
    {
        for (int column = 0; column < Columns; column++)
            AddColumn(opcode, column, row);
    }

    /// <summary>Adds a row for one mandatory prefix: 0 none, 0x66, 0xF3 or 0xF2.</summary>
    public void Add(int prefix, int opcode, OpcodeRow row) =>
        AddColumn(opcode, Column(prefix), row);

    /// <summary>Adds a memory form, or all register forms with it, of a group member: ModRM.reg = <paramref name="reg"/>.</summary>
    public void AddGroup(int opcode, int reg, OpcodeRow row)
    {
        for (int column = 0; column < Columns; column++)
            AddGroupColumn(opcode, column, reg, row);
    }

    /// <summary>Adds a group member for one mandatory prefix column.</summary>
    public void AddGroup(int prefix, int opcode, int reg, OpcodeRow row) =>
        AddGroupColumn(opcode, Column(prefix), reg, row);

    /// <summary>Adds one register form of a group: the whole ModRM byte (0xC0 up) selects it.</summary>
    public void AddModRm(int opcode, byte modRm, OpcodeRow row)
    {
        for (int column = 0; column < Columns; column++)
            GroupAt(opcode, column)[8 + (modRm & 0x3F)] = row;
    }

    /// <summary>Adds one register form of a group for one mandatory prefix: with the others it is #UD.</summary>
    public void AddModRm(int prefix, int opcode, byte modRm, OpcodeRow row) => GroupAt(opcode, Column(prefix))[8 + (modRm & 0x3F)] = row;

    private static int Column(int prefix) =>
        prefix switch { 0 => 0, 0x66 => 1, 0xF3 => 2, 0xF2 => 3, _ => throw new ArgumentOutOfRangeException(nameof(prefix), prefix, "not 0, 66, F3 or F2") };

    private void AddGroupColumn(int opcode, int column, int reg, OpcodeRow row)
    {
        OpcodeRow?[] group = GroupAt(opcode, column);
        if (!row.Has(RowFlags.RegisterOnly))
            group[reg] = row;
        if (!row.Has(RowFlags.MemoryOnly))
        {
            for (int rm = 0; rm < 8; rm++)
                group[8 + (reg * 8) + rm] ??= row;
        }
    }

    private OpcodeRow?[] GroupAt(int opcode, int column)
    {
        ref OpcodeRow? slot = ref Slot(opcode, column);
        slot ??= new OpcodeRow("group", Encoding.PlainReg, null) { Group = new OpcodeRow?[72] };
        return slot.Group ?? throw new InvalidOperationException($"opcode 0x{opcode:x} is not a group");
    }

    private void AddColumn(int opcode, int column, OpcodeRow row)
    {
        ref OpcodeRow? slot = ref Slot(opcode, column);
        if (slot is not null)
            throw new InvalidOperationException($"opcode 0x{opcode:x} column {column} is taken by {slot.Name}, cannot add {row.Name}");
        slot = row;
    }

    private ref OpcodeRow? Slot(int opcode, int column)
    {
        int map = (opcode >> 8) switch { 0 => 0, 0x0F => 1, 0x0F38 => 2, 0x0F3A => 3, _ => throw new ArgumentOutOfRangeException(nameof(opcode)) };
        return ref _rows[(((map * Columns) + column) * 256) + (opcode & 0xFF)];
    }
}
