namespace Hyperscope.GuestLinux.Tests;

/// <summary>A program for the guest, in machine code: it loads the smallest BPF program and waits.</summary>
internal static class BpfLoader
{
    public const string Name = "made_by_hand";

    private const ulong Base = 0x400000;
    private const int CodeAt = 0x78, DataAt = 0x100, InstructionsAt = 0x180, LicenseAt = 0x1a0, Length = 0x1b0;

    public static byte[] Build()
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

        // bpf(BPF_PROG_LOAD, attributes, 72); then pause() for ever.
        byte[] code =
        [
            0xb8, 0x41, 0x01, 0, 0, 0xbf, 5, 0, 0, 0, 0xbe, 0, 0x01, 0x40, 0, 0xba, 72, 0, 0, 0, 0x0f, 0x05,
            0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7,
        ];
        code.CopyTo(file, CodeAt);
        Word(DataAt, 1 | 2UL << 32); // a socket filter of two instructions
        Word(DataAt + 8, Base + InstructionsAt);
        Word(DataAt + 16, Base + LicenseAt);
        System.Text.Encoding.ASCII.GetBytes(Name).CopyTo(file, DataAt + 48);
        file[InstructionsAt] = 0xb7; // r0 = 0
        file[InstructionsAt + 8] = 0x95; // exit
        "GPL"u8.CopyTo(file.AsSpan(LicenseAt));
        return file;

        void Word(int at, ulong value) => BitConverter.TryWriteBytes(file.AsSpan(at), value);
    }
}
