using System.Buffers.Binary;
using Hyperscope.X64;

namespace Hyperscope.Cli.Running;

/// <summary>Every register of a vCPU by name: little-endian bytes of a fixed width, in a copy that is loaded and stored as a whole.</summary>
internal sealed class ExecRegisters
{
    private const int StatusOffset = 2, MxcsrOffset = 24, X87Offset = 32, XmmOffset = 160, ComponentsOffset = 512;

    private static readonly string[] GeneralNames =
    [
        "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags",
    ];

    private static readonly string[] SegmentNames = ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"];

    private readonly Dictionary<string, Slot> _slots = new(StringComparer.OrdinalIgnoreCase);
    private readonly List<string> _shown = [];
    private readonly byte[] _xsave = new byte[4096];
    private KvmRegs _general;
    private KvmSregs _special;

    public ExecRegisters()
    {
        for (int index = 0; index < GeneralNames.Length; index++)
            Add(GeneralNames[index], new Slot(Area.General, index * 8, 8));
        foreach ((string name, int offset) in new[] { ("cr0", 224), ("cr2", 232), ("cr3", 240), ("cr4", 248), ("cr8", 256), ("efer", 264) })
            Add(name, new Slot(Area.Special, offset, 8));
        for (int index = 0; index < SegmentNames.Length; index++)
        {
            Add(SegmentNames[index], new Slot(Area.Special, (index * 24) + 12, 2));
            Add($"{SegmentNames[index]}.base", new Slot(Area.Special, index * 24, 8));
            Add($"{SegmentNames[index]}.limit", new Slot(Area.Special, (index * 24) + 8, 4));
        }

        foreach ((string name, int offset) in new[] { ("gdt", 192), ("idt", 208) })
        {
            Add($"{name}.base", new Slot(Area.Special, offset, 8));
            Add($"{name}.limit", new Slot(Area.Special, offset + 8, 2));
        }

        Add("fcw", new Slot(Area.Xsave, 0, 2));
        Add("fsw", new Slot(Area.Xsave, StatusOffset, 2));
        Add("ftw", new Slot(Area.Xsave, 4, 1));
        Add("fop", new Slot(Area.Xsave, 6, 2));
        Add("fip", new Slot(Area.Xsave, 8, 8));
        Add("fdp", new Slot(Area.Xsave, 16, 8));
        Add("mxcsr", new Slot(Area.Xsave, MxcsrOffset, 4));
        for (int index = 0; index < 8; index++)
            Add($"st{index}", new Slot(Area.Xsave, X87Offset + (index * 16), 10));
        for (int index = 0; index < 8; index++)
            Add($"mm{index}", new Slot(Area.Mmx, index, 8));
        for (int index = 0; index < 16; index++)
            Add($"xmm{index}", new Slot(Area.Xsave, XmmOffset + (index * 16), 16));
    }

    private enum Area
    {
        General,
        Special,
        Xsave,
        Mmx,
    }

    /// <summary>All names, in the order of output.</summary>
    public IReadOnlyList<string> Names => _shown;

    /// <summary>Copies a vCPU's registers.</summary>
    public void Load(SoftwareVcpu vcpu)
    {
        vcpu.GetRegisters(out _general);
        vcpu.GetSpecialRegisters(out _special);
        vcpu.GetXsave(_xsave);
    }

    /// <summary>Replaces a vCPU's registers; false if MXCSR has reserved bits.</summary>
    public bool Store(SoftwareVcpu vcpu)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(_xsave.AsSpan(ComponentsOffset), 3);
        if (!vcpu.TrySetXsave(_xsave))
            return false;
        vcpu.SetSpecialRegisters(_special);
        vcpu.SetRegisters(_general);
        return true;
    }

    /// <summary>Sets a register from hex digits (without 0x); says what is wrong, or null.</summary>
    public string? Set(string name, ReadOnlySpan<char> digits)
    {
        if (!_slots.TryGetValue(name, out Slot slot))
            return $"there is no register \"{name}\"";
        Span<byte> value = Bytes(slot);
        if (digits.Length == 0 || digits.Length > value.Length * 2)
            return $"{name} has {value.Length * 2} hex digits at most, not {digits.Length}";
        foreach (char digit in digits)
        {
            if (!char.IsAsciiHexDigit(digit))
                return $"{name}: \"{digits}\" is not hex digits";
        }

        value.Clear();
        for (int index = 0; index < digits.Length; index++)
        {
            int nibble = HexValue(digits[^(index + 1)]);
            value[index >> 1] |= (byte)(nibble << ((index & 1) * 4));
        }

        return null;
    }

    /// <summary>A register as hex digits after 0x, leading zeros kept where a number does not fit 64 bits.</summary>
    public string Get(string name)
    {
        ReadOnlySpan<byte> value = Bytes(_slots[name]);
        if (value.Length > 8)
            return string.Create(2 + (value.Length * 2), value.ToArray(), static (text, bytes) =>
            {
                text[0] = '0';
                text[1] = 'x';
                for (int index = 0; index < bytes.Length; index++)
                    _ = bytes[bytes.Length - 1 - index].TryFormat(text[(2 + (index * 2))..], out _, "x2", CultureInfo.InvariantCulture);
            });
        Span<byte> wide = stackalloc byte[8];
        wide.Clear();
        value.CopyTo(wide);
        return $"0x{BinaryPrimitives.ReadUInt64LittleEndian(wide):x}";
    }

    private static int HexValue(char digit) => char.IsAsciiDigit(digit) ? digit - '0' : (digit | 0x20) - 'a' + 10;

    private void Add(string name, Slot slot)
    {
        _slots.Add(name, slot);
        _shown.Add(name);
    }

    private Span<byte> Bytes(Slot slot)
    {
        switch (slot.Area)
        {
            case Area.General:
                return General(slot.Offset / 8);
            case Area.Special:
                return System.Runtime.InteropServices.MemoryMarshal.AsBytes(new Span<KvmSregs>(ref _special)).Slice(slot.Offset, slot.Size);
            case Area.Xsave:
                return _xsave.AsSpan(slot.Offset, slot.Size);
            default:
                // MMX registers are the significands by physical number; the image holds the stack order.
                int top = (_xsave[StatusOffset + 1] >> 3) & 7;
                return _xsave.AsSpan(X87Offset + (((slot.Offset - top) & 7) * 16), 8);
        }
    }

    private Span<byte> General(int index) => System.Runtime.InteropServices.MemoryMarshal.AsBytes(new Span<KvmRegs>(ref _general)).Slice(index * 8, 8);

    private readonly record struct Slot(Area Area, int Offset, int Size);
}
