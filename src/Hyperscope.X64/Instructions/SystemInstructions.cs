using Hyperscope.Vm;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>CPUID, RDMSR, WRMSR, RDTSC, RDTSCP, RDPMC, RDRAND, RDSEED, RDPID, HLT, VMCALL, SWAPGS, FS and GS bases, caches and fences.</summary>
internal static unsafe class SystemInstructions
{
    public static void Register(OpcodeMap map)
    {
        map.Add(0x0FA2, new OpcodeRow("cpuid", Encoding.None, static (in _) => &IdentifyProcessor) { Flags = RowFlags.EndsBlock });
        map.Add(0x0F32, new OpcodeRow("rdmsr", Encoding.None, Handlers.Plain<ReadMsr>));
        map.Add(0x0F30, new OpcodeRow("wrmsr", Encoding.None, static (in _) => &WriteMsr) { Flags = RowFlags.EndsBlock });
        map.Add(0x0F31, new OpcodeRow("rdtsc", Encoding.None, Handlers.Plain<ReadTsc>));
        map.AddModRm(0x0F01, 0xF9, new OpcodeRow("rdtscp", Encoding.ModRm, Handlers.Plain<ReadTscAndProcessor>) { Feature = "RDTSCP" });
        map.Add(0x0F33, new OpcodeRow("rdpmc", Encoding.None, Handlers.Plain<ReadCounter>));
        map.Add(0xF4, new OpcodeRow("hlt", Encoding.None, static (in _) => &Halt) { Flags = RowFlags.EndsBlock });
        map.AddModRm(0, 0x0F01, 0xD4, new OpcodeRow("vmfunc", Encoding.ModRm, Handlers.Ending<SwitchView>) { Flags = RowFlags.EndsBlock });
        map.AddModRm(0, 0x0F01, 0xC1, new OpcodeRow("vmcall", Encoding.ModRm, static (in _) => &Hypercall) { Flags = RowFlags.EndsBlock });
        map.AddModRm(0x0F01, 0xD9, new OpcodeRow("vmmcall", Encoding.ModRm, static (in _) => &Hypercall) { Flags = RowFlags.EndsBlock });
        map.AddModRm(0x0F01, 0xF8, new OpcodeRow("swapgs", Encoding.ModRm, Handlers.Plain<SwapGs>) { Flags = RowFlags.Only64 });

        OpcodeRow Base(string name, Encoding encoding, HandlerSelector select) =>
            new(name, encoding | Encoding.Dword, select) { Flags = RowFlags.Only64 | RowFlags.RegisterOnly, Feature = "FSGSBASE" };

        map.AddGroup(0xF3, 0x0FAE, 0, Base("rdfsbase", Encoding.RmD, static (in _) => Handlers.Plain<ReadBase<FsSegment>>(default)));
        map.AddGroup(0xF3, 0x0FAE, 1, Base("rdgsbase", Encoding.RmD, static (in _) => Handlers.Plain<ReadBase<GsSegment>>(default)));
        map.AddGroup(0xF3, 0x0FAE, 2, Base("wrfsbase", Encoding.RmS, static (in _) => Handlers.Plain<WriteBase<FsSegment>>(default)));
        map.AddGroup(0xF3, 0x0FAE, 3, Base("wrgsbase", Encoding.RmS, static (in _) => Handlers.Plain<WriteBase<GsSegment>>(default)));

        map.AddGroup(0, 0x0FAE, 5, Fence("lfence"));
        map.AddGroup(0, 0x0FAE, 6, Fence("mfence"));
        map.AddGroup(0, 0x0FAE, 7, Fence("sfence"));
        map.AddGroup(0, 0x0FAE, 7, new OpcodeRow("clflush", Encoding.ModRm, Handlers.Plain<FlushLine>) { Flags = RowFlags.MemoryOnly });
        map.AddGroup(0x66, 0x0FAE, 7, new OpcodeRow("clflushopt", Encoding.ModRm, Handlers.Plain<FlushLine>)
        { Flags = RowFlags.MemoryOnly, Feature = "CLFLUSHOPT" });
        map.Add(0x0F08, new OpcodeRow("invd", Encoding.None, Handlers.Plain<FlushCaches>));
        map.Add(0, 0x0F09, new OpcodeRow("wbinvd", Encoding.None, Handlers.Plain<FlushCaches>));
        map.Add(0x66, 0x0F09, new OpcodeRow("wbinvd", Encoding.None, Handlers.Plain<FlushCaches>));
        map.Add(0xF2, 0x0F09, new OpcodeRow("wbinvd", Encoding.None, Handlers.Plain<FlushCaches>)); // with F3 it is WBNOINVD

        foreach (int prefix in (ReadOnlySpan<int>)[0, 0x66])
        {
            map.AddGroup(prefix, 0x0FC7, 6, new OpcodeRow("rdrand", Encoding.RmD, Handlers.Plain<ReadRandom>)
            { Flags = RowFlags.RegisterOnly, Writes = Rflags.Arithmetic, Feature = "RDRAND" });
            map.AddGroup(prefix, 0x0FC7, 7, new OpcodeRow("rdseed", Encoding.RmD, Handlers.Plain<ReadRandom>)
            { Flags = RowFlags.RegisterOnly, Writes = Rflags.Arithmetic, Feature = "RDSEED" });
        }

        map.AddGroup(0xF3, 0x0FC7, 7, new OpcodeRow("rdpid", Encoding.RmD | Encoding.Force64, Handlers.Plain<ReadProcessor>)
        { Flags = RowFlags.RegisterOnly, Feature = "RDPID" });
    }

    private static OpcodeRow Fence(string name) => new(name, Encoding.ModRm, Handlers.Plain<Barrier>) { Flags = RowFlags.RegisterOnly };

    /// <summary>What a terminator answers after a fault was recorded.</summary>
    public static Op* Stopped(bool stopped)
    {
        _ = stopped;
        return null;
    }

    /// <summary>Ends the instruction and goes back to the run loop.</summary>
    public static Op* LeaveBehind(CpuState* c, Op* o)
    {
        c->Budget -= o->Bits >> 24;
        return Chain.Leave(c, o->NextRip);
    }

    /// <summary>SGDT, SIDT, SLDT, STR, SMSW: refused to user code under CR4.UMIP. False: stopped.</summary>
    public static bool MayStore(CpuState* c, Op* o) => c->Cpl == 0 || (c->Cr4 & Cr4.Umip) == 0 || c->RaiseGp(o);

    /// <summary>Writes the first register operand at the operand size.</summary>
    public static void SetSized(CpuState* c, Op* o, ulong value)
    {
        if (o->OperandSize == 2)
            *(ushort*)((byte*)c + o->D) = (ushort)value;
        else
            *(ulong*)((byte*)c + o->D) = o->OperandSize == 8 ? value : (uint)value;
    }

    private static Op* IdentifyProcessor(CpuState* c, Op* o)
    {
        if (c->Cpl != 0 && (c->Owner.MiscFeatures & 1) != 0)
            return Stopped(c->RaiseGp(o)); // CPUID faulting
        return c->Owner.Cpuid(o) ? Chain.Next(c, o) : null;
    }

    private readonly struct ReadMsr : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (c->Cpl != 0 || !c->Owner.TryReadMsr((uint)c->R[1], out ulong value))
                return c->RaiseGp(o);
            if ((uint)c->R[1] == MsrIndex.Tsc)
                value = c->Owner.ReadTscAt(o);
            c->R[0] = (uint)value;
            c->R[2] = value >> 32;
            return true;
        }
    }

    private static Op* WriteMsr(CpuState* c, Op* o)
    {
        if (c->Cpl != 0)
            return Stopped(c->RaiseGp(o));
        return c->Owner.WriteMsr(o, (uint)c->R[1], (uint)c->R[0] | (c->R[2] << 32)) ? LeaveBehind(c, o) : null;
    }

    private static bool TryReadTsc(CpuState* c, Op* o)
    {
        if (c->Cpl != 0 && (c->Cr4 & Cr4.Tsd) != 0 && c->IsProtected)
            return c->RaiseGp(o);
        ulong ticks = c->Owner.ReadTscAt(o);
        c->R[0] = (uint)ticks;
        c->R[2] = ticks >> 32;
        return true;
    }

    private readonly struct ReadTsc : IPlain
    {
        public static bool Run(CpuState* c, Op* o) => TryReadTsc(c, o);
    }

    private readonly struct ReadTscAndProcessor : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (!TryReadTsc(c, o))
                return false;
            c->R[1] = (uint)c->TscAux;
            return true;
        }
    }

    // There is no counter to name.
    private readonly struct ReadCounter : IPlain
    {
        public static bool Run(CpuState* c, Op* o) => c->RaiseGp(o);
    }

    private readonly struct ReadProcessor : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            *(ulong*)((byte*)c + o->D) = (uint)c->TscAux;
            return true;
        }
    }

    private readonly struct ReadRandom : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            SetSized(c, o, c->Owner.NextRandom());
            Flags.Load(c, Rflags.Cf);
            return true;
        }
    }

    private static Op* Halt(CpuState* c, Op* o)
    {
        if (c->Cpl != 0)
            return Stopped(c->RaiseGp(o));
        c->Budget -= o->Bits >> 24;
        c->Rip = o->NextRip;
        c->Stop = StopReason.Halt;
        return null;
    }

    private static Op* Hypercall(CpuState* c, Op* o)
    {
        c->Owner.Hypercall(o);
        return Chain.Next(c, o);
    }

    private readonly struct SwapGs : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (c->Cpl != 0)
                return c->RaiseGp(o);
            ulong kernel = c->KernelGsBase;
            c->KernelGsBase = c->Gs.Base;
            c->Gs.Base = kernel;
            c->SegmentBase[(int)SegmentIndex.Gs] = kernel;
            return true;
        }
    }

    private interface IBaseSegment
    {
        static abstract SegmentIndex Index { get; }
    }

    private readonly struct FsSegment : IBaseSegment
    {
        public static SegmentIndex Index => SegmentIndex.Fs;
    }

    private readonly struct GsSegment : IBaseSegment
    {
        public static SegmentIndex Index => SegmentIndex.Gs;
    }

    private readonly struct ReadBase<TSegment> : IPlain
        where TSegment : struct, IBaseSegment
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if ((c->Cr4 & Cr4.FsGsBase) == 0)
                return c->RaiseUd(o);
            SetSized(c, o, c->SegmentBase[(int)TSegment.Index]);
            return true;
        }
    }

    private readonly struct WriteBase<TSegment> : IPlain
        where TSegment : struct, IBaseSegment
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if ((c->Cr4 & Cr4.FsGsBase) == 0)
                return c->RaiseUd(o);
            ulong value = o->OperandSize == 8 ? *(ulong*)((byte*)c + o->S) : *(uint*)((byte*)c + o->S);
            return c->Owner.TrySetBase(TSegment.Index, value) || c->RaiseGp(o);
        }
    }

    private readonly struct Barrier : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            Interlocked.MemoryBarrier();
            return true;
        }
    }

    // Counts as a load of one byte.
    private readonly struct FlushLine : IPlain
    {
        public static bool Run(CpuState* c, Op* o) => c->Owner.ProbeRead(o, c->Owner.OperandAddress(o, 1, isWrite: false), 1);
    }

    private readonly struct FlushCaches : IPlain
    {
        public static bool Run(CpuState* c, Op* o) => c->Cpl == 0 || c->RaiseGp(o);
    }

    // Nothing but the switch of views is there; without a view to switch to it is an invalid opcode.
    private readonly struct SwitchView : IEnding
    {
        public static bool Run(CpuState* c, Op* o) => c->Owner.ExecuteViewFunction(o);
    }
}
