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

    /// <summary>An ordinary user whose only other thread has ended: setresuid(1000, 1000, 1000), clone, and pause without end.</summary>
    public static byte[] UserWithAnEndedThread() => Build(
    [
        0xbf, 0xe8, 0x03, 0, 0, 0xbe, 0xe8, 0x03, 0, 0, 0xba, 0xe8, 0x03, 0, 0, 0xb8, 117, 0, 0, 0, 0x0f, 0x05, // setresuid
        0xbf, 0, 0x0f, 0x01, 0, 0x48, 0x8d, 0xb4, 0x24, 0, 0xf0, 0xff, 0xff, // as a thread does: VM, FS, FILES, SIGHAND, THREAD; rsp - 4096
        0x31, 0xd2, 0x45, 0x31, 0xd2, 0x45, 0x31, 0xc0, 0xb8, 56, 0, 0, 0, 0x0f, 0x05, // clone
        0x85, 0xc0, 0x75, 9, 0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05, // exit, in the thread
        0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7, // pause
    ]);

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
