using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>MOV CRn, MOV DRn, SMSW, LMSW, CLTS, XGETBV, XSETBV, INVLPG, INVPCID.</summary>
internal static unsafe class ControlRegisterInstructions
{
    public static void Register(OpcodeMap map)
    {
        const Encoding FromSystem = Encoding.RmD | Encoding.PlainReg | Encoding.RegisterOnly | Encoding.Force64;
        const Encoding ToSystem = Encoding.RmS | Encoding.PlainReg | Encoding.RegisterOnly | Encoding.Force64;
        map.Add(0x0F20, new OpcodeRow("mov", FromSystem, Handlers.Plain<ReadControl>));
        map.Add(0x0F22, new OpcodeRow("mov", ToSystem, static (in _) => &WriteControl) { Flags = RowFlags.EndsBlock });
        map.Add(0x0F21, new OpcodeRow("mov", FromSystem, Handlers.Plain<ReadDebug>));
        map.Add(0x0F23, new OpcodeRow("mov", ToSystem, static (in _) => &WriteDebug) { Flags = RowFlags.EndsBlock });
        map.AddGroup(0x0F01, 4, new OpcodeRow("smsw", Encoding.RmD, Handlers.Plain<StoreMachineStatus>));
        map.AddGroup(0x0F01, 6, new OpcodeRow("lmsw", Encoding.RmS | Encoding.WordSource, static (in _) => &LoadMachineStatus) { Flags = RowFlags.EndsBlock });
        map.AddGroup(0x0F01, 7, new OpcodeRow("invlpg", Encoding.ModRm, static (in _) => &InvalidatePage) { Flags = RowFlags.EndsBlock | RowFlags.MemoryOnly });
        map.Add(0x66, 0x0F3882, new OpcodeRow("invpcid", Encoding.RegD, static (in _) => &InvalidatePcid)
        { Flags = RowFlags.EndsBlock | RowFlags.MemoryOnly, Feature = "INVPCID" });
        map.Add(0x0F06, new OpcodeRow("clts", Encoding.None, static (in _) => &ClearTaskSwitched) { Flags = RowFlags.EndsBlock });
        map.AddModRm(0, 0x0F01, 0xD0, new OpcodeRow("xgetbv", Encoding.ModRm, Handlers.Plain<ReadExtended>) { Feature = "XSAVE" });
        map.AddModRm(0, 0x0F01, 0xD1, new OpcodeRow("xsetbv", Encoding.ModRm, static (in _) => &WriteExtended) { Flags = RowFlags.EndsBlock, Feature = "XSAVE" });
    }

    private static ulong SourceRegister(CpuState* c, Op* o) =>
        c->Is64Bit ? *(ulong*)((byte*)c + o->S) : *(uint*)((byte*)c + o->S);

    private static void SetRegister(CpuState* c, Op* o, ulong value) =>
        *(ulong*)((byte*)c + o->D) = c->Is64Bit ? value : (uint)value;

    private readonly struct ReadControl : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (o->S is not (0 or 2 or 3 or 4 or 8))
                return c->RaiseUd(o);
            if (c->Cpl != 0)
                return c->RaiseGp(o);
            SetRegister(c, o, o->S switch { 0 => c->Cr0, 2 => c->Cr2, 3 => c->Cr3, 4 => c->Cr4, _ => c->Owner.ReadCr8() });
            return true;
        }
    }

    private static Op* WriteControl(CpuState* c, Op* o)
    {
        if (o->D is not (0 or 2 or 3 or 4 or 8))
            return SystemInstructions.Stopped(c->RaiseUd(o));
        if (c->Cpl != 0)
            return SystemInstructions.Stopped(c->RaiseGp(o));
        ulong value = SourceRegister(c, o);
        SoftwareVcpu owner = c->Owner;
        switch (o->D)
        {
            case 0:
                return owner.TryWriteCr0(o, value) ? Chain.Next(c, o) : null;
            case 2:
                c->Cr2 = value;
                return Chain.Next(c, o);
            case 3:
                return owner.TryWriteCr3(o, value) ? Chain.Next(c, o) : null;
            case 4:
                return owner.TryWriteCr4(o, value) ? Chain.Next(c, o) : null;
            default:
                // An interrupt may have become deliverable: the run loop looks.
                return owner.TryWriteCr8(o, value) ? SystemInstructions.LeaveBehind(c, o) : null;
        }
    }

    // DR4 and DR5 stand for DR6 and DR7 unless CR4.DE forbids it. False: stopped.
    private static bool TryAccessDebug(CpuState* c, Op* o, ref int register)
    {
        if (register >= 8 || (register is 4 or 5 && (c->Cr4 & Cr4.De) != 0))
            return c->RaiseUd(o);
        if (register is 4 or 5)
            register += 2;
        if (c->Cpl != 0)
            return c->RaiseGp(o);
        if ((c->Dr[7] & Dr7.GeneralDetect) == 0)
            return true;
        c->Dr[6] |= Dr6.GeneralDetect;
        _ = c->Raise(o, X64.Vector.Debug);
        c->Fault.IsGeneralDetect = true;
        return false;
    }

    private readonly struct ReadDebug : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            int register = o->S;
            if (!TryAccessDebug(c, o, ref register))
                return false;
            SetRegister(c, o, c->Owner.ReadDebug(register));
            return true;
        }
    }

    private static Op* WriteDebug(CpuState* c, Op* o)
    {
        int register = o->D;
        if (!TryAccessDebug(c, o, ref register))
            return null;
        ulong value = SourceRegister(c, o);
        if (register >= 6 && value >> 32 != 0)
            return SystemInstructions.Stopped(c->RaiseGp(o));
        c->Owner.WriteDebug(register, value);
        return SystemInstructions.LeaveBehind(c, o);
    }

    private readonly struct StoreMachineStatus : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (!SystemInstructions.MayStore(c, o))
                return false;
            if ((o->Bits & OpBits.HasMemory) != 0)
                return c->Owner.TryWrite(o, c->Owner.OperandAddress(o, 2, isWrite: true), 2, c->Cr0);
            SystemInstructions.SetSized(c, o, c->Cr0);
            return true;
        }
    }

    private static Op* LoadMachineStatus(CpuState* c, Op* o)
    {
        if (c->Cpl != 0)
            return SystemInstructions.Stopped(c->RaiseGp(o));
        if (!c->Owner.TryReadWordOperand(o, out ushort status))
            return null;
        const ulong Loaded = Cr0.Pe | Cr0.Mp | Cr0.Em | Cr0.Ts;
        ulong value = (c->Cr0 & ~(Loaded & ~Cr0.Pe)) | (status & Loaded); // PE can be set, not cleared
        return c->Owner.TryWriteCr0(o, value) ? Chain.Next(c, o) : null;
    }

    private static Op* ClearTaskSwitched(CpuState* c, Op* o)
    {
        if (c->Cpl != 0)
            return SystemInstructions.Stopped(c->RaiseGp(o));
        return c->Owner.TryWriteCr0(o, c->Cr0 & ~Cr0.Ts) ? Chain.Next(c, o) : null;
    }

    private static Op* InvalidatePage(CpuState* c, Op* o)
    {
        if (c->Cpl != 0)
            return SystemInstructions.Stopped(c->RaiseGp(o));
        ulong linear = (Flat.Linear(c, o, 1, isWrite: false) & OpBits.AddressMask(o->Bits)) + c->SegmentBase[(int)o->Segment];
        if (!c->Is64Bit)
            linear &= 0xFFFF_FFFF;
        c->Owner.FlushPage(linear);
        return Chain.Next(c, o);
    }

    private static Op* InvalidatePcid(CpuState* c, Op* o)
    {
        SoftwareVcpu owner = c->Owner;
        if (owner.IsRealOrVirtual && c->IsVirtual8086)
            return SystemInstructions.Stopped(c->RaiseGp(o));
        if (c->Cpl != 0)
            return SystemInstructions.Stopped(c->RaiseGp(o));
        ulong type = c->Is64Bit ? *(ulong*)((byte*)c + o->D) : *(uint*)((byte*)c + o->D);
        byte* descriptor = owner.ReadSlow(o, owner.OperandAddress(o, 16, isWrite: false), 16);
        if (descriptor == null)
            return null;
        ulong pcid = *(ulong*)descriptor, linear = *(ulong*)(descriptor + 8);
        bool isInvalid = type > 3 || pcid > 0xFFF || (type < 2 && pcid != 0 && (c->Cr4 & Cr4.Pcide) == 0)
            || (type == 0 && !SoftwareVcpu.IsCanonicalAddress(linear));
        if (isInvalid)
            return SystemInstructions.Stopped(c->RaiseGp(o));
        owner.FlushTranslations();
        return Chain.Next(c, o);
    }

    private readonly struct ReadExtended : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if ((c->Cr4 & Cr4.OsXsave) == 0)
                return c->RaiseUd(o);
            if ((uint)c->R[1] != 0)
                return c->RaiseGp(o);
            c->R[0] = (uint)c->Xcr0;
            c->R[2] = c->Xcr0 >> 32;
            return true;
        }
    }

    private static Op* WriteExtended(CpuState* c, Op* o)
    {
        if ((c->Cr4 & Cr4.OsXsave) == 0)
            return SystemInstructions.Stopped(c->RaiseUd(o));
        if (c->Cpl != 0 || (uint)c->R[1] != 0)
            return SystemInstructions.Stopped(c->RaiseGp(o));
        return c->Owner.TryWriteXcr0(o, (uint)c->R[0] | (c->R[2] << 32)) ? Chain.Next(c, o) : null;
    }
}
