using System.Runtime.InteropServices;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hyperscope.TestKit;

/// <summary>The user-visible state around one natively executed instruction.</summary>
public unsafe struct NativeState
{
    /// <summary>RAX RCX RDX RBX RSP RBP RSI RDI R8 to R15.</summary>
    public fixed ulong Registers[16];

    /// <summary>Only CF PF AF ZF SF DF OF are loaded; the whole register comes back.</summary>
    public ulong Rflags;

#pragma warning disable CS0169, IDE0051, IDE0044 // FXSAVE wants its image at a multiple of 16
    private ulong _padding;
#pragma warning restore CS0169, IDE0051, IDE0044

    /// <summary>FXSAVE64 image: x87, MMX, MXCSR and XMM0 to XMM15.</summary>
    public fixed byte Fxsave[512];
}

/// <summary>What the host processor did with an instruction.</summary>
public enum NativeOutcome
{
    Completed,

    /// <summary>#DE, or an unmasked x87 or SSE exception (SIGFPE).</summary>
    ArithmeticFault,

    /// <summary>#UD (SIGILL).</summary>
    InvalidOpcode,

    /// <summary>#PF, #GP, #SS (SIGSEGV, SIGBUS).</summary>
    MemoryFault,

    /// <summary>#DB, #BP (SIGTRAP).</summary>
    Trap,
}

/// <summary>Executes single user-mode instructions on the host processor: the reference for differential tests.</summary>
/// <remarks>
/// <para>The caller picks instructions that touch nothing but registers and <see cref="Data"/>. Branches, RIP-relative operands, system calls
/// and writes to segment registers are not for this. If RSP is not a register under test, leave it at <see cref="StackTop"/>; while
/// the instruction runs, RSP holds what the caller gave, and a signal that arrives then is delivered on that stack.</para>
/// <para>All memory lies below 2 GiB at fixed addresses, so that 32-bit addresses and displacements reach it and a guest can map the same
/// addresses. One instance at a time; not thread-safe. Faults come back as values: a handler of our own, in front of the runtime's,
/// takes those whose instruction pointer is in the instruction slot.</para>
/// </remarks>
public sealed unsafe class NativeProcessor : IDisposable
{
    /// <summary>Linear address of the memory operands.</summary>
    public const ulong DataAddress = Base + 0x10000;

    /// <summary>Bytes at <see cref="DataAddress"/>.</summary>
    public const int DataSize = 0x4000;

    /// <summary>Linear address at which instructions are executed.</summary>
    public const ulong CodeAddress = Slot;

    /// <summary>An address inside the scratch stack with room on both sides.</summary>
    public const ulong StackTop = Base + 0x3C000;

    private const ulong Base = 0x5A00_0000;
    private const int Size = 0x40000;
    private const ulong StateAddress = Base + 0x8000, HostFxsave = Base + 0x9000, HostRsp = Base + 0x9400, FaultSignal = Base + 0x9408;
    private const ulong Entry = Base, Entry32 = Base + 0x800, SavedDs = Base + 0x9410, SavedEs = Base + 0x9418, FarSlot = Base + 0x9420;
    private const ushort Code32 = 0x23, Code64 = 0x33, Data32 = 0x2B; // Linux' selectors for user code
    private const ulong Slot = Base + 0x1000, Exit = Base + 0x2000, Handler = Base + 0x3000, OldActions = Base + 0x9800;
    private const ulong LoadableFlags = 0x8D5 | 0x400;

    private static readonly Lock _gate = new();
    private static readonly int[] _signals = [8, 4, 11, 7, 5];
    private static bool _isMapped;
    private bool _disposed;

    /// <summary>Takes the processor; waits while another instance has it.</summary>
    public NativeProcessor()
    {
        if (!IsSupported)
            throw new PlatformNotSupportedException("needs Linux on x86-64");
        _gate.Enter();
        if (!_isMapped)
        {
            Map();
            _isMapped = true;
        }

        InstallHandlers();
    }

    /// <summary>True where instructions can be executed natively.</summary>
    public static bool IsSupported => OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture == Architecture.X64;

    /// <summary>The memory operands, at <see cref="DataAddress"/>.</summary>
    public Span<byte> Data => new((byte*)DataAddress, DataSize);

    /// <summary>Executes one instruction of up to 15 bytes, in 64-bit or in 32-bit (compatibility) mode with flat segments.</summary>
    public NativeOutcome Run(ReadOnlySpan<byte> instruction, ref NativeState state, bool is32Bit = false)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (instruction.Length is 0 or > 15)
            throw new ArgumentException($"an instruction of {instruction.Length} bytes; 1 to 15 are possible", nameof(instruction));
        var slot = (byte*)Slot;
        instruction.CopyTo(new Span<byte>(slot, 15));
        slot[instruction.Length] = (byte)(is32Bit ? 0xEA : 0xE9); // jmp Exit
        *(int*)(slot + instruction.Length + 1) = (int)(is32Bit ? (long)Exit : (long)Exit - (long)(Slot + (ulong)instruction.Length + 5));
        *(ushort*)(slot + instruction.Length + 5) = Code64;
        fixed (NativeState* given = &state)
            Buffer.MemoryCopy(given, (void*)StateAddress, sizeof(NativeState), sizeof(NativeState));
        var native = (NativeState*)StateAddress;
        native->Rflags = (native->Rflags & LoadableFlags) | 2;
        *(ulong*)FaultSignal = 0;

        // Sound: the stub saves and restores everything the platform ABI wants preserved, and DF, MXCSR and x87 with it.
        ((delegate* unmanaged<void>)(is32Bit ? Entry32 : Entry))();
        state = *native;
        return *(ulong*)FaultSignal switch
        {
            0 => NativeOutcome.Completed,
            8 => NativeOutcome.ArithmeticFault,
            4 => NativeOutcome.InvalidOpcode,
            5 => NativeOutcome.Trap,
            _ => NativeOutcome.MemoryFault,
        };
    }

    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        for (int index = 0; index < _signals.Length; index++)
            _ = SigAction(_signals[index], (void*)(OldActions + ((ulong)index * SigActionSize)), null);
        _gate.Exit();
    }

    private const ulong SigActionSize = 256; // more than any libc's struct sigaction

    [DllImport("libc", EntryPoint = "sigaction")]
    private static extern int SigAction(int signal, void* action, void* old);

    [DllImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static extern nint MemoryMap(nint address, nuint length, int protection, int flags, int fd, nint offset);

    private static void Map()
    {
        const int ReadWriteExecute = 7, PrivateAnonymousFixedNoReplace = 0x2 | 0x20 | 0x100000;
        nint mapped = MemoryMap((nint)Base, Size, ReadWriteExecute, PrivateAnonymousFixedNoReplace, -1, 0);
        if (mapped != (nint)Base)
            throw new InvalidOperationException($"mmap of {Size} bytes at 0x{Base:x} failed, errno {Marshal.GetLastPInvokeError()}");
        *(uint*)FarSlot = (uint)Slot;
        *(ushort*)(FarSlot + 4) = Code32;
        Write(Entry, static a => AssembleEntry(a, is32Bit: false));
        Write(Entry32, static a => AssembleEntry(a, is32Bit: true));
        Write(Exit, AssembleExit);
        Write(Handler, AssembleHandler);
    }

    private static void Write(ulong address, Action<Assembler> code)
    {
        var assembler = new Assembler(64);
        code(assembler);
        using var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), address);
        stream.ToArray().CopyTo(new Span<byte>((void*)address, 0x800));
    }

    private static readonly AssemblerRegister64[] _registers = [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15];

    private static AssemblerMemoryOperand Absolute(ulong address) => __qword_ptr[address];

    private static void AssembleEntry(Assembler a, bool is32Bit)
    {
        foreach (AssemblerRegister64 register in (AssemblerRegister64[])[rbx, rbp, r12, r13, r14, r15])
            a.push(register);
        a.pushfq();
        a.mov(Absolute(HostRsp), rsp);
        a.fxsave64(__[HostFxsave]);
        a.fxrstor64(__[StateAddress + 144]);
        a.mov(__word_ptr[SavedDs], ds);
        a.mov(__word_ptr[SavedEs], es);
        if (is32Bit)
        {
            a.mov(eax, Data32);
            a.mov(ds, eax);
            a.mov(es, eax);
        }

        a.push(Absolute(StateAddress + 128));
        a.popfq();
        for (int index = 0; index < 16; index++)
            a.mov(_registers[index], Absolute(StateAddress + (ulong)(index * 8)));
        if (is32Bit)
            a.jmp(__fword_ptr[FarSlot]);
        else
            a.jmp(Slot);
    }

    private static void AssembleExit(Assembler a)
    {
        for (int index = 0; index < 16; index++)
            a.mov(Absolute(StateAddress + (ulong)(index * 8)), _registers[index]);
        a.mov(rsp, Absolute(HostRsp));
        a.pushfq();
        a.pop(Absolute(StateAddress + 128));
        a.mov(ds, __word_ptr[SavedDs]);
        a.mov(es, __word_ptr[SavedEs]);
        a.cld();
        a.fxsave64(__[StateAddress + 144]);
        a.fxrstor64(__[HostFxsave]);
        a.popfq();
        foreach (AssemblerRegister64 register in (AssemblerRegister64[])[r15, r14, r13, r12, rbp, rbx])
            a.pop(register);
        a.ret();
    }

    // void handler(int signal, siginfo_t*, ucontext_t*): a fault in the slot continues at Exit, any other goes to the handler from before.
    private static void AssembleHandler(Assembler a)
    {
        const int ContextRip = 0xA8, ContextCs = 0xB8; // uc_mcontext.gregs[REG_RIP] and [REG_CSGSFS], part of the kernel's ABI
        Label foreign = a.CreateLabel();
        a.mov(rax, __qword_ptr[rdx + ContextRip]);
        a.sub(rax, (int)Slot);
        a.cmp(rax, 0x1000);
        a.jae(foreign);
        a.mov(eax, edi);
        a.mov(Absolute(FaultSignal), rax);
        a.mov(eax, (int)Exit);
        a.mov(__qword_ptr[rdx + ContextRip], rax);
        a.mov(__word_ptr[rdx + ContextCs], Code64);
        a.ret();
        a.Label(ref foreign);
        for (int index = 0; index < _signals.Length; index++)
        {
            Label next = a.CreateLabel();
            a.cmp(edi, _signals[index]);
            a.jne(next);
            a.jmp(Absolute(OldActions + ((ulong)index * SigActionSize))); // the runtime installs sigaction handlers of three arguments
            a.Label(ref next);
        }

        a.ud2();
    }

    // Mask and flags stay as they were: the runtime's handlers rely on the stack they asked for.
    private static void InstallHandlers()
    {
        byte* action = stackalloc byte[(int)SigActionSize];
        for (int index = 0; index < _signals.Length; index++)
        {
            var old = (byte*)(OldActions + ((ulong)index * SigActionSize));
            bool ok = SigAction(_signals[index], null, old) == 0;
            Buffer.MemoryCopy(old, action, (long)SigActionSize, (long)SigActionSize);
            *(ulong*)action = Handler;
            if (!ok || SigAction(_signals[index], action, null) != 0)
                throw new InvalidOperationException($"sigaction({_signals[index]}) failed");
        }
    }
}
