namespace Hyperscope.GuestLinux.Tests;

/// <summary>Programs for the guest, in machine code: one segment that may do anything.</summary>
internal static class TinyProgram
{
    public const ulong Base = 0x400000;
    public const int CodeAt = 0x78, DataAt = 0x100, Length = 0x1b0;

    /// <summary>An ELF file of <see cref="Length"/> bytes, entered at its code.</summary>
    public static byte[] Build(ReadOnlySpan<byte> code)
    {
        byte[] file = new byte[Length];
        "\u007fELF\u0002\u0001\u0001"u8.CopyTo(file);
        Word(16, 2 | 62 << 16 | 1UL << 32); // an executable for x86-64
        Word(24, Base + CodeAt);
        Word(32, 64); // one program header behind this one
        Word(52, 64 | 56UL << 16 | 1UL << 32);
        Word(64, 1 | 7UL << 32); // PT_LOAD, rwx
        Word(80, Base);
        Word(88, Base);
        Word(96, Length);
        Word(104, Length);
        Word(112, 0x1000);
        code.CopyTo(file.AsSpan(CodeAt, DataAt - CodeAt));
        return file;

        void Word(int at, ulong value) => BitConverter.TryWriteBytes(file.AsSpan(at), value);
    }

    /// <summary>mkdir("/tiny32", 0750), getpid() and exit(0) by the door for 32-bit programs.</summary>
    public static byte[] CallsOf32Bit()
    {
        byte[] file = Build(
        [
            0xb8, 39, 0, 0, 0, 0xbb, 0, 0x01, 0x40, 0, 0xb9, 0xe8, 0x01, 0, 0, 0xcd, 0x80, // mkdir
            0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80, // getpid, exit
        ]);
        "/tiny32"u8.CopyTo(file.AsSpan(DataAt));
        return file;
    }
}
