namespace Hyperscope.GuestLinux.Tests;

/// <summary>A program for the guest, in machine code: it loads the smallest BPF program and waits.</summary>
internal static class BpfLoader
{
    public const string Name = "made_by_hand";

    private const int DataAt = TinyProgram.DataAt, InstructionsAt = 0x180, LicenseAt = 0x1a0;

    public static byte[] Build()
    {
        // bpf(BPF_PROG_LOAD, attributes, 72); then pause() for ever.
        byte[] code =
        [
            0xb8, 0x41, 0x01, 0, 0, 0xbf, 5, 0, 0, 0, 0xbe, 0, 0x01, 0x40, 0, 0xba, 72, 0, 0, 0, 0x0f, 0x05,
            0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7,
        ];
        byte[] file = TinyProgram.Build(code);
        Word(DataAt, 1 | 2UL << 32); // a socket filter of two instructions
        Word(DataAt + 8, TinyProgram.Base + InstructionsAt);
        Word(DataAt + 16, TinyProgram.Base + LicenseAt);
        System.Text.Encoding.ASCII.GetBytes(Name).CopyTo(file, DataAt + 48);
        file[InstructionsAt] = 0xb7; // r0 = 0
        file[InstructionsAt + 8] = 0x95; // exit
        "GPL"u8.CopyTo(file.AsSpan(LicenseAt));
        return file;

        void Word(int at, ulong value) => BitConverter.TryWriteBytes(file.AsSpan(at), value);
    }
}
