using Hyperscope.X64.FloatingPoint;

namespace Hyperscope.X64.Execution;

/// <summary>The legacy region of an FXSAVE or XSAVE image, and which state components are in their initial configuration.</summary>
/// <remarks>Source: SDM vol. 1, "FXSAVE Area" and "XSAVE Area". A new component gets a bit, an offset and its two copies here.</remarks>
internal static unsafe class XsaveArea
{
    public const ulong X87 = 1, Sse = 2, Supported = X87 | Sse;
    public const int LegacySize = 512, HeaderOffset = 512, HeaderSize = 64, MxcsrOffset = 24, RegistersOffset = 32, XmmOffset = 160;

    /// <summary>Bytes of the legacy region that the processor writes; the rest belongs to software.</summary>
    public const int LegacyUsed = 416;

    public const int X87ControlAtReset = 0x40, X87ControlAtInit = 0x37F;

    /// <summary>Components that are not in their initial configuration.</summary>
    public static ulong InUse(CpuState* c)
    {
        ulong any = 0;
        for (int index = 0; index < 16; index++)
            any |= c->Vector[index * 4] | c->Vector[(index * 4) + 1];
        bool x87 = c->X87Control != X87ControlAtInit || c->X87Status != 0 || c->X87Tags != 0 || c->X87Opcode != 0
            || c->X87InstructionPointer != 0 || c->X87DataPointer != 0 || c->X87CodeSelector != 0 || c->X87DataSelector != 0;
        for (int index = 0; index < 16 && !x87; index++)
            x87 = c->X87[index] != 0;
        return (x87 ? X87 : 0) | (any != 0 ? Sse : 0);
    }

    /// <summary>Writes the first 24 bytes (control) and the 128 bytes of registers at 32.</summary>
    /// <param name="c">The state.</param>
    /// <param name="image">At least 160 bytes.</param>
    /// <param name="wide">64-bit instruction and data pointers instead of selector and offset.</param>
    public static void StoreX87(CpuState* c, byte* image, bool wide)
    {
        *(ushort*)image = c->X87Control;
        *(ushort*)(image + 2) = c->X87Status;
        *(ushort*)(image + 4) = c->X87Tags;
        *(ushort*)(image + 6) = (ushort)(c->X87Opcode & 0x7FF);
        if (wide)
        {
            *(ulong*)(image + 8) = c->X87InstructionPointer;
            *(ulong*)(image + 16) = c->X87DataPointer;
        }
        else
        {
            *(ulong*)(image + 8) = (uint)c->X87InstructionPointer | ((ulong)c->X87CodeSelector << 32);
            *(ulong*)(image + 16) = (uint)c->X87DataPointer | ((ulong)c->X87DataSelector << 32);
        }

        int top = c->X87Status >> 11 & 7;
        for (int index = 0; index < 8; index++)
        {
            ulong* target = (ulong*)(image + RegistersOffset + (index * 16));
            int physical = (top + index) & 7;
            target[0] = c->X87[physical * 2];
            target[1] = c->X87[(physical * 2) + 1] & 0xFFFF;
        }
    }

    /// <summary>Loads what <see cref="StoreX87"/> writes.</summary>
    public static void LoadX87(CpuState* c, byte* image, bool wide)
    {
        c->X87Control = (ushort)((*(ushort*)image & 0x1F7F) | 0x40);
        c->X87Tags = image[4];
        c->X87Opcode = (ushort)(*(ushort*)(image + 6) & 0x7FF);
        c->X87InstructionPointer = wide ? *(ulong*)(image + 8) : *(uint*)(image + 8);
        c->X87DataPointer = wide ? *(ulong*)(image + 16) : *(uint*)(image + 16);
        c->X87CodeSelector = wide ? (ushort)0 : *(ushort*)(image + 12);
        c->X87DataSelector = wide ? (ushort)0 : *(ushort*)(image + 20);
        SetStatus(c, *(ushort*)(image + 2));
        int top = c->X87Status >> 11 & 7;
        for (int index = 0; index < 8; index++)
        {
            ulong* source = (ulong*)(image + RegistersOffset + (index * 16));
            int physical = (top + index) & 7;
            c->X87[physical * 2] = source[0];
            c->X87[(physical * 2) + 1] = source[1] & 0xFFFF;
        }
    }

    /// <summary>The configuration after FINIT, registers cleared.</summary>
    public static void InitializeX87(CpuState* c)
    {
        for (int index = 0; index < 16; index++)
            c->X87[index] = 0;
        ResetX87(c);
    }

    /// <summary>What FINIT does: everything but the registers.</summary>
    public static void ResetX87(CpuState* c)
    {
        c->X87Control = X87ControlAtInit;
        c->X87Status = c->X87Opcode = c->X87CodeSelector = c->X87DataSelector = 0;
        c->X87Tags = 0;
        c->X87InstructionPointer = c->X87DataPointer = 0;
    }

    /// <summary>Loads the status word; ES and B follow from the flags and masks.</summary>
    public static void SetStatus(CpuState* c, ushort status) => X87Unit.SetSummary(c, status, isPending: (status & ~c->X87Control & FloatFlags.All) != 0);

    /// <summary>Writes the XMM registers at 160: all sixteen, or the eight that code outside 64-bit mode can reach.</summary>
    public static void StoreXmm(CpuState* c, byte* image, int count)
    {
        for (int index = 0; index < count; index++)
        {
            ulong* target = (ulong*)(image + XmmOffset + (index * 16));
            target[0] = c->Vector[index * 4];
            target[1] = c->Vector[(index * 4) + 1];
        }
    }

    /// <summary>Loads what <see cref="StoreXmm"/> writes; a null image clears.</summary>
    public static void LoadXmm(CpuState* c, byte* image, int count)
    {
        for (int index = 0; index < count; index++)
        {
            ulong* source = (ulong*)(image + XmmOffset + (index * 16));
            c->Vector[index * 4] = image == null ? 0 : source[0];
            c->Vector[(index * 4) + 1] = image == null ? 0 : source[1];
        }
    }
}
