using System.Buffers.Binary;
using Hyperscope.Machine;

namespace Hyperscope.Stress.Tests;

/// <summary>Writes code that goes for the machine: ports and registers of every device, MSRs, control registers, page tables, and noise.</summary>
internal sealed class HostileCode(Random random, EntryMode mode)
{
    /// <summary>Where the code lies; what runs into its end runs into zeros.</summary>
    public const ulong Address = 0x10000;

    /// <summary>How much of it there is.</summary>
    public const int Bytes = 0x40000;

    /// <summary>Where its interrupt table is, of whatever kind.</summary>
    public const ulong Gates = 0x60000;

    private const uint BootTables = 0x9000, BootTableBytes = 0x7000;

    // The first port and the number of ports of every device on the board, and of some that are not there.
    private static readonly (int First, int Count)[] Ports =
    [
        (0x20, 2), (0x40, 4), (0x60, 5), (0x70, 2), (0xa0, 2), (0x3f8, 8), (0x4d0, 2), (0x600, 0x20), (0x80, 1), (0x2f8, 8), (0xcf8, 8), (0, 0x10000),
    ];

    // Those that end the VM, so that little is seen if they come often.
    private static readonly (int First, int Count)[] LastPorts = [(0x92, 1), (0xf4, 4), (0xcf9, 1), (0x604, 2), (0x64, 1)];

    private static readonly uint[] Msrs =
    [
        0x10, 0x11, 0x12, 0x1b, 0x3a, 0x3b, 0x174, 0x175, 0x176, 0x1a0, 0x200, 0x201, 0x250, 0x277, 0x2ff, 0x6e0, 0xc000_0080, 0xc000_0081, 0xc000_0082,
        0xc000_0084, 0xc000_0100, 0xc000_0101, 0xc000_0102, 0xc000_0103, 0x4b56_4d00, 0x4b56_4d01, 0x4b56_4d02, 0x4b56_4d03, 0x4b56_4d04,
    ];

    private static readonly byte[][] Others =
    [
        [0xfb], [0xfb], [0xfa], [0xfb, 0xf4], [0xf3, 0x90], [0x0f, 0x20, 0xc0], [0x0f, 0x22, 0xc0], [0x0f, 0x22, 0xd8], [0x0f, 0x22, 0xe0], [0x0f, 0x20, 0xd8],
        [0x0f, 0x01, 0x3b], [0x0f, 0x09], [0x0f, 0xa2], [0x0f, 0x31], [0x0f, 0x01, 0xf9], [0x0f, 0x23, 0xc0], [0x0f, 0x23, 0xf8], [0xcf], [0x48, 0xcf],
        [0xcc], [0xf1], [0x9d], [0x9c], [0x0f, 0x01, 0xd1], [0x0f, 0x01, 0xc1], [0x0f, 0x01, 0xd9], [0x0f, 0x05], [0x0f, 0x0b], [0xdb, 0xe3], [0x0f, 0xae, 0x03],
        [0x44, 0x0f, 0x22, 0xc0], [0x8e, 0xd8], [0x8e, 0xd0], [0x0f, 0x01, 0x13], [0x0f, 0x01, 0x1b], [0x0f, 0x00, 0xd8], [0xcb], [0xff, 0x2b], [0x66, 0x0f, 0x38, 0x82, 0x03],
    ];

    private readonly byte[] _code = new byte[Bytes];
    private int _at;

    /// <summary>Writes all of it.</summary>
    public byte[] Write()
    {
        while (_at < Bytes - 64)
        {
            switch (random.Next(20))
            {
                case < 7:
                    Port();
                    break;
                case < 11:
                    Memory();
                    break;
                case < 13:
                    Msr();
                    break;
                case < 16:
                    Put(Others[random.Next(Others.Length)]);
                    break;
                case 16:
                    Put(0xcd, (byte)random.Next(256)); // int
                    break;
                case 17:
                    Load(4, 0x70000 + (uint)random.Next(0x10000)); // esp
                    break;
                case 18:
                    Branch();
                    break;
                default:
                    byte[] noise = new byte[random.Next(1, 8)];
                    random.NextBytes(noise);
                    Put(noise);
                    break;
            }
        }

        return _code;
    }

    /// <summary>An interrupt table whose handlers are anywhere in the code.</summary>
    public byte[] WriteGates()
    {
        byte[] table = new byte[4096];
        for (int vector = 0; vector < 256; vector++)
        {
            uint handler = (uint)(Address + (ulong)random.Next(Bytes));
            if (mode == EntryMode.Real)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(table.AsSpan(4 * vector), ((handler & 0xf0000) << 12) | (handler & 0xffff));
                continue;
            }

            ulong type = random.Next(16) == 0 ? (uint)random.Next(256) : random.Next(2) == 0 ? 0x8eu : 0x8fu;
            ulong gate = (handler & 0xffff) | (0x10UL << 16) | (type << 40) | ((ulong)(handler >> 16) << 48);
            BinaryPrimitives.WriteUInt64LittleEndian(table.AsSpan((mode == EntryMode.Long ? 16 : 8) * vector), gate);
        }

        return table;
    }

    private void Port()
    {
        (int first, int count) = random.Next(200) == 0 ? LastPorts[random.Next(LastPorts.Length)] : Ports[random.Next(Ports.Length)];
        ushort port = (ushort)(first + random.Next(count));
        if (mode != EntryMode.Real)
            Put(0x66);
        Put(0xba, (byte)port, (byte)(port >> 8)); // mov dx
        if (random.Next(2) == 0)
            Load(0, Value());
        switch (random.Next(8))
        {
            case 0:
                Load(1, (uint)random.Next(64));
                Put(0xf3, (byte)(0x6c + random.Next(4))); // rep ins, outs
                break;
            case 1:
                Put(0x66, (byte)(0xed + (2 * random.Next(2))));
                break;
            default:
                Put((byte)(0xec + random.Next(4)));
                break;
        }
    }

    private void Memory()
    {
        // ebx: local APIC, IOAPIC, page tables, interrupt table, the code itself, nothing.
        uint address = random.Next(8) switch
        {
            < 3 => 0xfee0_0000 + (uint)(random.Next(0x40) << 4),
            3 => 0xfec0_0000 + (uint)(random.Next(3) << 4),
            4 => BootTables + ((uint)random.Next((int)BootTableBytes) & ~7u),
            5 => (uint)Gates + (uint)random.Next(4096),
            6 => (uint)Address + (uint)random.Next(Bytes),
            _ => (uint)random.NextInt64(),
        };
        Load(3, address);
        if (random.Next(2) == 0)
            Load(0, random.Next(3) == 0 ? (uint)(random.Next(0x400) << 12) | (uint)random.Next(0x200) : Value());
        if (mode == EntryMode.Real)
            Put(0x67);
        if (random.Next(6) == 0)
            Put(0xf0);
        else if (random.Next(6) == 0)
            Put(0x66);
        if (mode == EntryMode.Long && random.Next(4) == 0)
            Put(0x48);
        byte[][] operations = [[0x89, 0x03], [0x8b, 0x03], [0x88, 0x03], [0x8a, 0x03], [0x0f, 0xc1, 0x03], [0x87, 0x03], [0x09, 0x03], [0x0f, 0xb1, 0x03]];
        Put(operations[random.Next(operations.Length)]);
    }

    private void Msr()
    {
        Load(1, random.Next(3) == 0 ? 0x800u + (uint)random.Next(0x40) : Msrs[random.Next(Msrs.Length)]);
        if (random.Next(3) == 0)
        {
            Put(0x0f, 0x32); // rdmsr
            return;
        }

        Load(0, Value());
        Load(2, random.Next(3) == 0 ? (uint)random.NextInt64() : 0);
        Put(0x0f, 0x30);
    }

    // Mostly forward, so that a guest sees much of its code; a counter would be lost at the next exception.
    private void Branch()
    {
        uint distance = (uint)random.Next(-0x400, 0x2000);
        if (mode == EntryMode.Real)
            Put(0xe9, (byte)distance, (byte)(distance >> 8));
        else
            Put(0xe9, (byte)distance, (byte)(distance >> 8), (byte)(distance >> 16), (byte)(distance >> 24));
    }

    private uint Value() => random.Next(4) switch
    {
        0 => (uint)random.NextInt64(),
        1 => (uint)random.Next(0x1000),
        2 => 1u << random.Next(32),
        _ => (uint)random.Next(256),
    };

    private void Load(int register, uint value)
    {
        if (mode == EntryMode.Real)
            Put(0x66);
        Put((byte)(0xb8 + register), (byte)value, (byte)(value >> 8), (byte)(value >> 16), (byte)(value >> 24));
    }

    private void Put(params ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(_code.AsSpan(_at));
        _at += bytes.Length;
    }
}
