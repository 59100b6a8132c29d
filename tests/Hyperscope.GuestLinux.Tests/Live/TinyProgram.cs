namespace Hyperscope.GuestLinux.Tests;

/// <summary>Programs for the guest, in machine code: one segment that may do anything.</summary>
internal static class TinyProgram
{
    public const ulong Base = 0x400000;
    public const int CodeAt = 0x78, DataAt = 0x100, Length = 0x1b0;

    /// <summary>An ELF file of <see cref="Length"/> bytes, entered at its code.</summary>
    /// <param name="code">The code.</param>
    /// <param name="rights">Of its segment: 4 read, 2 write, 1 execute.</param>
    public static byte[] Build(ReadOnlySpan<byte> code, uint rights = 7)
    {
        byte[] file = new byte[Length];
        "\u007fELF\u0002\u0001\u0001"u8.CopyTo(file);
        Word(16, 2 | 62 << 16 | 1UL << 32); // an executable for x86-64
        Word(24, Base + CodeAt);
        Word(32, 64); // one program header behind this one
        Word(52, 64 | 56UL << 16 | 1UL << 32);
        Word(64, 1 | (ulong)rights << 32); // PT_LOAD
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

    /// <summary>Makes its own exit(1) an exit(42) by writing to /proc/self/mem: it may not write its code itself.</summary>
    public static byte[] WriterOfItself()
    {
        byte[] file = Build(
        [
            0xbf, 0, 0x01, 0x40, 0, 0xbe, 2, 0, 0, 0, 0xb8, 2, 0, 0, 0, 0x0f, 0x05, // open
            0x89, 0xc7, 0xbe, 0x20, 0x01, 0x40, 0, 0xba, 1, 0, 0, 0, 0x41, 0xba, CodeAt + 43, 0, 0x40, 0, 0xb8, 18, 0, 0, 0, 0x0f, 0x05, // pwrite64
            0xbf, 1, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05, // exit; its operand is at 43
        ], rights: 5);
        "/proc/self/mem"u8.CopyTo(file.AsSpan(DataAt));
        file[DataAt + 0x20] = 42;
        return file;
    }

    /// <summary>Fills 32 MiB page by page, makes them executable, and executes the last of them: exit(42).</summary>
    public static byte[] UnpackerOfMuch() => Build(
    [
        0x31, 0xff, 0xbe, 0, 0, 0, 2, 0xba, 3, 0, 0, 0, 0x41, 0xba, 0x22, 0, 0, 0, 0x49, 0xc7, 0xc0, 0xff, 0xff, 0xff, 0xff, 0x45, 0x31, 0xc9,
        0xb8, 9, 0, 0, 0, 0x0f, 0x05, 0x48, 0x89, 0xc3, // mmap: rbx
        0x48, 0x8d, 0x8b, 0, 0, 0, 2, // rcx: its end
        0x48, 0x89, 0xd8, 0xc7, 0, 0xb0, 60, 0xb3, 42, // at each page: mov al, 60; mov bl, 42
        0xc7, 0x40, 4, 0x0f, 0xb6, 0xfb, 0x0f, 0xc6, 0x40, 8, 0x05, // movzx edi, bl; syscall
        0x48, 0x05, 0, 0x20, 0, 0, 0x48, 0x39, 0xc8, 0x72, 0xe4, 0x77, 9, // every second one, and then the others:
        0x48, 0x8d, 0x83, 0, 0x10, 0, 0, 0xeb, 0xd9, // no two are neighbours in physical memory as well
        0x48, 0x89, 0xdf, 0xbe, 0, 0, 0, 2, 0xba, 5, 0, 0, 0, 0xb8, 10, 0, 0, 0, 0x0f, 0x05, // mprotect
        0x48, 0x8d, 0x83, 0, 0xf0, 0xff, 1, 0x48, 0x89, 0xc2, 0x31, 0xc0, 0xff, 0xe2, // the last page
    ]);

    /// <summary>Writes code and makes it executable, waits for a byte on its input, and executes it: exit(42).</summary>
    public static byte[] PatientUnpacker() => Build(
    [
        0x31, 0xff, 0xbe, 0, 0x10, 0, 0, 0xba, 3, 0, 0, 0, 0x41, 0xba, 0x22, 0, 0, 0, 0x49, 0xc7, 0xc0, 0xff, 0xff, 0xff, 0xff, 0x45, 0x31, 0xc9,
        0xb8, 9, 0, 0, 0, 0x0f, 0x05, 0x48, 0x89, 0xc3, // mmap: rbx
        0xc7, 0, 0xb0, 60, 0xb3, 42, 0xc7, 0x40, 4, 0x0f, 0xb6, 0xfb, 0x0f, 0xc6, 0x40, 8, 0x05, // mov al, 60; mov bl, 42; movzx edi, bl; syscall
        0x48, 0x89, 0xc7, 0xbe, 0, 0x10, 0, 0, 0xba, 5, 0, 0, 0, 0xb8, 10, 0, 0, 0, 0x0f, 0x05, // mprotect
        0x31, 0xff, 0x48, 0x89, 0xe6, 0xba, 1, 0, 0, 0, 0x31, 0xc0, 0x0f, 0x05, // read
        0x31, 0xc0, 0xff, 0xe3,
    ], rights: 5);

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
