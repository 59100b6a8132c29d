using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>LDMXCSR, STMXCSR, FXSAVE, FXRSTOR, XSAVE, XSAVEOPT, XRSTOR.</summary>
/// <remarks>Source: SDM vol. 1, "Managing State Using the XSAVE Feature Set"; standard format only.</remarks>
internal static unsafe class VectorState
{
    public static void Register(OpcodeMap map)
    {
        Add<SaveFx>(map, 0, "fxsave", "fxsr");
        Add<RestoreFx>(map, 1, "fxrstor", "fxsr");
        Add<LoadMxcsr>(map, 2, "ldmxcsr", "sse");
        Add<StoreMxcsr>(map, 3, "stmxcsr", "sse");
        Add<Xsave<Whole>>(map, 4, "xsave", "xsave");
        Add<Xrstor>(map, 5, "xrstor", "xsave");
        Add<Xsave<Modified>>(map, 6, "xsaveopt", "xsaveopt");
    }

    private static void Add<TInstruction>(OpcodeMap map, int reg, string name, string feature)
        where TInstruction : struct, IAddressed =>
        map.AddGroup(0, 0x0FAE, reg, new OpcodeRow(name, Encoding.PlainReg | Encoding.Dword, Handlers.Addressed<TInstruction>)
        { Feature = feature, Flags = RowFlags.MemoryOnly });

    private static int XmmCount(Op* o) => (o->Bits & (OpBits.Code16 | OpBits.Code32)) == 0 ? 16 : 8;

    private readonly struct LoadMxcsr : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            uint* source = Mem.Read<uint, TAddressing>(c, o);
            if (source == null)
                return false;
            uint value = *source;
            if ((value & ~VectorUnit.MxcsrMask) != 0)
                return c->RaiseGp(o);
            c->Mxcsr = value;
            return true;
        }
    }

    private readonly struct StoreMxcsr : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing =>
            VectorUnit.IsBlocked(c) ? VectorUnit.RaiseBlocked(c, o) : Mem.Write<uint, TAddressing>(c, o, c->Mxcsr);
    }

    private readonly struct SaveFx : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            if ((c->Cr0 & (Cr0.Em | Cr0.Ts)) != 0)
                return c->Raise(o, X64.Vector.DeviceNotAvailable);
            int size = XsaveArea.XmmOffset + (XmmCount(o) * 16);
            ulong linear = TAddressing.Linear(c, o, XsaveArea.LegacySize, isWrite: true);
            if ((linear & 15) != 0)
                return VectorUnit.Misaligned(c, o) != null;
            byte* image = c->Staging;
            XsaveArea.StoreX87(c, image, o->OperandSize == 8);
            *(uint*)(image + XsaveArea.MxcsrOffset) = c->Mxcsr;
            *(uint*)(image + XsaveArea.MxcsrOffset + 4) = VectorUnit.MxcsrMask;
            XsaveArea.StoreXmm(c, image, XmmCount(o));
            return Mem.WriteStaged(c, o, linear, size);
        }
    }

    private readonly struct RestoreFx : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            if ((c->Cr0 & (Cr0.Em | Cr0.Ts)) != 0)
                return c->Raise(o, X64.Vector.DeviceNotAvailable);
            ulong linear = TAddressing.Linear(c, o, XsaveArea.LegacySize, isWrite: false);
            if ((linear & 15) != 0)
                return VectorUnit.Misaligned(c, o) != null;
            byte* image = Snapshot(c, o, linear, XsaveArea.LegacySize);
            if (image == null)
                return false;
            uint mxcsr = *(uint*)(image + XsaveArea.MxcsrOffset);
            if ((mxcsr & ~VectorUnit.MxcsrMask) != 0)
                return c->RaiseGp(o);
            XsaveArea.LoadX87(c, image, o->OperandSize == 8);
            c->Mxcsr = mxcsr;
            XsaveArea.LoadXmm(c, image, XmmCount(o));
            return true;
        }
    }

    // Copies to Staging first, so that another vCPU cannot change what was checked.
    private static byte* Snapshot(CpuState* c, Op* o, ulong linear, int size)
    {
        byte* source = Mem.ReadSlow(c, o, linear, size);
        if (source == null)
            return null;
        if (source != c->Staging)
            Buffer.MemoryCopy(source, c->Staging, size, size);
        return c->Staging;
    }

    // Faults that come before any access: false if one was raised.
    private static bool CanXsave(CpuState* c, Op* o, ulong linear)
    {
        if ((c->Cr4 & Cr4.OsXsave) == 0)
            return c->RaiseUd(o);
        if ((c->Cr0 & Cr0.Ts) != 0)
            return c->Raise(o, X64.Vector.DeviceNotAvailable);
        return (linear & 63) == 0 || VectorUnit.Misaligned(c, o) != null;
    }

    // RFBM: what EDX:EAX asks for of what XCR0 enables.
    private static ulong Requested(CpuState* c) => ((c->R[2] << 32) | (uint)c->R[0]) & c->Xcr0;

    private interface ISelection
    {
        static abstract bool SkipsInitial { get; }
    }

    private readonly struct Whole : ISelection { public static bool SkipsInitial => false; }

    private readonly struct Modified : ISelection { public static bool SkipsInitial => true; }

    private readonly struct Xsave<TSelection> : IAddressed
        where TSelection : struct, ISelection
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            ulong linear = TAddressing.Linear(c, o, XsaveArea.LegacySize + XsaveArea.HeaderSize, isWrite: true);
            return CanXsave(c, o, linear) && Save(c, o, linear);
        }

        private static bool Save(CpuState* c, Op* o, ulong linear)
        {
            SoftwareVcpu owner = c->Owner;
            ulong requested = Requested(c), inUse = XsaveArea.InUse(c);
            ulong written = TSelection.SkipsInitial ? requested & inUse : requested;
            ulong* header = Mem.ReadLinear<ulong>(c, o, linear + XsaveArea.HeaderOffset);
            if (header == null)
                return false;
            ulong components = (*header & ~requested) | (requested & inUse);
            if (!owner.ProbeWrite(o, linear, XsaveArea.LegacySize + 8))
                return false;

            // Nothing below can fail any more. Parts that are adjacent go out together.
            byte* image = c->Staging;
            bool x87 = (written & XsaveArea.X87) != 0, sse = (written & XsaveArea.Sse) != 0;
            XsaveArea.StoreX87(c, image, o->OperandSize == 8);
            *(uint*)(image + XsaveArea.MxcsrOffset) = c->Mxcsr;
            *(uint*)(image + XsaveArea.MxcsrOffset + 4) = VectorUnit.MxcsrMask;
            XsaveArea.StoreXmm(c, image, XmmCount(o));
            int end = XsaveArea.XmmOffset + (XmmCount(o) * 16);
            bool ok = true;
            if (x87 && sse)
            {
                ok = Mem.WriteStaged(c, o, linear, end);
            }
            else if (x87)
            {
                ok = Part(c, o, linear, 0, XsaveArea.MxcsrOffset) && Part(c, o, linear, XsaveArea.RegistersOffset, XsaveArea.XmmOffset);
            }
            else if ((requested & XsaveArea.Sse) != 0)
            {
                ok = Part(c, o, linear, XsaveArea.MxcsrOffset, XsaveArea.RegistersOffset) && (!sse || Part(c, o, linear, XsaveArea.XmmOffset, end));
            }

            if (x87 && !sse && (requested & XsaveArea.Sse) != 0)
                ok = ok && Part(c, o, linear, XsaveArea.MxcsrOffset, XsaveArea.RegistersOffset);
            *(ulong*)image = components;
            return ok && Mem.WriteStaged(c, o, linear + XsaveArea.HeaderOffset, 8);
        }

        // Stores bytes first..end of the image in Staging, which keeps its contents.
        private static bool Part(CpuState* c, Op* o, ulong linear, int first, int end)
        {
            byte* image = c->Staging;
            byte* kept = stackalloc byte[XsaveArea.LegacyUsed];
            Buffer.MemoryCopy(image, kept, XsaveArea.LegacyUsed, XsaveArea.LegacyUsed);
            Buffer.MemoryCopy(kept + first, image, end - first, end - first);
            bool ok = Mem.WriteStaged(c, o, linear + (ulong)first, end - first);
            Buffer.MemoryCopy(kept, image, XsaveArea.LegacyUsed, XsaveArea.LegacyUsed);
            return ok;
        }
    }

    private readonly struct Xrstor : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            ulong linear = TAddressing.Linear(c, o, XsaveArea.LegacySize + XsaveArea.HeaderSize, isWrite: false);
            return CanXsave(c, o, linear) && Restore(c, o, linear);
        }

        private static bool Restore(CpuState* c, Op* o, ulong linear)
        {
            byte* image = Snapshot(c, o, linear, XsaveArea.LegacySize + XsaveArea.HeaderSize);
            if (image == null)
                return false;
            ulong requested = Requested(c);
            ulong* header = (ulong*)(image + XsaveArea.HeaderOffset);
            if ((header[0] & ~c->Xcr0) != 0 || (header[1] | header[2]) != 0)
                return c->RaiseGp(o);
            uint mxcsr = *(uint*)(image + XsaveArea.MxcsrOffset);
            if ((requested & XsaveArea.Sse) != 0 && (mxcsr & ~VectorUnit.MxcsrMask) != 0)
                return c->RaiseGp(o);
            if ((requested & XsaveArea.X87) != 0)
            {
                if ((header[0] & XsaveArea.X87) != 0)
                    XsaveArea.LoadX87(c, image, o->OperandSize == 8);
                else
                    XsaveArea.InitializeX87(c);
            }

            if ((requested & XsaveArea.Sse) != 0)
            {
                XsaveArea.LoadXmm(c, (header[0] & XsaveArea.Sse) != 0 ? image : null, XmmCount(o));
                c->Mxcsr = mxcsr;
            }

            return true;
        }
    }
}
