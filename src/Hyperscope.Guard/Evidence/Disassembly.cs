using Iced.Intel;

namespace Hyperscope.Guard;

/// <summary>Reads instructions of the guest.</summary>
internal static class Disassembly
{
    private const int MaxLength = 15;

    /// <summary>The instruction at rip, its bytes and text; null if there is no memory.</summary>
    public static async ValueTask<(byte[] Bytes, string Text)?> AtAsync(GuestReader reader, ulong rip, CancellationToken cancellation)
    {
        byte[] bytes = new byte[MaxLength];
        int read = await reader.TryReadAsync(new Gva(rip), bytes, cancellation).ConfigureAwait(false);
        if (read == 0)
            return null;
        Instruction instruction = Decode(bytes.AsSpan(0, read), rip);
        var output = new StringOutput();
        new NasmFormatter(new FormatterOptions { HexPrefix = "0x", HexSuffix = "" }).Format(instruction, output);
        return instruction.IsInvalid ? (bytes[..read], "(bad)") : (bytes[..instruction.Length], output.ToStringAndReset());
    }

    /// <summary>The length of an instruction that does nothing but store, or load a descriptor table; null for any other.</summary>
    public static async ValueTask<int?> SkippableAsync(LinuxGuest guest, GuardEvent e, CancellationToken cancellation)
    {
        byte[] bytes = new byte[MaxLength];
        int read = await ReaderOf(guest, e.System).TryReadAsync(new Gva(e.Registers.Rip), bytes, cancellation).ConfigureAwait(false);
        Instruction instruction = Decode(bytes.AsSpan(0, read), e.Registers.Rip);
        bool isPlain = instruction.Mnemonic is Mnemonic.Mov or Mnemonic.Movnti or Mnemonic.Movaps or Mnemonic.Movups or Mnemonic.Movdqa
            or Mnemonic.Movdqu or Mnemonic.Movntdq or Mnemonic.Movntps or Mnemonic.Movq or Mnemonic.Movd or Mnemonic.Lidt or Mnemonic.Lgdt
            or Mnemonic.Lldt or Mnemonic.Sete or Mnemonic.Setne;
        return isPlain && !instruction.HasRepPrefix ? instruction.Length : null;
    }

    /// <summary>What LIDT or LGDT is about to load; nothing if that cannot be found out.</summary>
    public static async ValueTask<TableLoad> TableLoadAsync(LinuxGuest guest, KvmRegs registers, KvmSregs system, CancellationToken cancellation)
    {
        byte[] bytes = new byte[MaxLength];
        GuestReader reader = ReaderOf(guest, system);
        int read = await reader.TryReadAsync(new Gva(registers.Rip), bytes, cancellation).ConfigureAwait(false);
        if (TableOperand(bytes.AsSpan(0, read), registers, system) is not { } operand)
            return default;
        byte[] value = new byte[10];
        return await reader.TryReadAsync(operand.Address, value, cancellation).ConfigureAwait(false) == value.Length
            ? new TableLoad(BinaryPrimitives.ReadUInt64LittleEndian(value.AsSpan(2)), operand.Length)
            : default;
    }

    /// <summary>Where LIDT or LGDT reads, and how long it is itself; null if it is another instruction.</summary>
    internal static (Gva Address, int Length)? TableOperand(ReadOnlySpan<byte> code, KvmRegs registers, KvmSregs system)
    {
        Instruction instruction = Decode(code, registers.Rip);
        return instruction.Mnemonic is Mnemonic.Lidt or Mnemonic.Lgdt
            ? (new Gva(instruction.GetVirtualAddress(0, 0, (register, _, _) => Value(register, registers, system))), instruction.Length)
            : null;
    }

    /// <summary>Memory as the vCPU sees it.</summary>
    public static GuestReader ReaderOf(LinuxGuest guest, KvmSregs system) =>
        guest.OpenMemory().WithRoot(new Gpa(system.Cr3 & 0x000f_ffff_ffff_f000));

    private static Instruction Decode(ReadOnlySpan<byte> bytes, ulong rip) =>
        Decoder.Create(64, new ByteArrayCodeReader(bytes.ToArray()), rip).Decode();

    private static ulong Value(Register register, KvmRegs registers, KvmSregs system) => register.GetSize() == 4
        ? (uint)Value(register.GetFullRegister(), registers, system) // an address of 32 bits
        : Full(register, registers, system);

    private static ulong Full(Register register, KvmRegs registers, KvmSregs system) => register switch
    {
        Register.RAX => registers.Rax,
        Register.RBX => registers.Rbx,
        Register.RCX => registers.Rcx,
        Register.RDX => registers.Rdx,
        Register.RSI => registers.Rsi,
        Register.RDI => registers.Rdi,
        Register.RSP => registers.Rsp,
        Register.RBP => registers.Rbp,
        Register.R8 => registers.R8,
        Register.R9 => registers.R9,
        Register.R10 => registers.R10,
        Register.R11 => registers.R11,
        Register.R12 => registers.R12,
        Register.R13 => registers.R13,
        Register.R14 => registers.R14,
        Register.R15 => registers.R15,
        Register.FS => system.Fs.Base,
        Register.GS => system.Gs.Base,
        _ => 0,
    };
}

/// <summary>What is about to be loaded into a descriptor table's register.</summary>
/// <param name="Base">The table's address.</param>
/// <param name="Length">Bytes of the instruction; 0 if nothing is known.</param>
internal readonly record struct TableLoad(ulong Base, int Length);
