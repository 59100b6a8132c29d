using Hyperscope.TestKit;
using Hyperscope.Vm;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>A 64-bit machine with descriptor tables: selectors 8 (code), 10 (data), 1b (user 32-bit code), 23 (user data), 2b (user code), 30 (TSS).</summary>
internal sealed unsafe class LongModeBench : IDisposable
{
    public const ulong Gdt = 0x2_0000, Idt = 0x2_1000, Tss = 0x2_2000, Handlers = 0x3_0000, KernelStack = 0x4_1000, IstStack = 0x4_3000,
        UserCode = 0x5_0000, UserStack = 0x5_3000;

    public const ushort Code = 8, Data = 0x10, UserCode32Selector = 0x1B, UserData = 0x23, UserCodeSelector = 0x2B, TssSelector = 0x30;

    public LongModeBench(int vcpus = 1)
    {
        Machine = new TestMachine(vcpus: vcpus);
        ulong[] descriptors =
        [
            0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x00CF_FB00_0000_FFFF, 0x00CF_F300_0000_FFFF, 0x00AF_FB00_0000_FFFF,
            0x0000_8B00_0000_0067 | ((Tss & 0xFF_FFFF) << 16), Tss >> 32,
        ];
        for (int index = 0; index < descriptors.Length; index++)
            Machine.Write64(Gdt + ((ulong)index * 8), descriptors[index]);
        Machine.Write64(Tss + 4, KernelStack);
        Machine.Write64(Tss + 0x24, IstStack);
        for (int vector = 0; vector < 256; vector++)
            SetGate(vector);
        Machine.Map(UserCode, UserCode, 0x4000, TestMachine.PagePresent | TestMachine.PageWritable | TestMachine.PageUser);
        foreach (SoftwareVcpu vcpu in Machine.Group.Vcpus)
        {
            vcpu.GetSpecialRegisters(out KvmSregs sregs);
            sregs.Gdt = new KvmDtable { Base = Gdt, Limit = 0x3F };
            sregs.Idt = new KvmDtable { Base = Idt, Limit = 0xFFF };
            sregs.Tr = new KvmSegment { Base = Tss, Limit = 0x67, Selector = TssSelector, Type = 0xB, Present = 1 };
            vcpu.SetSpecialRegisters(sregs);
        }

        // Every handler is HLT, on its own 16 bytes.
        for (int vector = 0; vector < 256; vector++)
            Machine.Write(Handler(vector), [0xF4]);
    }

    public TestMachine Machine { get; }

    public SoftwareVcpu Vcpu => Machine.Vcpu;

    public static ulong Handler(int vector) => Handlers + ((ulong)vector * 16);

    public void SetGate(int vector, int ist = 0, int dpl = 0, int type = 0xE, ushort selector = Code, bool present = true, ulong? target = null)
    {
        ulong offset = target ?? Handler(vector);
        ulong low = (offset & 0xFFFF) | ((ulong)selector << 16) | ((ulong)ist << 32) | ((ulong)type << 40) | ((ulong)dpl << 45)
            | (present ? 1UL << 47 : 0) | ((offset & 0xFFFF_0000) << 32);
        Machine.Write64(Idt + ((ulong)vector * 16), low);
        Machine.Write64(Idt + ((ulong)vector * 16) + 8, offset >> 32);
    }

    /// <summary>Enters user code as SYSRET would.</summary>
    public void EnterUser(bool is32 = false)
    {
        Vcpu.GetSpecialRegisters(out KvmSregs sregs);
        sregs.Cs = new KvmSegment
        {
            Limit = uint.MaxValue,
            Selector = is32 ? UserCode32Selector : UserCodeSelector,
            Type = 0xB,
            Present = 1,
            Dpl = 3,
            S = 1,
            L = (byte)(is32 ? 0 : 1),
            Db = (byte)(is32 ? 1 : 0),
            G = 1,
        };
        sregs.Ss = new KvmSegment { Limit = uint.MaxValue, Selector = UserData, Type = 3, Present = 1, Dpl = 3, S = 1, Db = 1, G = 1 };
        sregs.Ds = sregs.Es = sregs.Ss;
        Vcpu.SetSpecialRegisters(sregs);
        Vcpu.SetRegisters(new KvmRegs { Rip = UserCode, Rsp = UserStack, Rflags = 0x202 });
    }

    /// <summary>Runs until a handler halts, and gives its vector.</summary>
    public int RunToHandler(ulong limit = 1000)
    {
        Assert.Equal(RunOutcome.Halted, Vcpu.Run(limit, returnOnHalt: true));
        ulong rip = Machine.Registers.Rip;
        Assert.InRange(rip, Handlers, Handlers + 0xFFF);
        return (int)((rip - Handlers) / 16);
    }

    /// <summary>The values on the current stack, top first.</summary>
    public ulong[] Stack(int count)
    {
        ulong[] values = new ulong[count];
        for (int index = 0; index < count; index++)
            values[index] = Machine.Read64(Machine.Registers.Rsp + ((ulong)index * 8));
        return values;
    }

    public void Dispose() => Machine.Dispose();
}
