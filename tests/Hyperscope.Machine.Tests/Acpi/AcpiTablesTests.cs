using System.Buffers.Binary;
using System.Text;
using Hyperscope.Devices;

namespace Hyperscope.Machine.Tests;

public sealed class AcpiTablesTests
{
    private readonly MemoryPiece _piece = AcpiTables.Build(4);

    [Fact]
    public void Root_pointer_has_both_checksums_and_is_where_it_is_searched()
    {
        ReadOnlySpan<byte> root = _piece.Bytes.Span;
        Assert.Equal(0xe0000ul, _piece.Address.Value);
        Assert.Equal("RSD PTR ", Encoding.ASCII.GetString(root[..8]));
        Assert.Equal(0, Sum(root[..20]));
        Assert.Equal(0, Sum(root[..36]));
        Assert.Equal(2, root[15]);
    }

    [Fact]
    public void Every_table_has_a_valid_checksum_and_length()
    {
        Dictionary<string, byte[]> tables = Tables();
        Assert.Equal(["APIC", "DSDT", "FACP", "XSDT"], tables.Keys.Order());
        Assert.All(tables, table => Assert.Equal(0, Sum(table.Value)));
        Assert.InRange(_piece.End.Value, 0xe0000ul, 0x100000ul);
    }

    [Fact]
    public void FADT_names_the_ports_that_the_board_attaches()
    {
        byte[] fadt = Tables()["FACP"];
        Assert.Equal(276, fadt.Length);
        Assert.Equal(9, BitConverter.ToUInt16(fadt, 46));
        Assert.Equal(0x600u, Double(fadt, 56));
        Assert.Equal(0x604u, Double(fadt, 64));
        Assert.Equal(0x608u, Double(fadt, 76));
        Assert.Equal((4, 2, 4), (fadt[88], fadt[89], fadt[91]));
        Assert.Equal(1u << 10, Double(fadt, 112) & (1 << 10));
        Assert.Equal((1, 8, 0xcf9u, 6), (fadt[116], fadt[117], Double(fadt, 120), fadt[128]));
        Assert.Equal(Double(fadt, 40), Double(fadt, 140));
        Assert.Equal("FACS", Encoding.ASCII.GetString(At(Double(fadt, 36), 4)));
        Assert.Equal(0u, Double(fadt, 36) % 64);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(8)]
    [InlineData(255)]
    public void MADT_lists_every_vCPU_and_the_IOAPIC(int vcpus)
    {
        MemoryPiece piece = AcpiTables.Build(vcpus);
        byte[] madt = Tables(piece)["APIC"];
        var processors = new List<byte>();
        var overrides = new List<(byte, uint, ushort)>();
        for (int at = 44; at < madt.Length; at += madt[at + 1])
        {
            if (madt[at] == 0)
                processors.Add(madt[at + 3]);
            else if (madt[at] == 1)
                Assert.Equal(0xfec00000u, Double(madt, at + 4));
            else if (madt[at] == 2)
                overrides.Add((madt[at + 3], Double(madt, at + 4), BitConverter.ToUInt16(madt, at + 8)));
        }

        Assert.Equal(Enumerable.Range(0, vcpus).Select(i => (byte)i), processors);
        Assert.Equal([((byte)0, 2u, (ushort)0), ((byte)9, 9u, (ushort)13)], overrides);
    }

    [Fact]
    public void DSDT_defines_soft_off_and_is_well_nested()
    {
        byte[] dsdt = Tables()["DSDT"];
        int at = dsdt.AsSpan().IndexOf("_S5_"u8);
        Assert.Equal([0x12, 0x06, 0x04, AcpiPowerManagement.SoftOffType, 0, 0, 0], dsdt[(at + 4)..(at + 11)]);
        int scope = at + 11;
        Assert.Equal(0x10, dsdt[scope]);
        int length = (dsdt[scope + 1] & 15) | (dsdt[scope + 2] << 4);
        Assert.Equal(dsdt.Length, scope + 1 + length);
        Assert.True(dsdt.AsSpan().IndexOf(new byte[] { 0x41, 0xd0, 0x05, 0x01 }) > 0); // PNP0501
    }

    private static byte Sum(ReadOnlySpan<byte> bytes)
    {
        byte sum = 0;
        foreach (byte value in bytes)
            sum += value;
        return sum;
    }

    private static uint Double(byte[] bytes, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(offset));

    private byte[] At(ulong address, int length) => _piece.Bytes.Slice((int)(address - _piece.Address.Value), length).ToArray();

    private Dictionary<string, byte[]> Tables() => Tables(_piece);

    private static Dictionary<string, byte[]> Tables(MemoryPiece piece)
    {
        byte[] Table(ulong address)
        {
            ReadOnlySpan<byte> start = piece.Bytes.Span[(int)(address - piece.Address.Value)..];
            return start[..BinaryPrimitives.ReadInt32LittleEndian(start[4..])].ToArray();
        }

        byte[] xsdt = Table(BinaryPrimitives.ReadUInt64LittleEndian(piece.Bytes.Span[24..]));
        var tables = new Dictionary<string, byte[]> { ["XSDT"] = xsdt };
        for (int at = 36; at < xsdt.Length; at += 8)
        {
            byte[] table = Table(BitConverter.ToUInt64(xsdt, at));
            tables[Encoding.ASCII.GetString(table, 0, 4)] = table;
        }

        byte[] dsdt = Table(BitConverter.ToUInt64(tables["FACP"], 140));
        tables["DSDT"] = dsdt;
        return tables;
    }
}
