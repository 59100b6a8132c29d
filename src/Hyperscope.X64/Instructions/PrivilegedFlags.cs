using System.Numerics;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>CLI, STI, PUSHF, POPF, CLAC, STAC: the flags that privilege guards.</summary>
internal static unsafe class PrivilegedFlags
{
    public static void Register(OpcodeMap map)
    {
        map.Add(0xFA, new OpcodeRow("cli", Encoding.None, Handlers.Plain<DisableInterrupts>));
        map.Add(0xFB, new OpcodeRow("sti", Encoding.None, static (in _) => &EnableInterrupts) { Flags = RowFlags.EndsBlock });
        map.Add(0x9C, new OpcodeRow("pushf", Encoding.Default64, Handlers.Sized<PushFlags>) { Reads = Rflags.Arithmetic });
        map.Add(0x9D, new OpcodeRow("popf", Encoding.Default64, static (in insn) => insn.OperandSize switch
        {
            8 => &PopFlags<ulong>,
            4 => &PopFlags<uint>,
            _ => &PopFlags<ushort>,
        })
        { Flags = RowFlags.EndsBlock, Writes = Rflags.Arithmetic });
        map.AddModRm(0, 0x0F01, 0xCA, new OpcodeRow("clac", Encoding.ModRm, Handlers.Plain<SetAccess<Cleared>>) { Feature = "SMAP" });
        map.AddModRm(0, 0x0F01, 0xCB, new OpcodeRow("stac", Encoding.ModRm, Handlers.Plain<SetAccess<Raised>>) { Feature = "SMAP" });
    }

    private static int Iopl(CpuState* c) => (int)(c->SystemFlags >> 12) & 3;

    // Virtual interrupts: in virtual-8086 mode under CR4.VME, in protected mode at level 3 under CR4.PVI.
    private static bool HasVirtualInterrupts(CpuState* c) =>
        c->IsVirtual8086 ? (c->Cr4 & Cr4.Vme) != 0 : c->Cpl == 3 && (c->Cr4 & Cr4.Pvi) != 0;

    private static bool OwnsInterruptFlag(CpuState* c) => !c->IsProtected || c->Cpl <= Iopl(c);

    private readonly struct DisableInterrupts : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (OwnsInterruptFlag(c))
                c->SystemFlags &= ~Rflags.If;
            else if (HasVirtualInterrupts(c))
                c->SystemFlags &= ~Rflags.Vif;
            else
                return c->RaiseGp(o);
            return true;
        }
    }

    private static Op* EnableInterrupts(CpuState* c, Op* o)
    {
        if (!OwnsInterruptFlag(c))
        {
            if (!HasVirtualInterrupts(c) || (c->SystemFlags & Rflags.Vip) != 0)
                return SystemInstructions.Stopped(c->RaiseGp(o));
            c->SystemFlags |= Rflags.Vif;
            return Chain.Next(c, o);
        }

        bool wasEnabled = (c->SystemFlags & Rflags.If) != 0;
        c->SystemFlags |= Rflags.If;
        if (wasEnabled)
            return Chain.Next(c, o);
        c->InterruptShadow = 1;
        if (c->InterruptWaiting != 0)
            c->Attention = long.MinValue;
        Op* next = Chain.Next(c, o);
        if (next != null)
            c->InterruptShadow = 0; // interrupts are taken between blocks, so the next instruction runs first anyway
        return next;
    }

    /// <summary>Lets the run loop have a look if what was loaded into RFLAGS asks for it.</summary>
    public static void CheckLoadedFlags(CpuState* c)
    {
        if ((c->SystemFlags & (Rflags.Tf | Rflags.Rf)) != 0 || ((c->SystemFlags & Rflags.If) != 0 && c->InterruptWaiting != 0))
            c->Attention = long.MinValue;
    }

    private readonly struct PushFlags : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            ulong image = Flags.GetAll(c) & ~(Rflags.Rf | Rflags.Vm);
            if (c->IsVirtual8086 && Iopl(c) != 3)
            {
                if (sizeof(T) != 2 || (c->Cr4 & Cr4.Vme) == 0)
                    return c->RaiseGp(o);
                image |= Rflags.Iopl;
                image = (image & Rflags.Vif) != 0 ? image | Rflags.If : image & ~Rflags.If;
            }

            return Stack.Push(c, o, T.CreateTruncating(image));
        }
    }

    private static Op* PopFlags<T>(CpuState* c, Op* o)
        where T : unmanaged, IBinaryInteger<T>
    {
        bool isVirtual = c->IsVirtual8086 && Iopl(c) != 3;
        if (isVirtual && (sizeof(T) != 2 || (c->Cr4 & Cr4.Vme) == 0))
            return SystemInstructions.Stopped(c->RaiseGp(o));
        T* top = Stack.Top<T>(c, o);
        if (top == null)
            return null;
        ulong image = ulong.CreateTruncating(*top);
        ulong before = Flags.GetAll(c);
        ulong kept = Rflags.Vm | Rflags.Vif | Rflags.Vip;
        if (isVirtual)
        {
            // IF of the image stands for VIF.
            if ((image & Rflags.Tf) != 0 || ((image & Rflags.If) != 0 && (before & Rflags.Vip) != 0))
                return SystemInstructions.Stopped(c->RaiseGp(o));
            before = (image & Rflags.If) != 0 ? before | Rflags.Vif : before & ~Rflags.Vif;
            kept |= Rflags.Iopl | Rflags.If;
        }
        else if (c->IsProtected)
        {
            if (c->Cpl != 0)
                kept |= Rflags.Iopl;
            if (c->Cpl > Iopl(c))
                kept |= Rflags.If;
        }

        if (sizeof(T) == 2)
            kept |= ~0xFFFFUL;
        Stack.Drop(c, o, sizeof(T));
        Load(c, ((image & ~kept) | (before & kept)) & ~Rflags.Rf);
        CheckLoadedFlags(c);
        return Chain.Next(c, o);
    }

    private static void Load(CpuState* c, ulong flags)
    {
        bool changesContext = ((flags ^ c->SystemFlags) & Rflags.Ac) != 0;
        Flags.Load(c, flags);
        c->SystemFlags = (flags & Rflags.All & ~Rflags.Arithmetic) | Rflags.Fixed;
        if (changesContext)
            c->Owner.SelectContext();
    }

    private interface IValue
    {
        static abstract ulong Value { get; }
    }

    private readonly struct Cleared : IValue
    {
        public static ulong Value => 0;
    }

    private readonly struct Raised : IValue
    {
        public static ulong Value => Rflags.Ac;
    }

    private readonly struct SetAccess<TValue> : IPlain
        where TValue : struct, IValue
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (c->Cpl != 0 || c->IsVirtual8086)
                return c->RaiseUd(o);
            c->SystemFlags = (c->SystemFlags & ~Rflags.Ac) | TValue.Value;
            c->Owner.SelectContext();
            return true;
        }
    }
}
