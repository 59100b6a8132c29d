using System.Buffers.Binary;
using Hyperscope.Devices;
using Hyperscope.Vm;

namespace Hyperscope.Machine;

/// <summary>The ACPI tables of the board: RSDP, XSDT, FADT, FACS, MADT and a small DSDT.</summary>
/// <remarks>One piece of memory at <see cref="RsdpAddress"/>, where the root is found by a search, too.
/// Source: ACPI specification 6.5, chapters 5 and 20.</remarks>
public static class AcpiTables
{
    /// <summary>Most vCPUs that are described.</summary>
    public const int MaximumVcpus = 255;

    private const int HeaderBytes = 36, FacsBytes = 64, FadtBytes = 276, RsdpBytes = 36;
    private const byte SpaceIo = 1, EnergyServer = 4;

    /// <summary>Where the tables start.</summary>
    public static Gpa RsdpAddress => new(GuestMemoryMap.TablesStart);

    /// <summary>Builds the tables.</summary>
    public static MemoryPiece Build(int vcpus)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(vcpus, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(vcpus, MaximumVcpus);
        ulong start = RsdpAddress.Value;
        var image = new List<byte>(new byte[RsdpBytes]);
        ulong dsdt = Append(Table("DSDT", 2, Dsdt.Body()));
        ulong facs = Append(Facs());
        ulong fadt = Append(Table("FACP", 6, FadtBody((uint)dsdt, (uint)facs)));
        ulong madt = Append(Table("APIC", 5, MadtBody(vcpus)));
        byte[] pointers = new byte[16];
        Quad(pointers, 0, fadt);
        Quad(pointers, 8, madt);
        ulong xsdt = Append(Table("XSDT", 1, pointers));
        byte[] bytes = [.. image];
        Rsdp(xsdt).CopyTo(bytes, 0);
        return new MemoryPiece(RsdpAddress, bytes);

        ulong Append(byte[] table)
        {
            while (image.Count % 64 != 0)
                image.Add(0);
            ulong address = start + (ulong)image.Count;
            image.AddRange(table);
            return address;
        }
    }

    private static byte[] Rsdp(ulong xsdt)
    {
        byte[] rsdp = new byte[RsdpBytes];
        "RSD PTR "u8.CopyTo(rsdp);
        "HYPSCP"u8.CopyTo(rsdp.AsSpan(9));
        rsdp[15] = 2;
        Double(rsdp, 20, RsdpBytes);
        Quad(rsdp, 24, xsdt);
        rsdp[8] = Checksum(rsdp.AsSpan(0, 20));
        rsdp[32] = Checksum(rsdp);
        return rsdp;
    }

    private static byte[] Table(string signature, byte revision, ReadOnlySpan<byte> body)
    {
        byte[] table = new byte[HeaderBytes + body.Length];
        System.Text.Encoding.ASCII.GetBytes(signature, table);
        Double(table, 4, (uint)table.Length);
        table[8] = revision;
        "HYPSCP"u8.CopyTo(table.AsSpan(10));
        "HYPERSCP"u8.CopyTo(table.AsSpan(16));
        Double(table, 24, 1);
        "HYPS"u8.CopyTo(table.AsSpan(28));
        Double(table, 32, 1);
        body.CopyTo(table.AsSpan(HeaderBytes));
        table[9] = Checksum(table);
        return table;
    }

    private static byte[] Facs()
    {
        byte[] facs = new byte[FacsBytes];
        "FACS"u8.CopyTo(facs);
        Double(facs, 4, FacsBytes);
        facs[32] = 2;
        return facs;
    }

    private static byte[] FadtBody(uint dsdt, uint facs)
    {
        const uint control = PcBoard.AcpiPort + AcpiPowerManagement.ControlOffset, timer = PcBoard.AcpiPort + AcpiPowerManagement.TimerOffset;
        const uint flags = 1 << 0 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 10; // WBINVD, C1, no sleep button, no fixed RTC wake, reset register
        const ushort bootArchitecture = 1 << 0 | 1 << 2; // legacy devices, no VGA, no 8042
        byte[] table = new byte[FadtBytes];
        Double(table, 36, facs);
        Double(table, 40, dsdt);
        table[45] = EnergyServer;
        Word(table, 46, PcBoard.AcpiInterrupt);
        Double(table, 56, PcBoard.AcpiPort);
        Double(table, 64, control);
        Double(table, 76, timer);
        table[88] = 4;
        table[89] = 2;
        table[91] = 4;
        Word(table, 96, 0xfff); // no C2
        Word(table, 98, 0xffff); // no C3
        table[108] = 0x32; // century byte of the clock
        Word(table, 109, bootArchitecture);
        Double(table, 112, flags);
        Register(116, 8, PcBoard.ResetPort + ResetControlPort.RegisterOffset);
        table[128] = ResetControlPort.FullReset;
        table[131] = 5;
        Quad(table, 140, dsdt);
        Register(148, 32, PcBoard.AcpiPort);
        Register(172, 16, control);
        Register(208, 32, timer);
        return table[HeaderBytes..];

        void Register(int offset, byte bits, uint port)
        {
            table[offset] = SpaceIo;
            table[offset + 1] = bits;
            table[offset + 3] = bits switch
            {
                8 => 1,
                16 => 2,
                _ => 3,
            };
            Quad(table, offset + 4, port);
        }
    }

    private static byte[] MadtBody(int vcpus)
    {
        var body = new List<byte>();
        Append32(PcBoard.LocalApicAddress);
        Append32(1); // two 8259s as well
        for (int i = 0; i < vcpus; i++)
        {
            body.AddRange([0, 8, (byte)i, (byte)i]);
            Append32(1);
        }

        body.AddRange([1, 12, 0, 0]);
        Append32(PcBoard.IoApicAddress);
        Append32(0);
        Override(0, IsaInterrupts.TimerPin, 0);
        Override(PcBoard.AcpiInterrupt, PcBoard.AcpiInterrupt, 0x000d); // active high, level
        body.AddRange([4, 6, 0xff, 0, 0, 1]); // LINT1 of all is NMI
        return [.. body];

        void Append32(uint value)
        {
            for (int i = 0; i < 32; i += 8)
                body.Add((byte)(value >> i));
        }

        void Override(byte irq, uint pin, byte flags)
        {
            body.AddRange([2, 10, 0, irq]);
            Append32(pin);
            body.AddRange([flags, 0]);
        }
    }

    private static byte Checksum(ReadOnlySpan<byte> bytes)
    {
        byte sum = 0;
        foreach (byte value in bytes)
            sum += value;
        return (byte)-sum;
    }

    private static void Word(byte[] bytes, int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(offset), value);

    private static void Double(byte[] bytes, int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(offset), value);

    private static void Quad(byte[] bytes, int offset, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(offset), value);
}
