using System.Buffers.Binary;
using Hyperscope.TestKit;
using Hyperscope.Vm;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>A 32-bit machine with descriptor tables, two tasks and handlers that halt.</summary>
internal sealed class ProtectedModeBench : IDisposable
{
    public const ulong Gdt = 0x2_0000, Idt = 0x2_1000, TaskA = 0x2_2000, TaskB = 0x2_3000, Handlers = 0x3_0000, KernelStack = 0x4_1000,
        UserCode = 0x5_0000, UserStack = 0x5_3000, CodeB = 0x6_0000, StackB = 0x6_3000;

    public const ushort Code = 8, Data = 0x10, UserCodeSelector = 0x1B, UserData = 0x23, SelectorA = 0x28, SelectorB = 0x30, Code16 = 0x38, Data16 = 0x40,
        Gate = 0x4B, Conforming = 0x50, Spare = 0x58, AbsentCode = 0x60, AbsentStack = 0x68, BeyondTable = 0x100;

    private const byte CodeAccess = 0x9B, DataAccess = 0x93;

    public ProtectedModeBench()
    {
        Machine = new TestMachine(CpuMode.Bits32);
        SetDescriptor(Code, Descriptor(0, 0xF_FFFF, CodeAccess, 0xC));
        SetDescriptor(Data, Descriptor(0, 0xF_FFFF, DataAccess, 0xC));
        SetDescriptor(UserCodeSelector, Descriptor(0, 0xF_FFFF, CodeAccess | 0x60, 0xC));
        SetDescriptor(UserData, Descriptor(0, 0xF_FFFF, DataAccess | 0x60, 0xC));
        SetDescriptor(SelectorA, Descriptor(TaskA, 0x67, 0x8B, 0));
        SetDescriptor(SelectorB, Descriptor(TaskB, 0x67, 0x89, 0));
        SetDescriptor(Code16, Descriptor(0, 0xFFFF, CodeAccess, 0));
        SetDescriptor(Data16, Descriptor(0, 0xFFFF, DataAccess, 0));
        SetDescriptor(Conforming, Descriptor(0, 0xF_FFFF, 0x9F, 0xC));
        SetDescriptor(AbsentCode, Descriptor(0, 0xF_FFFF, CodeAccess & 0x7F, 0xC));
        SetDescriptor(AbsentStack, Descriptor(0, 0xF_FFFF, DataAccess & 0x7F, 0xC));
        Write32(TaskA + 4, (uint)KernelStack);
        Write32(TaskA + 8, Data);
        for (int vector = 0; vector < 256; vector++)
        {
            SetGate(vector);
            Machine.Write(Handler(vector), [0xF4]);
        }

        Vcpu.GetSpecialRegisters(out KvmSregs sregs);
        sregs.Gdt = new KvmDtable { Base = Gdt, Limit = 0xFF };
        sregs.Idt = new KvmDtable { Base = Idt, Limit = 0x7FF };
        sregs.Tr = new KvmSegment { Base = TaskA, Limit = 0x67, Selector = SelectorA, Type = 0xB, Present = 1 };
        Vcpu.SetSpecialRegisters(sregs);
    }

    public TestMachine Machine { get; }

    public SoftwareVcpu Vcpu => Machine.Vcpu;

    public KvmSregs Special
    {
        get
        {
            Vcpu.GetSpecialRegisters(out KvmSregs sregs);
            return sregs;
        }
    }

    public static ulong Handler(int vector) => Handlers + ((ulong)vector * 16);

    public static ulong Descriptor(ulong address, uint limit, int access, int flags) => (limit & 0xFFFF) | ((address & 0xFF_FFFF) << 16)
        | ((ulong)(byte)access << 40) | ((ulong)(limit >> 16 & 0xF) << 48) | ((ulong)flags << 52) | ((address >> 24 & 0xFF) << 56);

    /// <summary>A gate of any kind: type and access byte, selector, offset, parameter count.</summary>
    public static ulong GateDescriptor(int access, ushort selector, ulong offset, int parameters = 0) => (offset & 0xFFFF) | ((ulong)selector << 16)
        | ((ulong)parameters << 32) | ((ulong)(byte)access << 40) | (offset >> 16 << 48);

    public void SetDescriptor(ushort selector, ulong raw) => Machine.Write64(Gdt + (selector & 0xFFF8u), raw);

    public ulong GetDescriptor(ushort selector) => Machine.Read64(Gdt + (selector & 0xFFF8u));

    public void SetGate(int vector, int access = 0x8E, ushort selector = Code, ulong? target = null) =>
        Machine.Write64(Idt + ((ulong)vector * 8), GateDescriptor(access, selector, target ?? Handler(vector)));

    /// <summary>Fills the second task: flat kernel segments, code at <see cref="CodeB"/>, interrupts off.</summary>
    public void PrepareTaskB()
    {
        uint[] registers = [0xA0, 0xC1, 0xD2, 0xB3, (uint)StackB, 0xB5, 0x56, 0xD7];
        Write32(TaskB + 0x1C, 0);
        Write32(TaskB + 0x20, (uint)CodeB);
        Write32(TaskB + 0x24, 2);
        for (int index = 0; index < 8; index++)
            Write32(TaskB + 0x28 + ((ulong)index * 4), registers[index]);
        ushort[] segments = [Data, Code, Data, Data, 0, Data];
        for (int index = 0; index < 6; index++)
            Write32(TaskB + 0x48 + ((ulong)index * 4), segments[index]);
        Write32(TaskB + 0x60, 0);
        Write32(TaskB + 0x64, 0);
        Machine.Write(CodeB, [0xF4]);
    }

    public void Write32(ulong gpa, uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        Machine.Write(gpa, bytes);
    }

    public uint Read32(ulong gpa) => BinaryPrimitives.ReadUInt32LittleEndian(Machine.Read(gpa, 4));

    public void EnterUser(int iopl = 0)
    {
        KvmSregs sregs = Special;
        sregs.Cs = new KvmSegment { Limit = uint.MaxValue, Selector = UserCodeSelector, Type = 0xB, Present = 1, Dpl = 3, S = 1, Db = 1, G = 1 };
        sregs.Ss = new KvmSegment { Limit = uint.MaxValue, Selector = UserData, Type = 3, Present = 1, Dpl = 3, S = 1, Db = 1, G = 1 };
        sregs.Ds = sregs.Es = sregs.Ss;
        Vcpu.SetSpecialRegisters(sregs);
        Vcpu.SetRegisters(new KvmRegs { Rip = UserCode, Rsp = UserStack, Rflags = 0x202 | ((ulong)iopl << 12) });
    }

    /// <summary>Runs until the processor halts.</summary>
    public void RunToHalt(ulong limit = 1000) => Assert.Equal(RunOutcome.Halted, Vcpu.Run(limit, returnOnHalt: true));

    /// <summary>Runs until a handler halts, and gives its vector.</summary>
    public int RunToHandler(ulong limit = 1000)
    {
        RunToHalt(limit);
        ulong rip = Machine.Registers.Rip;
        Assert.InRange(rip, Handlers, Handlers + 0xFFF);
        return (int)((rip - Handlers) / 16);
    }

    /// <summary>The values on the current stack, top first.</summary>
    public uint[] Stack(int count, int width = 4)
    {
        uint[] values = new uint[count];
        for (int index = 0; index < count; index++)
        {
            uint value = Read32(Machine.Registers.Rsp + (ulong)(index * width));
            values[index] = width == 2 ? (ushort)value : value;
        }

        return values;
    }

    public void Dispose() => Machine.Dispose();
}
