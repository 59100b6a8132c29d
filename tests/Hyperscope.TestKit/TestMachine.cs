using System.Buffers.Binary;
using Hyperscope.Vm;
using Hyperscope.X64;
using Hyperscope.X64.Execution;
using Iced.Intel;

namespace Hyperscope.TestKit;

/// <summary>How one step ended.</summary>
public enum StepKind
{
    /// <summary>The instruction completed, or one element of a repeated one was cut short by attention.</summary>
    Completed,

    /// <summary>An exception would be delivered.</summary>
    Fault,

    /// <summary>A restricted frame stopped it.</summary>
    PageAccess,

    /// <summary>HLT.</summary>
    Halted,

    /// <summary>Something else: an observer's restart.</summary>
    Other,
}

/// <summary>What one step did.</summary>
public readonly record struct StepResult(StepKind Kind, byte Vector = 0, uint ErrorCode = 0, ulong Address = 0);

/// <summary>Memory, mappings and software processors in a defined mode, for tests that execute a few instructions.</summary>
/// <remarks>
/// <para>64-bit: all memory mapped at its own address with 2 MiB pages, supervisor, writable; <see cref="Map"/> refines that by 4 KiB
/// pages. 32-bit: flat segments, paging off. 16-bit: real mode, all segments zero. CPL 0 everywhere unless changed.</para>
/// <para>Free for tests: 0x1_0000 up to <see cref="FreeEnd"/>. The page tables are at the top of memory.</para>
/// </remarks>
public sealed unsafe class TestMachine : IDisposable
{
    /// <summary>Where <see cref="Step(ReadOnlySpan{byte})"/> and <see cref="Assemble"/> put code.</summary>
    public const ulong CodeAddress = 0x1_0000;

    /// <summary>Initial stack pointer.</summary>
    public const ulong StackTop = 0xF000;

    public const ulong PagePresent = 1, PageWritable = 2, PageUser = 4, PageNoExecute = 1UL << 63;

    private readonly ulong _memoryBytes;
    private ulong _nextTable;

    public TestMachine(CpuMode mode = CpuMode.Bits64, int vcpus = 1, ulong memoryBytes = 16 << 20, CpuModel? model = null)
    {
        Mode = mode;
        _memoryBytes = memoryBytes;
        _nextTable = memoryBytes;
        _ = Memory.AddSlot(new Gpa(0), memoryBytes);
        Group = new ProcessorGroup(Memory, Views, Bus);
        if (mode == CpuMode.Bits64)
            BuildTables();
        for (int index = 0; index < vcpus; index++)
            Prepare(Group.AddVcpu(model ?? new CpuModel()));
    }

    public CpuMode Mode { get; }

    public GuestMemory Memory { get; } = new();

    public AccessMap AccessMap => Views.Main.AccessMap;

    public ViewTable Views { get; } = new();

    public TestBus Bus { get; } = new();

    public ProcessorGroup Group { get; }

    /// <summary>The first processor.</summary>
    public SoftwareVcpu Vcpu => Group.Vcpus[0];

    /// <summary>Physical address of the top-level table (64-bit mode).</summary>
    public ulong RootTable { get; private set; }

    /// <summary>End of the memory that tests may use.</summary>
    public ulong FreeEnd => _memoryBytes - 0x10_0000;

    /// <summary>General registers, rip and rflags of the first processor.</summary>
    public KvmRegs Registers
    {
        get
        {
            Vcpu.GetRegisters(out KvmRegs registers);
            return registers;
        }
        set => Vcpu.SetRegisters(value);
    }

    /// <summary>Puts bytes into memory.</summary>
    public void Write(ulong gpa, ReadOnlySpan<byte> bytes)
    {
        if (!Memory.TryWrite(new Gpa(gpa), bytes))
            throw new ArgumentOutOfRangeException(nameof(gpa), $"no memory for {bytes.Length} bytes at 0x{gpa:x}");
    }

    /// <summary>Takes bytes out of memory.</summary>
    public byte[] Read(ulong gpa, int length)
    {
        byte[] bytes = new byte[length];
        if (!Memory.TryRead(new Gpa(gpa), bytes))
            throw new ArgumentOutOfRangeException(nameof(gpa), $"no memory for {length} bytes at 0x{gpa:x}");
        return bytes;
    }

    public void Write64(ulong gpa, ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        Write(gpa, bytes);
    }

    public ulong Read64(ulong gpa) => BinaryPrimitives.ReadUInt64LittleEndian(Read(gpa, 8));

    /// <summary>Maps 4 KiB pages (64-bit mode). Entry bits without <see cref="PagePresent"/> unmap. Accessed and dirty are set.</summary>
    public void Map(ulong linear, ulong gpa, ulong bytes, ulong bits = PagePresent | PageWritable)
    {
        const ulong AccessedDirty = 0x60;
        for (ulong done = 0; done < bytes; done += 4096)
        {
            ulong table = RootTable;
            for (int level = 4; level > 1; level--)
                table = Descend(table, linear + done, level, (bits & PageUser) != 0);
            Write64(table + (((linear + done) >> 12) & 0x1FF) * 8, (gpa + done) | bits | AccessedDirty);
        }

        Group.InvalidateTranslations();
    }

    /// <summary>Sets the rights of a frame, as introspection does.</summary>
    public void Restrict(ulong gpa, PageAccess rights)
    {
        lock (AccessMap.WriterLock)
            AccessMap.Set(new Gfn(gpa >> 12), rights);
        Group.InvalidateTranslations();
    }

    /// <summary>Watches bytes, as introspection does.</summary>
    public void Watch(ulong gpa, ulong length, PageAccess kinds)
    {
        bool grew = false;
        lock (AccessMap.WriterLock)
        {
            if (!AccessMap.TrySetWatch(new Gpa(gpa), length, kinds, ref grew))
                throw new InvalidOperationException("too many watches");
        }

        if (grew)
            Group.InvalidateTranslations();
    }

    /// <summary>Goes on in 32-bit code on the page tables of 64-bit mode.</summary>
    public void EnterCompatibilityMode()
    {
        Vcpu.GetSpecialRegisters(out KvmSregs sregs);
        sregs.Cs.L = 0;
        sregs.Cs.Db = 1;
        Vcpu.SetSpecialRegisters(sregs);
    }

    /// <summary>Assembles code for the machine's mode into memory; gives its length.</summary>
    public int Assemble(Action<Assembler> code, ulong address = CodeAddress)
    {
        byte[] bytes = AssembleBytes(Mode, code, address);
        Write(address, bytes);
        return bytes.Length;
    }

    /// <summary>Assembles code without loading it.</summary>
    public static byte[] AssembleBytes(CpuMode mode, Action<Assembler> code, ulong address = CodeAddress)
    {
        var assembler = new Assembler(mode switch { CpuMode.Bits16 => 16, CpuMode.Bits32 => 32, _ => 64 });
        code(assembler);
        using var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), address);
        return stream.ToArray();
    }

    /// <summary>Executes one instruction of the first processor; nothing is delivered to the guest.</summary>
    public StepResult Step()
    {
        StopReason stop = Vcpu.StepOnce(out FaultInfo fault);
        return stop switch
        {
            StopReason.None => new StepResult(StepKind.Completed),
            StopReason.Fault => new StepResult(StepKind.Fault, fault.Vector, fault.ErrorCode, fault.Address),
            StopReason.PageAccess => new StepResult(StepKind.PageAccess),
            StopReason.Halt => new StepResult(StepKind.Halted),
            _ => new StepResult(StepKind.Other),
        };
    }

    /// <summary>Puts an instruction at rip and executes it.</summary>
    public StepResult Step(ReadOnlySpan<byte> instruction)
    {
        Write(Registers.Rip + (Mode == CpuMode.Bits64 ? 0 : Vcpu.State->Cs.Base), instruction);
        return Step();
    }

    /// <summary>Loads code that ends by stopping the processor, points every processor at it, and runs the first one until it does.</summary>
    public RunOutcome RunProgram(Action<Assembler> code, ulong instructionLimit = 100_000_000)
    {
        LoadProgram(code);
        return Vcpu.Run(instructionLimit);
    }

    /// <summary>Loads code that ends by stopping the processor that executes it, and points every processor at it.</summary>
    public void LoadProgram(Action<Assembler> code)
    {
        _ = Assemble(assembler =>
        {
            code(assembler);
            assembler.@out(unchecked((sbyte)TestBus.StopPort), AssemblerRegisters.al);
        });
        foreach (SoftwareVcpu vcpu in Group.Vcpus)
        {
            vcpu.GetRegisters(out KvmRegs registers);
            registers.Rip = CodeAddress & (Mode == CpuMode.Bits16 ? 0xFFFFUL : ulong.MaxValue);
            vcpu.SetRegisters(registers);
        }
    }

    public void Dispose()
    {
        foreach (SoftwareVcpu vcpu in Group.Vcpus)
            vcpu.Dispose();
        Memory.Dispose();
    }

    private void BuildTables()
    {
        RootTable = NewTable();
        for (ulong linear = 0; linear < _memoryBytes; linear += 0x20_0000)
        {
            ulong directory = Descend(Descend(RootTable, linear, 4, false), linear, 3, false);
            Write64(directory + (linear >> 21 & 0x1FF) * 8, linear | 0x83 | 0x60);
        }
    }

    private ulong Descend(ulong table, ulong linear, int level, bool isUser)
    {
        ulong slot = table + (linear >> (12 + (9 * (level - 1))) & 0x1FF) * 8;
        ulong entry = Read64(slot);
        if ((entry & 1) == 0)
        {
            entry = NewTable() | 0x23;
        }
        else if (level == 2 && (entry & 0x80) != 0)
        {
            ulong split = NewTable(), first = entry & 0xF_FFFF_FFE0_0000;
            for (ulong index = 0; index < 512; index++)
                Write64(split + index * 8, first + index * 4096 | 0x63);
            entry = split | 0x23;
        }

        Write64(slot, entry | (isUser ? PageUser : 0));
        return entry & 0xF_FFFF_FFFF_F000;
    }

    private ulong NewTable()
    {
        _nextTable -= 4096;
        if (_nextTable < FreeEnd)
            throw new InvalidOperationException("too many page tables");
        return _nextTable;
    }

    private void Prepare(SoftwareVcpu vcpu)
    {
        CpuState* c = vcpu.State;
        bool isReal = Mode == CpuMode.Bits16;
        var data = new KvmSegment
        {
            Limit = isReal ? 0xFFFFu : uint.MaxValue,
            Selector = (ushort)(isReal ? 0 : 0x10),
            Type = 3,
            Present = 1,
            S = 1,
            Db = (byte)(isReal ? 0 : 1),
            G = (byte)(isReal ? 0 : 1),
        };
        KvmSegment code = data;
        code.Selector = (ushort)(isReal ? 0 : 8);
        code.Type = (byte)(isReal ? 3 : 0xB);
        code.Db = (byte)(Mode == CpuMode.Bits32 ? 1 : 0);
        code.L = (byte)(Mode == CpuMode.Bits64 ? 1 : 0);
        if (isReal)
        {
            // Code at 0x10000 needs a base of its own.
            code.Base = CodeAddress & ~0xFFFFUL;
            code.Selector = (ushort)(code.Base >> 4);
        }

        c->Cr0 = isReal ? Cr0.Et : Cr0.Pe | Cr0.Et | Cr0.Ne | Cr0.Wp;
        c->Cr4 = Cr4.OsFxsr | Cr4.OsXmmExcpt;
        if (Mode == CpuMode.Bits64)
        {
            c->Cr0 |= Cr0.Pg;
            c->Cr4 |= Cr4.Pae;
            c->Cr3 = RootTable;
            c->Efer = Efer.Lme | Efer.Lma | Efer.Nx;
        }

        vcpu.Start();
        c->Cpl = 0;
        vcpu.SetSegment(SegmentIndex.Cs, code);
        foreach (SegmentIndex index in (SegmentIndex[])[SegmentIndex.Es, SegmentIndex.Ss, SegmentIndex.Ds, SegmentIndex.Fs, SegmentIndex.Gs])
            vcpu.SetSegment(index, data);
        vcpu.FlushTranslations();
        vcpu.Start();
        vcpu.SetRegisters(new KvmRegs { Rip = isReal ? CodeAddress & 0xFFFF : CodeAddress, Rsp = StackTop, Rflags = 2 });
    }
}
