using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>INT n, INT3, INTO, INT1, IRET.</summary>
internal static unsafe class InterruptInstructions
{
    public static void Register(OpcodeMap map)
    {
        map.Add(0xCC, new OpcodeRow("int3", Encoding.None, static (in _) => &Breakpoint) { Flags = RowFlags.EndsBlock });
        map.Add(0xCD, new OpcodeRow("int", Encoding.Imm8, static (in _) => &Interrupt) { Flags = RowFlags.EndsBlock });
        map.Add(0xCE, new OpcodeRow("into", Encoding.None, static (in _) => &InterruptOnOverflow) { Flags = RowFlags.EndsBlock | RowFlags.Not64, Reads = Rflags.Of });
        map.Add(0xF1, new OpcodeRow("int1", Encoding.None, static (in _) => &DebugTrap) { Flags = RowFlags.EndsBlock });
        map.Add(0xCF, new OpcodeRow("iret", Encoding.None, static (in _) => &Return) { Flags = RowFlags.EndsBlock, Writes = Rflags.Arithmetic });
    }

    private static Op* Breakpoint(CpuState* c, Op* o)
    {
        _ = c->Owner.Breakpoint(o);
        return null;
    }

    private static Op* Interrupt(CpuState* c, Op* o)
    {
        SoftwareVcpu owner = c->Owner;
        if (!c->IsVirtual8086)
            return SystemInstructions.Stopped(owner.RaiseSoftware(o, (byte)o->Immediate));
        return owner.InterruptVirtual(o, (byte)o->Immediate) ? Chain.Indirect(c, o, c->Rip) : null;
    }

    private static Op* InterruptOnOverflow(CpuState* c, Op* o)
    {
        if (!Flags.Overflow(c))
            return Chain.Next(c, o);
        return SystemInstructions.Stopped(c->Owner.RaiseSoftware(o, X64.Vector.Overflow));
    }

    private static Op* DebugTrap(CpuState* c, Op* o) =>
        SystemInstructions.Stopped(c->Owner.RaiseSoftware(o, X64.Vector.Debug, skipsGatePrivilege: true));

    private static Op* Return(CpuState* c, Op* o)
    {
        if (!c->Owner.TryReturnFromInterrupt(o, out ulong rip))
            return null;
        PrivilegedFlags.CheckLoadedFlags(c);
        return Chain.Indirect(c, o, rip);
    }
}
