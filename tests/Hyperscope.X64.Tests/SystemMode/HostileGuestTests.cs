using System.Diagnostics;
using Hyperscope.TestKit;
using Hyperscope.Vm;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>Random code at every privilege level over random tables: nothing a guest does may throw or hang.</summary>
public sealed class HostileGuestTests(ITestOutputHelper output)
{
    private const ulong Instructions = 3000;

    // Instructions that reach deep into the processor, mixed into the noise.
    private static readonly byte[][] Interesting =
    [
        [0x0F, 0x22, 0xC0], [0x0F, 0x22, 0xD8], [0x0F, 0x22, 0xE0], [0x0F, 0x20, 0xC0], [0x0F, 0x23, 0xC0], [0x0F, 0x23, 0xF8], [0x0F, 0x30],
        [0x0F, 0x32], [0x48, 0xCF], [0xCF], [0xCB], [0xCA, 8, 0], [0x0F, 0x01, 0x10], [0x0F, 0x01, 0x18], [0x0F, 0x00, 0xD0], [0x0F, 0x00, 0xD8],
        [0x8E, 0xD0], [0x8E, 0xD8], [0x8E, 0xE8], [0x9D], [0xCD, 0x80], [0xCC], [0xF1], [0x0F, 0x05], [0x48, 0x0F, 0x07], [0x0F, 0x34],
        [0x48, 0x0F, 0x35], [0xFB], [0xF3, 0xA4], [0xF3, 0xAB], [0x0F, 0x01, 0xF8], [0xFF, 0x18], [0xFF, 0x28], [0x0F, 0x01, 0xF0],
        [0x0F, 0x01, 0x38], [0x0F, 0x01, 0xD1], [0x0F, 0xA2], [0xE7, 0x10], [0xED], [0xF0, 0x0F, 0xB1, 0x08], [0xE8, 0, 1, 0, 0], [0xEB, 0x80],
        [0x0F, 0x02, 0xC0], [0x0F, 0x03, 0xC0], [0x66, 0x0F, 0x38, 0x82, 0x00], [0x0F, 0xAE, 0x38], [0x0F, 0x01, 0xC1], [0x1F], [0x07], [0x17],
    ];

    [Theory]
    [InlineData(CpuMode.Bits16)]
    [InlineData(CpuMode.Bits32)]
    [InlineData(CpuMode.Bits64)]
    public void Random_code_over_random_tables_neither_throws_nor_hangs(CpuMode mode)
    {
        var watch = Stopwatch.StartNew();
        int runs = 0;
        for (int seed = 1; seed <= 100; seed++)
        {
            output.WriteLine($"mode {mode} seed {seed}");
            RunOne(mode, seed);
            runs++;
        }

        output.WriteLine($"{runs} guests in {watch.Elapsed}");
    }

    private static void RunOne(CpuMode mode, int seed)
    {
        var random = new Random(seed);
        using var machine = new TestMachine(mode, memoryBytes: 4 << 20);
        SoftwareVcpu vcpu = machine.Vcpu;
        byte[] noise = new byte[0x2_0000];
        random.NextBytes(noise);
        for (int spot = 0; spot < noise.Length - 16; spot += random.Next(4, 24))
            Interesting[random.Next(Interesting.Length)].CopyTo(noise, spot);
        machine.Write(TestMachine.CodeAddress, noise);

        // Tables of plausible descriptors and gates, and random words between them.
        for (ulong slot = 0; slot < 0x1000; slot += 8)
        {
            machine.Write64(0x4_0000 + slot, Descriptor(random));
            machine.Write64(0x4_1000 + slot, Gate(random));
            machine.Write64(0x4_2000 + slot, (ulong)random.NextInt64() & 0xF_FFFF);
        }

        if (mode == CpuMode.Bits64)
        {
            for (int count = 0; count < 40; count++)
                machine.Map((ulong)(uint)random.Next(0x100) << 12, (ulong)(uint)random.Next(0x400) << 12, 0x1000, (ulong)(uint)random.Next(512) | ((ulong)(uint)random.Next(2) << 63));
            machine.Map(TestMachine.CodeAddress, TestMachine.CodeAddress, 0x4000, 7);
        }

        vcpu.GetSpecialRegisters(out KvmSregs sregs);
        if (mode != CpuMode.Bits16 || random.Next(2) == 0)
        {
            sregs.Gdt = new KvmDtable { Base = 0x4_0000, Limit = (ushort)random.Next(0x1000) };
            sregs.Idt = new KvmDtable { Base = 0x4_1000, Limit = (ushort)random.Next(0x1000) };
        }

        sregs.Tr = new KvmSegment { Base = 0x4_2000, Limit = (uint)random.Next(0x2080), Selector = 0x30, Type = 0xB, Present = 1 };
        if (mode == CpuMode.Bits32)
        {
            sregs.Cr3 = 0x4_4000;
            if (random.Next(3) == 0)
            {
                sregs.Cr0 |= Cr0.Pg;
                sregs.Cr4 |= (ulong)random.NextInt64() & Cr4.Supported & ~Cr4.Pcide;
                for (ulong slot = 0; slot < 0x3000; slot += 4)
                    machine.Write(0x4_4000 + slot, BitConverter.GetBytes((random.Next(0x400) << 12) | random.Next(0x200)));
            }
        }

        vcpu.SetSpecialRegisters(sregs);
        var registers = new KvmRegs();
        foreach (ref ulong register in KvmRegs.AsSpan(ref registers))
            register = random.Next(4) == 0 ? (ulong)random.NextInt64() : (ulong)(uint)random.Next(0x8_0000);
        registers.Rip = mode == CpuMode.Bits16 ? 0 : TestMachine.CodeAddress;
        registers.Rsp = 0x3_F000;
        registers.Rflags = (ulong)random.NextInt64() & (Rflags.Arithmetic | Rflags.If | Rflags.Iopl | Rflags.Ac | Rflags.Nt | (seed % 8 == 0 ? Rflags.Tf : 0));
        vcpu.SetRegisters(registers);

        var observer = new RandomObserver(random, machine);
        machine.Memory.PageTracker.Subscribe(observer);
        vcpu.Events = new RandomEvents(random);
        vcpu.Intercepts = (VcpuIntercepts)random.Next(256);
        for (int count = random.Next(20); count > 0; count--)
            machine.Restrict((ulong)(uint)random.Next(0x100) << 12, (PageAccess)random.Next(8));

        // A repeated instruction may have 2^64 elements and counts as one: it must be possible to stop it at any time.
        var watchdog = new Timer(_ => vcpu.RequestStop(), null, 100, 100);
        for (int round = 0; round < 4; round++)
        {
            RunOutcome outcome = vcpu.Run(Instructions, returnOnHalt: true);
            if (outcome is RunOutcome.Shutdown or RunOutcome.Stopped)
                break;
            if (outcome == RunOutcome.Halted)
                _ = vcpu.TryQueueException((byte)random.Next(32), 0, 0);
        }

        using var stopped = new ManualResetEvent(false);
        if (watchdog.Dispose(stopped))
            _ = stopped.WaitOne();
    }

    private static ulong Descriptor(Random random)
    {
        if (random.Next(3) == 0)
            return (ulong)random.NextInt64() << 1;
        ulong rights = (ulong)(uint)random.Next(256) | 0x80;
        return ((ulong)(uint)random.Next(0x10000) | ((ulong)(uint)random.Next(8) << 28)) | (rights << 40) | ((ulong)(uint)random.Next(16) << 52) | ((ulong)(uint)random.Next(16) << 48);
    }

    private static ulong Gate(Random random) =>
        (ulong)(uint)random.Next(0x1_0000) | ((ulong)(uint)random.Next(0x200) << 16) | ((ulong)(uint)random.Next(8) << 32)
        | ((ulong)(uint)(random.Next(3) == 0 ? random.Next(256) : 0xEE) << 40) | ((ulong)(uint)random.Next(4) << 48);

    private sealed class RandomObserver(Random random, TestMachine machine) : IPageTrackSubscriber
    {
        private int _asked;

        public PageTrackVerdict BeforeAccess(IVcpu vcpu, in PageTrackAccess access)
        {
            if (++_asked > 500 || random.Next(3) == 0)
            {
                machine.Restrict(access.Gpa.Value, PageAccess.All);
                return PageTrackVerdict.Retry;
            }

            if (random.Next(8) == 0)
            {
                vcpu.GetRegisters(out KvmRegs registers);
                registers.Rbx = (ulong)random.NextInt64();
                vcpu.SetRegisters(registers);
            }

            return PageTrackVerdict.Allow;
        }

        public void SlotCreated(MemorySlot slot)
        {
        }

        public void SlotFlushed(MemorySlot slot)
        {
        }
    }

    private sealed class RandomEvents(Random random) : IVcpuEvents
    {
        private InstructionVerdict Next(IVcpu vcpu)
        {
            var verdict = (InstructionVerdict)random.Next(3);
            if (verdict == InstructionVerdict.Restart)
            {
                vcpu.GetRegisters(out KvmRegs registers);
                registers.Rip++;
                vcpu.SetRegisters(registers);
            }

            vcpu.IsSingleStepping = random.Next(4) == 0;
            _ = vcpu.TryTranslate(new Gva((ulong)random.NextInt64()), out _);
            return verdict;
        }

        public void OnEntry(IVcpu vcpu)
        {
        }

        public InstructionVerdict OnBreakpoint(IVcpu vcpu, Gpa? gpa, byte instructionLength) => Next(vcpu);

        public InstructionVerdict OnControlRegisterWrite(IVcpu vcpu, byte register, ulong oldValue, ref ulong newValue) => Next(vcpu);

        public void OnXsetbv(IVcpu vcpu, byte register, ulong oldValue, ulong newValue) => Next(vcpu);

        public InstructionVerdict OnDescriptorAccess(IVcpu vcpu, DescriptorTable table, bool isWrite) => Next(vcpu);

        public InstructionVerdict OnMsrWrite(IVcpu vcpu, uint index, ulong oldValue, ref ulong newValue) => Next(vcpu);

        public bool OnHypercall(IVcpu vcpu, out ulong result)
        {
            result = 0;
            return Next(vcpu) == InstructionVerdict.Proceed;
        }

        public InstructionVerdict OnCpuid(IVcpu vcpu, uint function, uint index, byte instructionLength) => Next(vcpu);

        public void OnSingleStep(IVcpu vcpu, bool failed) => vcpu.IsSingleStepping = random.Next(4) != 0;
    }
}
