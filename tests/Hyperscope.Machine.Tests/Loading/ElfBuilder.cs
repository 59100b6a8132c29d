using System.Buffers.Binary;

namespace Hyperscope.Machine.Tests;

/// <summary>Writes small ELF executables.</summary>
internal static class ElfBuilder
{
    public static byte[] Build64(ulong entry, params (ulong Physical, byte[] Bytes, ulong MemoryLength)[] segments) =>
        Build(is64: true, entry, pvhEntry: null, segments);

    public static byte[] BuildPvh(ulong entry, uint pvhEntry, params (ulong Physical, byte[] Bytes, ulong MemoryLength)[] segments) =>
        Build(is64: true, entry, pvhEntry, segments);

    public static byte[] Build32(ulong entry, params (ulong Physical, byte[] Bytes, ulong MemoryLength)[] segments) =>
        Build(is64: false, entry, pvhEntry: null, segments);

    private static byte[] Build(bool is64, ulong entry, uint? pvhEntry, (ulong Physical, byte[] Bytes, ulong MemoryLength)[] segments)
    {
        int headerBytes = is64 ? 64 : 52;
        int entryBytes = is64 ? 56 : 32;
        int count = segments.Length + (pvhEntry is null ? 0 : 1);
        var file = new List<byte>(new byte[headerBytes + (count * entryBytes)]);
        byte[] header = new byte[headerBytes];
        "\x7f"u8.CopyTo(header);
        "ELF"u8.CopyTo(header.AsSpan(1));
        header[4] = (byte)(is64 ? 2 : 1);
        header[5] = 1;
        header[6] = 1;
        Word(header, 16, 2);
        Word(header, 18, (ushort)(is64 ? 62 : 3));
        Address(header, 24, entry);
        Address(header, is64 ? 32 : 28, (ulong)headerBytes);
        Word(header, is64 ? 54 : 42, (ushort)entryBytes);
        Word(header, is64 ? 56 : 44, (ushort)count);
        Put(0, header);
        int at = headerBytes;
        foreach ((ulong physical, byte[] bytes, ulong memoryLength) in segments)
        {
            Program(1, physical, bytes, memoryLength);
        }

        if (pvhEntry is { } address)
        {
            byte[] note = new byte[20];
            BinaryPrimitives.WriteUInt32LittleEndian(note, 4);
            BinaryPrimitives.WriteUInt32LittleEndian(note.AsSpan(4), 4);
            BinaryPrimitives.WriteUInt32LittleEndian(note.AsSpan(8), 18);
            "Xen"u8.CopyTo(note.AsSpan(12));
            BinaryPrimitives.WriteUInt32LittleEndian(note.AsSpan(16), address);
            Program(4, 0, note, (ulong)note.Length);
        }

        return [.. file];

        void Program(uint type, ulong physical, byte[] bytes, ulong memoryLength)
        {
            byte[] program = new byte[entryBytes];
            BinaryPrimitives.WriteUInt32LittleEndian(program, type);
            if (is64)
            {
                Address(program, 8, (ulong)file.Count);
                Address(program, 16, physical);
                Address(program, 24, physical);
                Address(program, 32, (ulong)bytes.Length);
                Address(program, 40, memoryLength);
            }
            else
            {
                Address(program, 4, (ulong)file.Count);
                Address(program, 8, physical);
                Address(program, 12, physical);
                Address(program, 16, (ulong)bytes.Length);
                Address(program, 20, memoryLength);
            }

            Put(at, program);
            at += entryBytes;
            file.AddRange(bytes);
        }

        void Put(int offset, byte[] bytes)
        {
            for (int i = 0; i < bytes.Length; i++)
                file[offset + i] = bytes[i];
        }

        void Address(byte[] bytes, int offset, ulong value)
        {
            if (is64)
                BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(offset), value);
            else
                BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(offset), (uint)value);
        }

        static void Word(byte[] bytes, int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(offset), value);
    }
}
