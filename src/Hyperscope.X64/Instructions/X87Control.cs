using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;
using Hyperscope.X64.FloatingPoint;

namespace Hyperscope.X64.Instructions;

/// <summary>FINIT, FCLEX, FLDCW, FSTCW, FSTSW, FSTENV, FLDENV, FSAVE, FRSTOR, FNOP, FINCSTP, FDECSTP, FFREE, FWAIT.</summary>
/// <remarks>The forms without a leading FWAIT are the instructions; they do not look at pending exceptions.</remarks>
internal static unsafe class X87Control
{
    private const int RegistersSize = 80;

    public static void Register(OpcodeMap map)
    {
        map.Add(0x9B, new OpcodeRow("fwait", Encoding.None, Handlers.Plain<Wait>) { Feature = "x87" });
        AddSilent<Initialize>(map, 0xDB, 0xE3, "fninit");
        AddSilent<ClearExceptions>(map, 0xDB, 0xE2, "fnclex");
        AddSilent<Nothing>(map, 0xDB, 0xE0, "fneni"); // 8087 and 80287 leftovers: no operation
        AddSilent<Nothing>(map, 0xDB, 0xE1, "fndisi");
        AddSilent<Nothing>(map, 0xDB, 0xE4, "fnsetpm");
        AddSilent<StatusToAccumulator>(map, 0xDF, 0xE0, "fnstsw");
        AddMemory<StoreControl>(map, 0xD9, 7, "fnstcw");
        AddMemory<StoreStatus>(map, 0xDD, 7, "fnstsw");
        AddMemory<LoadControl>(map, 0xD9, 5, "fldcw");
        AddMemory<StoreEnvironment>(map, 0xD9, 6, "fnstenv");
        AddMemory<LoadEnvironment>(map, 0xD9, 4, "fldenv");
        AddMemory<Save>(map, 0xDD, 6, "fnsave");
        AddMemory<Restore>(map, 0xDD, 4, "frstor");
        X87Handlers.AddOne<NoOperation>(map, 0xD9, 0xD0, "fnop");
        X87Handlers.AddOne<Rotate<Up>>(map, 0xD9, 0xF7, "fincstp");
        X87Handlers.AddOne<Rotate<Down>>(map, 0xD9, 0xF6, "fdecstp");
        X87Handlers.AddRegisters<Free<X87Arithmetic.NoPop>>(map, 0xDD, 0, "ffree");
        X87Handlers.AddRegisters<Free<X87Arithmetic.OnePop>>(map, 0xDF, 0, "ffreep");
    }

    private static void AddSilent<TInstruction>(OpcodeMap map, int opcode, byte modRm, string name)
        where TInstruction : struct, IPlain =>
        map.AddModRm(opcode, modRm, new OpcodeRow(name, X87Handlers.Register, Handlers.Plain<TInstruction>) { Feature = "x87" });

    private static void AddMemory<TInstruction>(OpcodeMap map, int opcode, int reg, string name)
        where TInstruction : struct, IAddressed =>
        map.AddGroup(opcode, reg, new OpcodeRow(name, X87Handlers.Memory, Handlers.Addressed<TInstruction>)
        { Feature = "x87", Flags = RowFlags.MemoryOnly });

    private static bool IsAbsent(CpuState* c) => (c->Cr0 & (Cr0.Em | Cr0.Ts)) != 0;

    private static bool RaiseAbsent(CpuState* c, Op* o) => c->Raise(o, X64.Vector.DeviceNotAvailable);

    // Masks changed: a flag that is now unmasked is pending, one that is masked no longer is.
    private static void SetControl(CpuState* c, ushort control)
    {
        c->X87Control = ValidControl(control);
        XsaveArea.SetStatus(c, c->X87Status);
    }

    private static ushort ValidControl(ushort control) => (ushort)((control & 0x1F3F) | 0x40);

    private readonly struct Nothing : IPlain { public static bool Run(CpuState* c, Op* o) => !IsAbsent(c) || RaiseAbsent(c, o); }

    private readonly struct NoOperation : IX87
    {
        public static void Run(CpuState* c, Op* o)
        {
            // Only the check and the pointers.
        }
    }

    // FWAIT heeds CR0.TS only together with CR0.MP, and CR0.EM not at all.
    private readonly struct Wait : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if ((c->Cr0 & (Cr0.Mp | Cr0.Ts)) == (Cr0.Mp | Cr0.Ts))
                return RaiseAbsent(c, o);
            return (c->X87Status & X87Unit.ErrorSummary) == 0 || X87Unit.RaisePending(c, o);
        }
    }

    private readonly struct Initialize : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (IsAbsent(c))
                return RaiseAbsent(c, o);
            XsaveArea.ResetX87(c);
            return true;
        }
    }

    private readonly struct ClearExceptions : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (IsAbsent(c))
                return RaiseAbsent(c, o);
            c->X87Status &= 0x7F00;
            return true;
        }
    }

    private readonly struct StatusToAccumulator : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (IsAbsent(c))
                return RaiseAbsent(c, o);
            Handlers.Set(c, 0, c->X87Status);
            return true;
        }
    }

    private readonly struct StoreControl : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing => IsAbsent(c) ? RaiseAbsent(c, o) : Mem.Write<ushort, TAddressing>(c, o, c->X87Control);
    }

    private readonly struct StoreStatus : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing => IsAbsent(c) ? RaiseAbsent(c, o) : Mem.Write<ushort, TAddressing>(c, o, c->X87Status);
    }

    private readonly struct LoadControl : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            if (X87Unit.IsBlocked(c) && !X87Unit.RaiseBlocked(c, o))
                return false;
            ushort* source = Mem.Read<ushort, TAddressing>(c, o);
            if (source == null)
                return false;
            SetControl(c, *source);
            return true;
        }
    }

    private static int EnvironmentSize(Op* o) => o->OperandSize == 2 ? 14 : 28;

    // Two bits a register: valid, zero, special, empty.
    private static ushort FullTags(CpuState* c)
    {
        int tags = 0;
        for (int physical = 0; physical < 8; physical++)
        {
            int tag = 3;
            if ((c->X87Tags >> physical & 1) != 0)
            {
                Unpacked value = ExtendedFormat.Unpack(c->X87[physical * 2], (ushort)c->X87[(physical * 2) + 1]);
                tag = value.Class == FloatClass.Zero ? 1 : value.Class == FloatClass.Normal && !value.IsDenormal ? 0 : 2;
            }

            tags |= tag << (physical * 2);
        }

        return (ushort)tags;
    }

    // Source: SDM vol. 1, "x87 FPU State Image", figures for protected and real mode, 32 and 16 bits.
    private static void WriteEnvironment(CpuState* c, Op* o, byte* image)
    {
        const uint Reserved = 0xFFFF_0000;
        bool isProtected = c->IsProtected && !c->IsVirtual8086;
        ulong linearIp = (c->X87InstructionPointer + ((ulong)c->X87CodeSelector << 4)) & 0xFFFF_FFFF;
        ulong linearDp = (c->X87DataPointer + ((ulong)c->X87DataSelector << 4)) & 0xFFFF_FFFF;
        uint opcode = c->X87Opcode & 0x7FFu;
        if (o->OperandSize == 2)
        {
            ushort* words = (ushort*)image;
            words[0] = c->X87Control;
            words[1] = c->X87Status;
            words[2] = FullTags(c);
            words[3] = (ushort)(isProtected ? c->X87InstructionPointer : linearIp);
            words[4] = isProtected ? c->X87CodeSelector : (ushort)((linearIp >> 16 << 12) | opcode);
            words[5] = (ushort)(isProtected ? c->X87DataPointer : linearDp);
            words[6] = isProtected ? c->X87DataSelector : (ushort)(linearDp >> 16 << 12);
            return;
        }

        uint* doublewords = (uint*)image;
        doublewords[0] = c->X87Control | Reserved;
        doublewords[1] = c->X87Status | Reserved;
        doublewords[2] = FullTags(c) | Reserved;
        doublewords[3] = isProtected ? (uint)c->X87InstructionPointer : (ushort)linearIp | Reserved;
        doublewords[4] = isProtected ? c->X87CodeSelector | (opcode << 16) : ((uint)(linearIp >> 16) << 12) | opcode;
        doublewords[5] = isProtected ? (uint)c->X87DataPointer : (ushort)linearDp | Reserved;
        doublewords[6] = isProtected ? c->X87DataSelector | Reserved : (uint)(linearDp >> 16) << 12;
    }

    private static void ReadEnvironment(CpuState* c, Op* o, byte* image)
    {
        bool isProtected = c->IsProtected && !c->IsVirtual8086;
        ushort control, status, tags;
        if (o->OperandSize == 2)
        {
            ushort* words = (ushort*)image;
            (control, status, tags) = (words[0], words[1], words[2]);
            c->X87InstructionPointer = words[3] | (isProtected ? 0 : (ulong)(words[4] >> 12) << 16);
            c->X87DataPointer = words[5] | (isProtected ? 0 : (ulong)(words[6] >> 12) << 16);
            c->X87CodeSelector = isProtected ? words[4] : (ushort)0;
            c->X87DataSelector = isProtected ? words[6] : (ushort)0;
            c->X87Opcode = isProtected ? (ushort)0 : (ushort)(words[4] & 0x7FF);
        }
        else
        {
            uint* doublewords = (uint*)image;
            (control, status, tags) = ((ushort)doublewords[0], (ushort)doublewords[1], (ushort)doublewords[2]);
            c->X87InstructionPointer = isProtected ? doublewords[3] : (ushort)doublewords[3] | (ulong)(doublewords[4] >> 12 & 0xFFFF) << 16;
            c->X87DataPointer = isProtected ? doublewords[5] : (ushort)doublewords[5] | (ulong)(doublewords[6] >> 12 & 0xFFFF) << 16;
            c->X87CodeSelector = isProtected ? (ushort)doublewords[4] : (ushort)0;
            c->X87DataSelector = isProtected ? (ushort)doublewords[6] : (ushort)0;
            c->X87Opcode = (ushort)((isProtected ? doublewords[4] >> 16 : doublewords[4]) & 0x7FF);
        }

        c->X87Tags = 0;
        for (int physical = 0; physical < 8; physical++)
        {
            if ((tags >> (physical * 2) & 3) != 3)
                c->X87Tags |= (byte)(1 << physical);
        }

        c->X87Control = ValidControl(control);
        XsaveArea.SetStatus(c, status);
    }

    private readonly struct StoreEnvironment : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            if (IsAbsent(c))
                return RaiseAbsent(c, o);
            ulong linear = TAddressing.Linear(c, o, EnvironmentSize(o), isWrite: true);
            WriteEnvironment(c, o, c->Staging);
            if (!Mem.WriteStaged(c, o, linear, EnvironmentSize(o)))
                return false;
            SetControl(c, (ushort)(c->X87Control | FloatFlags.All));
            return true;
        }
    }

    private readonly struct LoadEnvironment : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            if (X87Unit.IsBlocked(c) && !X87Unit.RaiseBlocked(c, o))
                return false;
            byte* image = Mem.ReadSlow(c, o, TAddressing.Linear(c, o, EnvironmentSize(o), isWrite: false), EnvironmentSize(o));
            if (image == null)
                return false;
            ReadEnvironment(c, o, image);
            return true;
        }
    }

    private readonly struct Save : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            if (IsAbsent(c))
                return RaiseAbsent(c, o);
            int size = EnvironmentSize(o);
            ulong linear = TAddressing.Linear(c, o, size + RegistersSize, isWrite: true);
            WriteEnvironment(c, o, c->Staging);
            for (int index = 0; index < 8; index++)
            {
                int physical = X87Unit.Physical(c, index);
                byte* target = c->Staging + size + (index * 10);
                *(ulong*)target = c->X87[physical * 2];
                *(ushort*)(target + 8) = (ushort)c->X87[(physical * 2) + 1];
            }

            if (!Mem.WriteStaged(c, o, linear, size + RegistersSize))
                return false;
            XsaveArea.ResetX87(c);
            return true;
        }
    }

    private readonly struct Restore : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            if (X87Unit.IsBlocked(c) && !X87Unit.RaiseBlocked(c, o))
                return false;
            int size = EnvironmentSize(o);
            byte* image = Mem.ReadSlow(c, o, TAddressing.Linear(c, o, size + RegistersSize, isWrite: false), size + RegistersSize);
            if (image == null)
                return false;
            ReadEnvironment(c, o, image);
            for (int index = 0; index < 8; index++)
            {
                int physical = X87Unit.Physical(c, index);
                byte* source = image + size + (index * 10);
                c->X87[physical * 2] = *(ulong*)source;
                c->X87[(physical * 2) + 1] = *(ushort*)(source + 8);
            }

            return true;
        }
    }

    private interface IDirection
    {
        static abstract int Step { get; }
    }

    private readonly struct Up : IDirection { public static int Step => 1; }

    private readonly struct Down : IDirection { public static int Step => -1; }

    private readonly struct Rotate<TDirection> : IX87
        where TDirection : struct, IDirection
    {
        public static void Run(CpuState* c, Op* o)
        {
            X87Unit.SetTop(c, X87Unit.Top(c) + TDirection.Step);
            X87Unit.Complete(c, 0, false);
        }
    }

    private readonly struct Free<TPops> : IX87
        where TPops : struct, X87Arithmetic.IPops
    {
        public static void Run(CpuState* c, Op* o)
        {
            X87Unit.Complete(c, 0, false);
            c->X87Tags &= (byte)~(1 << X87Unit.Physical(c, X87Handlers.Index(o)));
            if (TPops.Count != 0)
                X87Unit.Pop(c);
        }
    }
}
