using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>Far JMP, CALL and RET, SYSCALL, SYSRET, SYSENTER, SYSEXIT.</summary>
internal static unsafe class FarTransfers
{
    public static void Register(OpcodeMap map)
    {
        map.Add(0xEA, new OpcodeRow("jmp", Encoding.FarPointer, SelectDirect) { Flags = RowFlags.EndsBlock | RowFlags.Not64 });
        map.Add(0x9A, new OpcodeRow("call", Encoding.FarPointer, SelectDirect) { Flags = RowFlags.EndsBlock | RowFlags.Not64 });
        map.AddGroup(0xFF, 5, new OpcodeRow("jmp", Encoding.ModRm, static (in _) => &JumpIndirect) { Flags = RowFlags.EndsBlock | RowFlags.MemoryOnly });
        map.AddGroup(0xFF, 3, new OpcodeRow("call", Encoding.ModRm, static (in _) => &CallIndirect) { Flags = RowFlags.EndsBlock | RowFlags.MemoryOnly });
        map.Add(0xCB, new OpcodeRow("retf", Encoding.None, static (in _) => &Return) { Flags = RowFlags.EndsBlock });
        map.Add(0xCA, new OpcodeRow("retf", Encoding.Imm16, static (in _) => &Return) { Flags = RowFlags.EndsBlock });
        map.Add(0x0F05, new OpcodeRow("syscall", Encoding.None, static (in _) => &SystemCall) { Flags = RowFlags.EndsBlock });
        map.Add(0x0F07, new OpcodeRow("sysret", Encoding.Dword, static (in _) => &SystemReturn) { Flags = RowFlags.EndsBlock });
        map.Add(0x0F34, new OpcodeRow("sysenter", Encoding.None, static (in _) => &SystemEnter) { Flags = RowFlags.EndsBlock });
        map.Add(0x0F35, new OpcodeRow("sysexit", Encoding.Dword, static (in _) => &SystemExit) { Flags = RowFlags.EndsBlock });
    }

    private static delegate*<CpuState*, Op*, Op*> SelectDirect(in Insn insn) => insn.Opcode == 0xEA ? &JumpDirect : &CallDirect;

    private static Op* JumpDirect(CpuState* c, Op* o) => Transfer(c, o, (ushort)o->Displacement, (ulong)o->Immediate, isCall: false);

    private static Op* CallDirect(CpuState* c, Op* o) => Transfer(c, o, (ushort)o->Displacement, (ulong)o->Immediate, isCall: true);

    private static Op* JumpIndirect(CpuState* c, Op* o) => Indirect(c, o, isCall: false);

    private static Op* CallIndirect(CpuState* c, Op* o) => Indirect(c, o, isCall: true);

    private static Op* Indirect(CpuState* c, Op* o, bool isCall)
    {
        SoftwareVcpu owner = c->Owner;
        int size = o->OperandSize;
        byte* pointer = owner.ReadSlow(o, owner.OperandAddress(o, size + 2, isWrite: false), size + 2);
        if (pointer == null)
            return null;
        ulong offset = size switch { 2 => *(ushort*)pointer, 4 => *(uint*)pointer, _ => *(ulong*)pointer };
        return Transfer(c, o, *(ushort*)(pointer + size), offset, isCall);
    }

    private static Op* Transfer(CpuState* c, Op* o, ushort selector, ulong offset, bool isCall) =>
        c->Owner.TryTransferFar(o, selector, offset, isCall, out ulong rip) ? Chain.Indirect(c, o, rip) : null;

    private static Op* Return(CpuState* c, Op* o) =>
        c->Owner.TryReturnFar(o, o->OperandSize, (uint)o->Immediate, out ulong rip) ? Chain.Indirect(c, o, rip) : null;

    private static Op* SystemCall(CpuState* c, Op* o) => c->Owner.TrySystemCall(o, out ulong rip) ? Chain.Indirect(c, o, rip) : null;

    private static Op* SystemReturn(CpuState* c, Op* o)
    {
        if (!c->Owner.TrySystemReturn(o, out ulong rip))
            return null;
        PrivilegedFlags.CheckLoadedFlags(c);
        return Chain.Indirect(c, o, rip);
    }

    private static Op* SystemEnter(CpuState* c, Op* o) => c->Owner.TrySystemEnter(o, out ulong rip) ? Chain.Indirect(c, o, rip) : null;

    private static Op* SystemExit(CpuState* c, Op* o) => c->Owner.TrySystemExit(o, out ulong rip) ? Chain.Indirect(c, o, rip) : null;
}
