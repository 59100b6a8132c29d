namespace Hyperscope.X64;

/// <summary>Debug registers (SDM vol. 3, "Debug Registers").</summary>
/// <remarks>While an instruction breakpoint is enabled every instruction runs by itself; while a data breakpoint is, accesses to its page
/// are not cached.</remarks>
public sealed unsafe partial class SoftwareVcpu
{
    private bool _hasCodeBreakpoints, _hasDataBreakpoints;

    // Data breakpoints that the current instruction met, as DR6 bits.
    private ulong _debugHits;

    /// <summary>MOV from a debug register; 4 and 5 are already mapped.</summary>
    internal ulong ReadDebug(int register) => _c->Dr[register];

    /// <summary>MOV to a debug register; 4 and 5 are already mapped, reserved bits already checked.</summary>
    internal void WriteDebug(int register, ulong value)
    {
        _c->Dr[register] = register switch
        {
            6 => (value & 0xE00F) | Dr6.Fixed,
            7 => (value & 0xFFFF_2BFF) | Dr7.Fixed,
            _ => value,
        };
        UpdateBreakpoints();
    }

    private void UpdateBreakpoints()
    {
        bool hadCode = _hasCodeBreakpoints, hadData = _hasDataBreakpoints;
        _hasCodeBreakpoints = _hasDataBreakpoints = false;
        for (int number = 0; number < 4; number++)
        {
            if (!IsEnabled(number))
                continue;
            if (Kind(number) == 0)
                _hasCodeBreakpoints = true;
            else
                _hasDataBreakpoints = true;
        }

        if (hadData || _hasDataBreakpoints || hadCode != _hasCodeBreakpoints)
            FlushTranslations();
    }

    private bool IsEnabled(int number) => ((_c->Dr[7] >> (number * 2)) & 3) != 0;

    // 0: execution, 1: write, 2: port, 3: read or write.
    private int Kind(int number) => (int)(_c->Dr[7] >> (16 + (number * 4))) & 3;

    private int Length(int number) => ((int)(_c->Dr[7] >> (18 + (number * 4))) & 3) switch { 0 => 1, 1 => 2, 2 => 8, _ => 4 };

    private ulong CodeBreakpointHits()
    {
        ulong linear = _c->Is64Bit ? _c->Rip : (_c->Rip + _c->Cs.Base) & 0xFFFF_FFFF;
        ulong hits = 0;
        for (int number = 0; number < 4; number++)
        {
            if (IsEnabled(number) && Kind(number) == 0 && _c->Dr[number] == linear)
                hits |= 1UL << number;
        }

        return hits;
    }

    private bool IsWatchedPage(ulong linear)
    {
        for (int number = 0; number < 4; number++)
        {
            if (IsEnabled(number) && (Kind(number) & 1) != 0 && _c->Dr[number] >> 12 == linear >> 12)
                return true;
        }

        return false;
    }

    private bool HitsDataBreakpoint(ulong linear, int length, bool isWrite) => DataBreakpointHits(linear, length, isWrite) != 0;

    private void NoteDataBreakpoints(ulong linear, int length, bool isWrite) => _debugHits |= DataBreakpointHits(linear, length, isWrite);

    private ulong DataBreakpointHits(ulong linear, int length, bool isWrite)
    {
        ulong hits = 0;
        for (int number = 0; number < 4; number++)
        {
            int kind = Kind(number);
            if (IsEnabled(number) && (kind == 3 || (kind == 1 && isWrite)) && Covers(number, linear, length))
                hits |= 1UL << number;
        }

        return hits;
    }

    private ulong PortBreakpointHits(ushort port, int length)
    {
        ulong hits = 0;
        for (int number = 0; number < 4 && (_c->Cr4 & Cr4.De) != 0; number++)
        {
            if (IsEnabled(number) && Kind(number) == 2 && Covers(number, port, length))
                hits |= 1UL << number;
        }

        return hits;
    }

    private bool Covers(int number, ulong address, int length)
    {
        ulong size = (ulong)Length(number), first = _c->Dr[number] & ~(size - 1);
        return address < first + size && first < address + (ulong)length;
    }
}

/// <summary>DR6 bits.</summary>
internal static class Dr6
{
    public const ulong Fixed = 0xFFFF_0FF0, GeneralDetect = 1 << 13, SingleStep = 1 << 14, TaskSwitch = 1 << 15;
}

/// <summary>DR7 bits.</summary>
internal static class Dr7
{
    public const ulong Fixed = 1 << 10, GeneralDetect = 1 << 13;
}
