using Hyperscope.TestKit;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Tests.Differential;

/// <summary>One row with the prefix that selects it.</summary>
internal sealed record RowEntry(int Map, int Prefix, int Opcode, int Group, OpcodeRow Row, bool TakesAllPrefixes);

/// <summary>Makes encodings of a row and registers that bring its memory operand into the common data area.</summary>
internal sealed class CaseGenerator(Random random, bool is32Bit = false)
{
    public const ulong Area = NativeProcessor.DataAddress + 0x1000, AreaSize = 0x2000;

    private static readonly ulong[] _edges =
    [
        0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0x1_0000_0000,
        0x7FFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF_FFFF_FF80, 9, 0x99, 31, 32, 33, 63, 64, 65,
    ];

    private readonly CodeSize _codeSize = is32Bit ? CodeSize.Bits32 : CodeSize.Bits64;
    private readonly byte[] _bytes = new byte[24];
    private int _length;

    /// <summary>The instruction.</summary>
    public ReadOnlySpan<byte> Bytes => _bytes.AsSpan(0, _length);

    /// <summary>The general registers.</summary>
    public ulong[] Registers { get; } = new ulong[16];

    public ulong Flags { get; private set; }

    /// <summary>Linear address of the memory operand, or the middle of the area.</summary>
    public ulong Target { get; private set; }

    /// <summary>Where memory operands are to be, give or take; 0: anywhere.</summary>
    public ulong TargetHint { get; init; }

    public Insn Insn { get; private set; }

    /// <summary>Every row of the map by the given choice, with duplicates over the prefix columns removed.</summary>
    public static List<RowEntry> Entries(Func<OpcodeRow, bool> filter)
    {
        var byRow = new Dictionary<(int Map, int Opcode, int Group, OpcodeRow Row), List<int>>();
        foreach ((int map, int column, int opcode, int group, OpcodeRow row) in OpcodeMap.Instance.Rows)
        {
            if (!filter(row))
                continue;
            (int, int, int, OpcodeRow) key = (map, opcode, group, row);
            if (!byRow.TryGetValue(key, out List<int>? columns))
                byRow[key] = columns = [];
            columns.Add(column);
        }

        return [.. byRow.Select(pair =>
        {
            int prefix = pair.Value[0] switch { 2 => 0xF3, 3 => 0xF2, _ => 0 };
            return new RowEntry(pair.Key.Map, prefix, pair.Key.Opcode, pair.Key.Group, pair.Key.Row, pair.Value.Count == 4);
        })];
    }

    public ulong Value() => random.Next(4) switch
    {
        0 => _edges[random.Next(_edges.Length)],
        1 => (ulong)random.NextInt64() >> random.Next(64),
        _ => unchecked((ulong)random.NextInt64() * 2 + (ulong)random.Next(2)),
    };

    /// <summary>Fills everything for one case. False: this draw has no use; draw again.</summary>
    public bool TryNext(RowEntry entry)
    {
        for (int register = 0; register < 16; register++)
            Registers[register] = Value();
        Registers[4] = NativeProcessor.StackTop;
        Flags = (ulong)random.Next(0x1000) & Rflags.Arithmetic;
        Target = TargetHint != 0 ? TargetHint + (ulong)random.Next(24)
            : random.Next(4) == 0 ? Area + 0x1000 - (ulong)random.Next(1, 16)
            : Area + (ulong)random.Next(0x100, (int)AreaSize - 0x100);
        if (entry.Row.Name == "cmpxchg8b" && random.Next(4) != 0)
            Target &= ~15UL;
        Encode(entry);
        if (Decoder.Decode(Bytes, _codeSize, 0x1000, out Insn insn) != DecodeOutcome.Ok || insn.Row != entry.Row || insn.Length != _length)
            return false;
        Insn = insn;
        if (!UsesStackPointerSafely(entry.Row, insn) || !Prepare(entry.Row, insn))
            return false;
        for (int register = 0; is32Bit && register < 16; register++)
            Registers[register] = (uint)Registers[register];
        return true;
    }

    private void Encode(RowEntry entry)
    {
        OpcodeRow row = entry.Row;
        _length = 0;
        bool isString = row.Name is "movs" or "cmps" or "stos" or "lods" or "scas";
        bool hasF3Twin = entry.Map == 1 && entry.Opcode is 0xBC or 0xBD; // TZCNT and LZCNT on the host
        if (random.Next(8) == 0)
            Add((byte)(is32Bit ? (random.Next(2) * 8) + 0x36 : (random.Next(4) * 8) + 0x26)); // ES, CS, SS or DS: ignored; SS or DS: flat
        if (!is32Bit && random.Next(8) == 0)
            Add(0x67);
        if (random.Next(4) == 0)
            Add(0x66);
        if (entry.Prefix != 0)
            Add((byte)entry.Prefix);
        else if (entry.TakesAllPrefixes && !hasF3Twin && (isString ? random.Next(2) == 0 : random.Next(16) == 0))
            Add((byte)(0xF2 + random.Next(2)));
        bool isRegister = random.Next(3) == 0;
        int groupRegister = -1, fixedModRm = -1;
        if (entry.Group >= 8)
        {
            isRegister = true;
            fixedModRm = 0xC0 | (entry.Group - 8);
        }
        else if (entry.Group >= 0)
        {
            isRegister = false;
            groupRegister = entry.Group;
        }

        if (row.Has(RowFlags.MemoryOnly))
            isRegister = false;
        if (row.Has(RowFlags.RegisterOnly))
            isRegister = true;
        if (row.Has(RowFlags.Lockable) && !isRegister && random.Next(4) == 0)
            Add(0xF0);
        if (!is32Bit && random.Next(2) == 0)
            Add((byte)(0x40 | random.Next(16)));
        if (entry.Map != 0)
            Add(0x0F);
        if (entry.Map >= 2)
            Add((byte)(entry.Map == 2 ? 0x38 : 0x3A));
        Add((byte)entry.Opcode);
        if (row.Has(Encoding.ModRm))
            EncodeModRm(isRegister, groupRegister, fixedModRm);
        for (int index = 0; index < 8; index++)
            _bytes[_length + index] = (byte)random.Next(256);
        if (row.Has(Encoding.Moffs))
            BitConverter.TryWriteBytes(_bytes.AsSpan(_length), Target);
        if (row.Name == "enter")
        {
            BitConverter.TryWriteBytes(_bytes.AsSpan(_length), (ushort)random.Next(64));
            _bytes[_length + 2] = (byte)(random.Next(4) | (random.Next(8) << 5));
        }

        // Let the decoder say how many immediate bytes there are.
        if (Decoder.Decode(_bytes.AsSpan(0, 15), _codeSize, 0x1000, out Insn insn) == DecodeOutcome.Ok)
            _length = insn.Length;
    }

    private void EncodeModRm(bool isRegister, int groupRegister, int fixedModRm)
    {
        int reg = groupRegister >= 0 ? groupRegister : random.Next(8);
        if (fixedModRm >= 0)
        {
            Add((byte)fixedModRm);
            return;
        }

        if (isRegister)
        {
            Add((byte)(0xC0 | (reg << 3) | random.Next(8)));
            return;
        }

        int mod = random.Next(3);
        switch (random.Next(4))
        {
            case 0: // absolute
                Add((byte)((reg << 3) | 4));
                Add(0x25);
                BitConverter.TryWriteBytes(_bytes.AsSpan(_length), (uint)Target);
                _length += 4;
                return;
            case 1:
                Add((byte)((mod << 6) | (reg << 3) | 4));
                int sib = random.Next(256);
                Add((byte)sib);
                AddDisplacement(mod == 0 && (sib & 7) == 5 ? 2 : mod);
                return;
            default:
                int rm = random.Next(8);
                if (rm == 4 || (rm == 5 && mod == 0))
                    rm = 3;
                Add((byte)((mod << 6) | (reg << 3) | rm));
                AddDisplacement(mod);
                return;
        }
    }

    private void AddDisplacement(int mod)
    {
        int size = mod switch { 0 => 0, 1 => 1, _ => 4 };
        for (int index = 0; index < size; index++)
            Add((byte)random.Next(256));
    }

    private void Add(byte value) => _bytes[_length++] = value;

    // RSP keeps pointing to the scratch stack: it may be read, pushed and popped with, but no operand may change it.
    private static bool UsesStackPointerSafely(OpcodeRow row, in Insn insn)
    {
        const int Rsp = 4;
        if (insn.IsMemory && (insn.Base == Rsp || insn.Index == Rsp))
            return false;
        bool isHighByte = insn.OperandSize == 1 && insn.Rex == 0;
        bool usesReg = (row.Encoding & (Encoding.RegD | Encoding.RegS) & ~Encoding.ModRm) != 0 && insn.Reg == Rsp && !isHighByte;
        bool usesRm = insn.HasModRm && !insn.IsMemory && insn.Rm == Rsp && !isHighByte;
        bool usesOpcode = row.Has(Encoding.OpcodeD) && ((insn.Opcode & 7) | ((insn.Rex & 1) << 3)) == Rsp && !isHighByte && row.Name != "push";
        return !usesReg && !usesRm && !usesOpcode;
    }

    private bool Prepare(OpcodeRow row, in Insn insn)
    {
        switch (row.Name)
        {
            case "div" or "idiv" when random.Next(8) != 0:
                // Keep most quotients in range.
                Registers[2] = row.Name == "div" ? Registers[2] >> random.Next(64) : random.Next(2) == 0 ? 0 : ulong.MaxValue;
                if (random.Next(2) == 0)
                    Registers[0] >>= random.Next(64);
                break;
            case "movs" or "cmps" or "stos" or "lods" or "scas":
                Registers[6] = Target;
                Registers[7] = random.Next(2) == 0 ? Target + (ulong)random.Next(-40, 40) : Area + (ulong)random.Next(0x200, 0x1E00);
                if (insn.HasRep || insn.HasRepNe)
                    Registers[1] = (uint)random.Next(random.Next(2) == 0 ? 4 : 25) | (insn.AddressSize == 4 ? Registers[1] << 32 : 0);
                if (insn.AddressSize == 4)
                {
                    Registers[6] |= Registers[8] << 32;
                    Registers[7] |= Registers[9] << 32;
                }

                if (random.Next(3) == 0)
                    Flags |= Rflags.Df;
                return true;
            case "cmpxchg" or "cmpxchg8b" when random.Next(2) == 0:
                // Equal, apart from bits that a smaller operand does not have.
                Registers[0] = Registers[2] = 0x0101_0101_0101_0101 * (ulong)random.Next(4);
                if (!insn.IsMemory && insn.Rm != 0)
                    Registers[insn.Rm] = Registers[0] ^ (Registers[8] & ~(ulong.MaxValue >> (64 - (insn.OperandSize * 8))));
                break;
            case "xlat":
                Registers[3] = Target;
                return true;
            case "enter":
                Registers[5] = NativeProcessor.StackTop - 8;
                return true;
            case "leave":
                Registers[5] = NativeProcessor.StackTop + 16;
                return true;
            default:
                break;
        }

        if (!insn.IsMemory)
            return true;
        if (insn.HasMemoryRipRelative)
            return false;
        if (row.Name is "bt" or "bts" or "btr" or "btc" && row.Has(Encoding.RegS))
        {
            if (insn.Reg == insn.Base || insn.Reg == insn.Index)
                return false;
            Registers[insn.Reg] = (ulong)(long)random.Next(-0x400, 0x400);
            if (insn.OperandSize == 4)
                Registers[insn.Reg] = (uint)Registers[insn.Reg] | (Registers[0] << 32);
        }

        ulong index = insn.Index == CpuState.ZeroRegister ? 0 : Registers[insn.Index];
        if (insn.Base != CpuState.ZeroRegister)
        {
            if (insn.Base == insn.Index)
                return false;
            Registers[insn.Base] = Target - (ulong)insn.Displacement - (index << insn.Scale);
            return true;
        }

        if (insn.Index != CpuState.ZeroRegister)
        {
            ulong wanted = Target - (ulong)insn.Displacement;
            if (is32Bit)
                wanted = (uint)wanted;
            if ((wanted & ((1UL << insn.Scale) - 1)) != 0)
                return false;
            Registers[insn.Index] = wanted >> insn.Scale;
            if (insn.AddressSize == 8 && Registers[insn.Index] << insn.Scale != wanted)
                return false;
            return true;
        }

        ulong mask = insn.AddressSize == 4 ? uint.MaxValue : ulong.MaxValue;
        ulong address = (ulong)insn.Displacement & mask;
        return address >= Area && address < Area + AreaSize - 0x100;
    }
}
