using System.Runtime.CompilerServices;
using Hyperscope.X64.FloatingPoint;

namespace Hyperscope.X64.Execution;

/// <summary>The x87 register stack, status word and exceptions.</summary>
/// <remarks>Source: SDM vol. 1, "Programming with the x87 FPU".</remarks>
internal static unsafe class X87Unit
{
    public const ushort StackFault = 1 << 6, ErrorSummary = 1 << 7, C0 = 1 << 8, C1 = 1 << 9, C2 = 1 << 10, C3 = 1 << 14, Busy = 1 << 15;
    public const ushort Conditions = C0 | C1 | C2 | C3;
    private const uint OfOperands = FloatFlags.Invalid | FloatFlags.Denormal | FloatFlags.ZeroDivide;

    /// <summary>True if x87 instructions fault, or a pending exception comes first. Goes to <see cref="RaiseBlocked"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsBlocked(CpuState* c) => ((c->Cr0 & (Cr0.Em | Cr0.Ts)) | (c->X87Status & (ulong)ErrorSummary)) != 0;

    /// <summary>#NM, or the pending exception. True: go on after all, the exception is ignored.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool RaiseBlocked(CpuState* c, Op* o) =>
        (c->Cr0 & (Cr0.Em | Cr0.Ts)) != 0 ? c->Raise(o, X64.Vector.DeviceNotAvailable) : RaisePending(c, o);

    /// <summary>#MF, or with CR0.NE clear the error pin of a PC. True: go on, the exception is ignored.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool RaisePending(CpuState* c, Op* o)
    {
        SoftwareVcpu owner = c->Owner;
        if ((c->Cr0 & Cr0.Ne) != 0 || owner.X87ErrorLine is null)
            return c->Raise(o, X64.Vector.X87Error);
        return owner.IgnoresX87Error || c->StopAt(o, StopReason.X87Error);
    }

    /// <summary>Sets or clears ES and B of a new status word. A new error is no longer ignored.</summary>
    public static void SetSummary(CpuState* c, uint status, bool isPending)
    {
        if (isPending && (c->X87Status & ErrorSummary) == 0)
            c->Owner.ForgetIgnoredX87Error();
        c->X87Status = (ushort)(isPending ? status | ErrorSummary | Busy : status & ~(uint)(ErrorSummary | Busy));
    }

    public static int Top(CpuState* c) => c->X87Status >> 11 & 7;

    public static int Physical(CpuState* c, int index) => (Top(c) + index) & 7;

    public static bool IsEmpty(CpuState* c, int index) => (c->X87Tags >> Physical(c, index) & 1) == 0;

    public static Unpacked Get(CpuState* c, int index)
    {
        int physical = Physical(c, index);
        return ExtendedFormat.Unpack(c->X87[physical * 2], (ushort)c->X87[(physical * 2) + 1]);
    }

    public static void Set(CpuState* c, int index, in Unpacked value)
    {
        (ulong significand, ushort signExponent) = ExtendedFormat.Pack(value);
        SetRaw(c, index, significand, signExponent);
    }

    public static void SetRaw(CpuState* c, int index, ulong significand, ushort signExponent)
    {
        int physical = Physical(c, index);
        c->X87[physical * 2] = significand;
        c->X87[(physical * 2) + 1] = signExponent;
        c->X87Tags |= (byte)(1 << physical);
    }

    public static void SetTop(CpuState* c, int top) => c->X87Status = (ushort)((c->X87Status & ~(7 << 11)) | ((top & 7) << 11));

    public static void Pop(CpuState* c)
    {
        c->X87Tags &= (byte)~(1 << Top(c));
        SetTop(c, Top(c) + 1);
    }

    /// <summary>Makes room on the stack; the new top is not written yet.</summary>
    public static void Descend(CpuState* c) => SetTop(c, Top(c) - 1);

    /// <summary>The modes of the control word.</summary>
    public static FloatContext Context(CpuState* c) => new()
    {
        Masks = c->X87Control & FloatFlags.All,
        Rounding = (Rounding)(c->X87Control >> 10 & 3),
        WrapsExponent = true,
    };

    /// <summary>Bits of the significand that precision control asks for.</summary>
    public static int Precision(CpuState* c) => (c->X87Control >> 8 & 3) switch { 0 => 24, 2 => 53, _ => 64 };

    /// <summary>True if the flags raised by operands are all masked: the instruction goes on to its result.</summary>
    public static bool Proceeds(in FloatContext f) => (f.Flags & OfOperands & ~f.Masks) == 0;

    /// <summary>True if nothing unmasked was raised but the inexact flag: a store to memory takes place.</summary>
    public static bool Stores(in FloatContext f) => (f.Flags & ~FloatFlags.Inexact & ~f.Masks) == 0;

    /// <summary>Adds the flags to the status word, sets C1 and the error summary.</summary>
    public static void Complete(CpuState* c, in FloatContext f) => Complete(c, f.Flags, f.RoundedUp);

    public static void Complete(CpuState* c, uint flags, bool c1)
    {
        // What an unmasked operand exception stopped raises nothing of its result.
        if ((flags & OfOperands & ~(uint)c->X87Control) != 0)
            flags &= OfOperands;

        uint status = (c->X87Status & ~(uint)C1) | flags | (c1 ? C1 : 0u);
        if ((flags & ~c->X87Control & FloatFlags.All) != 0)
            SetSummary(c, status, isPending: true);
        else
            c->X87Status = (ushort)status;
    }

    /// <summary>A register was empty that should not have been, or full. True: masked, go on with the default NaN.</summary>
    public static bool StackError(CpuState* c, bool isOverflow)
    {
        c->X87Status |= StackFault;
        Complete(c, FloatFlags.Invalid, isOverflow);
        return (c->X87Control & FloatFlags.Invalid) != 0;
    }

    public static void SetConditions(CpuState* c, ushort conditions) =>
        c->X87Status = (ushort)((c->X87Status & ~Conditions) | conditions);

    /// <summary>The x87 rule for NaN operands: the one with the larger significand, a quiet one before a signaling one.</summary>
    /// <returns>True if an operand is a NaN or unsupported; <paramref name="result"/> is then the result.</returns>
    public static bool TryPropagate(ref FloatContext f, in Unpacked a, in Unpacked b, out Unpacked result)
    {
        if (a.Class == FloatClass.Invalid || b.Class == FloatClass.Invalid)
        {
            f.Flags |= FloatFlags.Invalid;
            result = Unpacked.Invalid;
            return true;
        }

        result = a;
        if (!a.IsNaN && !b.IsNaN)
            return false;
        if (a.Class == FloatClass.SignalingNaN || b.Class == FloatClass.SignalingNaN)
            f.Flags |= FloatFlags.Invalid;
        if (!a.IsNaN || (b.IsNaN && PrefersSecond(a, b)))
            result = b;
        return true;
    }

    private static bool PrefersSecond(in Unpacked a, in Unpacked b)
    {
        if (a.Class != b.Class)
            return b.Class == FloatClass.QuietNaN;
        return a.Significand != b.Significand ? b.Significand > a.Significand : a.Sign && !b.Sign;
    }
}
