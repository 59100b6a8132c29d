using System.Runtime.CompilerServices;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>An x87 instruction on registers, behind the check for pending exceptions.</summary>
internal unsafe interface IX87
{
    /// <summary>Executes it. It always completes: exceptions go to the status word.</summary>
    static abstract void Run(CpuState* c, Op* o);
}

/// <summary>An x87 instruction with a memory operand.</summary>
internal unsafe interface IX87Memory
{
    /// <summary>Bytes of the operand, for the limit check.</summary>
    static abstract int Size { get; }

    static abstract bool IsStore { get; }

    /// <summary>Executes it at a linear address. False: stopped with no effect.</summary>
    static abstract bool Run(CpuState* c, Op* o, ulong linear);
}

/// <summary>The shapes of x87 instructions: the check in front, the last-instruction pointers behind.</summary>
internal static unsafe class X87Handlers
{
    /// <summary>ModRM.rm of a register form arrives as the general register of that number.</summary>
    public const Encoding Register = Encoding.RmS | Encoding.Dword;
    public const Encoding Memory = Encoding.PlainReg;

    /// <summary>Memory form: opcode D8 to DF, ModRM.reg.</summary>
    public static void AddMemory<TInstruction>(OpcodeMap map, int opcode, int reg, string name)
        where TInstruction : struct, IX87Memory =>
        map.AddGroup(opcode, reg, new OpcodeRow(name, Memory, Handlers.Addressed<FromMemory<TInstruction>>) { Feature = "x87", Flags = RowFlags.MemoryOnly });

    /// <summary>Register forms with all eight registers.</summary>
    public static void AddRegisters<TInstruction>(OpcodeMap map, int opcode, int reg, string name, ulong writes = 0)
        where TInstruction : struct, IX87 =>
        map.AddGroup(opcode, reg, new OpcodeRow(name, Register, Handlers.Plain<OnRegisters<TInstruction>>)
        { Feature = "x87", Flags = RowFlags.RegisterOnly, Writes = writes });

    /// <summary>One register form.</summary>
    public static void AddOne<TInstruction>(OpcodeMap map, int opcode, byte modRm, string name)
        where TInstruction : struct, IX87 =>
        map.AddModRm(opcode, modRm, new OpcodeRow(name, Register, Handlers.Plain<OnRegisters<TInstruction>>) { Feature = "x87" });

    /// <summary>Stack index of a register form.</summary>
    public static int Index(Op* o) => o->S >> 3 & 7;

    /// <summary>Remembers the last instruction that was not a control instruction.</summary>
    public static void SetPointers(CpuState* c, Op* o)
    {
        c->X87InstructionPointer = o->Rip;
        c->X87CodeSelector = c->Cs.Selector;
        c->X87Opcode = (ushort)o->Immediate;
    }

    /// <summary>Remembers the address of the memory operand as well.</summary>
    public static void SetPointers(CpuState* c, Op* o, ulong linear)
    {
        SetPointers(c, o);
        c->X87DataPointer = (o->Bits & (OpBits.Code16 | OpBits.Code32)) == 0 ? linear : (linear - c->SegmentBase[(int)o->Segment]) & 0xFFFF_FFFF;
        c->X87DataSelector = o->Segment < SegmentIndex.None ? (&c->Es + (int)o->Segment)->Selector : c->Ds.Selector;
    }

    private readonly struct OnRegisters<TInstruction> : IPlain
        where TInstruction : struct, IX87
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (X87Unit.IsBlocked(c) && !X87Unit.RaiseBlocked(c, o))
                return false;
            Execute(c, o);
            return true;
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void Execute(CpuState* c, Op* o)
        {
            SetPointers(c, o);
            TInstruction.Run(c, o);
        }
    }

    private readonly struct FromMemory<TInstruction> : IAddressed
        where TInstruction : struct, IX87Memory
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            if (X87Unit.IsBlocked(c) && !X87Unit.RaiseBlocked(c, o))
                return false;
            return Execute(c, o, TAddressing.Linear(c, o, TInstruction.Size, TInstruction.IsStore));
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static bool Execute(CpuState* c, Op* o, ulong linear)
        {
            if (!TInstruction.Run(c, o, linear))
                return false;
            SetPointers(c, o, linear);
            return true;
        }
    }
}
