using System.Runtime.CompilerServices;
using Hyperscope.Vm;

namespace Hyperscope.X64;

/// <summary>The walk of the guest's page tables (SDM vol. 3, "Paging").</summary>
public sealed unsafe partial class SoftwareVcpu
{
    private const ulong Present = 1 << 0, Writable = 1 << 1, UserPage = 1 << 2, Accessed = 1 << 5, Dirty = 1 << 6, LargePage = 1 << 7, GlobalPage = 1 << 8,
        NoExecute = 1UL << 63;

    /// <summary>MAXPHYADDR, as CPUID 0x80000008 says.</summary>
    internal const int PhysicalBits = 40;

    private const ulong AddressBits = ((1UL << PhysicalBits) - 1) & ~0xFFFUL;
    private const ulong ReservedBits = ((1UL << 52) - 1) & ~((1UL << PhysicalBits) - 1);

    // PAE paging has no ignored bits between the address and NX.
    private const ulong PaeReservedBits = ~NoExecute & ~((1UL << PhysicalBits) - 1);

    private const int CodePageBits = 12, LargeShift = 22, ContextMask = 3;

    // Links between blocks are good for one epoch of one privilege context. They are as much a cached translation as an entry of the TLB, so
    // which pages they may lead to is remembered: coarsely for INVLPG, and for each context whether any of them is not global.
    private readonly ulong[] _epochs = new ulong[Tlb.Contexts];
    private readonly bool[] _hasLocalCode = new bool[Tlb.Contexts];
    private readonly ulong[] _codePages = new ulong[1 << (CodePageBits - 6)];
    private ulong _epoch = 1;
    private long _walks;

    // INVLPG of an address in a large page ends the translations of all of it: which those are is remembered coarsely, 1 GB pages as one range.
    private readonly ulong[] _largePages = new ulong[1 << (CodePageBits - 6)];
    private ulong _hugeLow = ulong.MaxValue, _hugeHigh;

    /// <summary>What a walk found.</summary>
    internal struct Translation
    {
        public ulong Gpa;

        /// <summary>May be cached for writing: allowed, and the dirty bit is set.</summary>
        public bool IsWritable;
        public bool IsExecutable;

        /// <summary>Survives a change of address space (G, with CR4.PGE).</summary>
        public bool IsGlobal;
    }

    /// <summary>Whose rights an access is made with.</summary>
    internal enum Privilege
    {
        /// <summary>The current privilege level's.</summary>
        Current,

        /// <summary>Supervisor, whatever the level, and EFLAGS.AC does not suspend SMAP: descriptor tables, task state.</summary>
        System,

        /// <summary>Supervisor, whatever the level: the stack of an inner level.</summary>
        Supervisor,
    }

    /// <inheritdoc/>
    public bool TryTranslate(Gva gva, out Gpa gpa)
    {
        // Host addresses of page tables are good in guest mode only.
        bool wasOutside = !IsInGuestMode;
        if (wasOutside)
            EnterGuest();
        Translation translation = default;
        bool ok = IsCanonical(gva.Value) && Walk(gva.Value, PageAccess.Read, isUser: false, ignoreRights: true, ref translation, out _);
        if (wasOutside)
            LeaveGuest();
        gpa = ok ? new Gpa(translation.Gpa) : new Gpa(ulong.MaxValue);
        return ok;
    }

    internal bool IsCanonical(ulong linear) => !_c->IsLongMode || (ulong)(((long)linear << 16) >> 16) == linear;

    /// <summary>Forgets all cached translations and the links between blocks.</summary>
    internal void FlushTranslations()
    {
        foreach (ViewCache cache in _tlbs)
            cache.Tlb.Flush();
        Flushes++;
        _hugeLow = ulong.MaxValue;
        _hugeHigh = 0;
        Array.Clear(_largePages);
        Array.Clear(_codePages);
        Array.Clear(_hasLocalCode);
        AdvanceEpoch();
    }

    /// <summary>Forgets what a change of address space ends: all but global translations, and the links that lead to other code than theirs.</summary>
    internal void FlushLocalTranslations()
    {
        foreach (ViewCache cache in _tlbs)
            cache.Tlb.FlushLocal();
        _epoch++;
        for (int context = 0; context < Tlb.Contexts; context++)
        {
            if (_hasLocalCode[context])
                _epochs[context] = _epoch;
            _hasLocalCode[context] = false;
        }

        SelectContext();
    }

    /// <summary>INVLPG.</summary>
    internal void FlushPage(ulong linear)
    {
        if ((linear >= _hugeLow && linear <= _hugeHigh) || IsNoted(_largePages, linear >> LargeShift))
        {
            FlushTranslations();
            return;
        }

        foreach (ViewCache cache in _tlbs)
            cache.Tlb.FlushPage(linear);
        if (IsNoted(_codePages, linear >> 12))
            AdvanceEpoch();
    }

    /// <summary>Remembers that links may lead to a page from now on.</summary>
    private void NoteCodePage(ulong linear, bool isGlobal)
    {
        Note(_codePages, linear >> 12);
        if (!isGlobal)
            _hasLocalCode[(int)_c->Generation & ContextMask] = true;
    }

    private static void Note(ulong[] pages, ulong page) => pages[(int)(page >> 6) & (pages.Length - 1)] |= 1UL << (int)page;

    private static bool IsNoted(ulong[] pages, ulong page) => (pages[(int)(page >> 6) & (pages.Length - 1)] & 1UL << (int)page) != 0;

    /// <summary>Makes every block link and jump-cache entry be looked up again, and selects the set of translations for the current context.</summary>
    internal void AdvanceEpoch()
    {
        _epochs.AsSpan().Fill(++_epoch);
        SelectContext();
    }

    /// <summary>Call after a change of CPL, EFLAGS.AC, CR4.SMAP or the code size.</summary>
    internal void SelectContext()
    {
        int context = _c->Cpl == 3 ? 2 : (_c->SystemFlags & Rflags.Ac) != 0 ? 1 : 0;
        _c->Tlb = _tlb.Select(context);
        _c->Generation = (_epochs[context] << 4) | (uint)context | (_c->Is64Bit ? 8u : _c->Cs.Default32 ? 4u : 0u);
    }

    private static uint FaultCode(PageAccess kind, bool isUser, bool reportFetch) =>
        (kind == PageAccess.Write ? PageFaultCode.Write : 0) | (isUser ? PageFaultCode.User : 0)
        | (kind == PageAccess.Execute && reportFetch ? PageFaultCode.Fetch : 0);

    /// <summary>Translates a linear address and sets accessed and dirty bits.</summary>
    /// <param name="linear">A canonical address.</param>
    /// <param name="kind">One of Read, Write, Execute.</param>
    /// <param name="isUser">The access has user rights.</param>
    /// <param name="ignoreRights">Only presence counts, and no bit is set.</param>
    /// <param name="translation">Filled on success.</param>
    /// <param name="errorCode">The #PF error code on failure.</param>
    private bool Walk(ulong linear, PageAccess kind, bool isUser, bool ignoreRights, ref Translation translation, out uint errorCode)
    {
        errorCode = 0;
        _walks++;
        if ((_c->Cr0 & Cr0.Pg) == 0)
        {
            translation = new Translation { Gpa = linear & 0xFFFF_FFFF, IsWritable = true, IsExecutable = true };
            return true;
        }

        bool hasNx = (_c->Efer & Efer.Nx) != 0 && (_c->Cr4 & Cr4.Pae) != 0;
        uint code = FaultCode(kind, isUser, hasNx || (_c->Cr4 & Cr4.Smep) != 0);
        while (true)
        {
            WalkOutcome outcome = (_c->Cr4 & Cr4.Pae) != 0
                ? WalkLong(linear, kind, isUser, ignoreRights, hasNx, ref translation, ref code)
                : WalkShort(linear, kind, isUser, ignoreRights, ref translation, ref code);
            if (outcome == WalkOutcome.Ok)
                return true;
            if (outcome == WalkOutcome.Fault)
            {
                errorCode = code;
                return false;
            }
        }
    }

    private enum WalkOutcome
    {
        Ok,
        Fault,

        /// <summary>An entry changed while it was being updated.</summary>
        Again,
    }

    // Four-level and PAE paging: 8-byte entries.
    private WalkOutcome WalkLong(ulong linear, PageAccess kind, bool isUser, bool ignoreRights, bool hasNx, ref Translation translation, ref uint code)
    {
        bool isLong = _c->IsLongMode;
        int level = isLong ? 4 : 3;
        ulong table = isLong ? _c->Cr3 & AddressBits : _c->Cr3 & 0xFFFF_FFE0;
        ulong allowed = Writable | UserPage;
        ulong forbidden = 0;
        ulong reserved = (isLong ? ReservedBits : PaeReservedBits) | (hasNx ? 0 : NoExecute);
        while (true)
        {
            int shift = 12 + (9 * (level - 1));
            bool isPdpte = !isLong && level == 3;
            ulong index = (linear >> shift) & (isPdpte ? 3UL : 0x1FF);
            ulong entryAddress = table + (index * 8);
            ulong* slot = TableEntry(entryAddress, out bool canUpdate);
            ulong entry = slot != null ? Volatile.Read(ref *slot) : ulong.MaxValue;
            if ((entry & Present) == 0)
                return WalkOutcome.Fault;
            bool isLarge = level is 2 or 3 && !isPdpte && (entry & LargePage) != 0;
            ulong levelReserved = isPdpte
                ? PaeReservedBits | NoExecute | 0x1E6
                : reserved | (level == 4 ? LargePage : 0) | (isLarge ? ((1UL << shift) - 1) & ~0x1FFFUL : 0);
            if ((entry & levelReserved) != 0)
            {
                code |= PageFaultCode.Present | PageFaultCode.Reserved;
                return WalkOutcome.Fault;
            }

            if (!isPdpte)
            {
                allowed &= entry;
                forbidden |= entry & NoExecute;
            }

            if (level > 1 && !isLarge)
            {
                if (!ignoreRights && !isPdpte && (entry & Accessed) == 0 && canUpdate && !TryUpdate(slot, entry, entry | Accessed))
                    return WalkOutcome.Again;
                table = entry & AddressBits;
                level--;
                continue;
            }

            ulong pageMask = (1UL << shift) - 1;
            ulong gpa = (entry & AddressBits & ~pageMask) | (linear & pageMask);
            return Finish(linear, kind, isUser, ignoreRights, allowed, forbidden, slot, canUpdate, entry, gpa, pageMask, ref translation, ref code);
        }
    }

    // 32-bit paging: 4-byte entries, two levels.
    private WalkOutcome WalkShort(ulong linear, PageAccess kind, bool isUser, bool ignoreRights, ref Translation translation, ref uint code)
    {
        ulong directory = (_c->Cr3 & 0xFFFF_F000) + (((linear >> 22) & 0x3FF) * 4);
        uint* slot = (uint*)TableEntry(directory, out bool canUpdate);
        ulong entry = slot != null ? Volatile.Read(ref *slot) : uint.MaxValue;
        if ((entry & Present) == 0)
            return WalkOutcome.Fault;
        ulong allowed = entry & (Writable | UserPage);
        if ((entry & LargePage) != 0 && (_c->Cr4 & Cr4.Pse) != 0)
        {
            if ((entry & 0x3F_E000 & ~((((1UL << (PhysicalBits - 32)) - 1) << 13) & 0x1F_E000)) != 0)
            {
                code |= PageFaultCode.Present | PageFaultCode.Reserved;
                return WalkOutcome.Fault;
            }

            ulong gpa = (entry & 0xFFC0_0000) | ((entry & 0x1F_E000) << 19) | (linear & 0x3F_FFFF);
            return Finish32(linear, kind, isUser, ignoreRights, allowed, slot, canUpdate, entry, gpa, 0x3F_FFFF, ref translation, ref code);
        }

        if (!ignoreRights && (entry & Accessed) == 0 && canUpdate && !TryUpdate(slot, (uint)entry, (uint)(entry | Accessed)))
            return WalkOutcome.Again;
        slot = (uint*)TableEntry((entry & 0xFFFF_F000) + (((linear >> 12) & 0x3FF) * 4), out canUpdate);
        entry = slot != null ? Volatile.Read(ref *slot) : uint.MaxValue;
        if ((entry & Present) == 0)
            return WalkOutcome.Fault;
        allowed &= entry;
        return Finish32(linear, kind, isUser, ignoreRights, allowed, slot, canUpdate, entry, (entry & 0xFFFF_F000) | (linear & 0xFFF), 0xFFF,
            ref translation, ref code);
    }

    private WalkOutcome Finish(ulong linear, PageAccess kind, bool isUser, bool ignoreRights, ulong allowed, ulong forbidden, ulong* slot,
        bool canUpdate, ulong entry, ulong gpa, ulong pageMask, ref Translation translation, ref uint code)
    {
        if (!ignoreRights)
        {
            if (!IsAllowed(kind, isUser, allowed, forbidden))
            {
                code |= PageFaultCode.Present;
                return WalkOutcome.Fault;
            }

            ulong updated = entry | Accessed | (kind == PageAccess.Write ? Dirty : 0);
            if (updated != entry && canUpdate)
            {
                if (!TryUpdate(slot, entry, updated))
                    return WalkOutcome.Again;
                entry = updated;
            }
        }

        Fill(linear, isUser, allowed, forbidden, entry, gpa, pageMask, ref translation);
        return WalkOutcome.Ok;
    }

    private WalkOutcome Finish32(ulong linear, PageAccess kind, bool isUser, bool ignoreRights, ulong allowed, uint* slot,
        bool canUpdate, ulong entry, ulong gpa, ulong pageMask, ref Translation translation, ref uint code)
    {
        if (!ignoreRights)
        {
            if (!IsAllowed(kind, isUser, allowed, 0))
            {
                code |= PageFaultCode.Present;
                return WalkOutcome.Fault;
            }

            ulong updated = entry | Accessed | (kind == PageAccess.Write ? Dirty : 0);
            if (updated != entry && canUpdate)
            {
                if (!TryUpdate(slot, (uint)entry, (uint)updated))
                    return WalkOutcome.Again;
                entry = updated;
            }
        }

        Fill(linear, isUser, allowed, 0, entry, gpa, pageMask, ref translation);
        return WalkOutcome.Ok;
    }

    private void Fill(ulong linear, bool isUser, ulong allowed, ulong forbidden, ulong entry, ulong gpa, ulong pageMask, ref Translation translation)
    {
        translation.Gpa = gpa;
        translation.IsWritable = (entry & Dirty) != 0 && IsAllowed(PageAccess.Write, isUser, allowed, forbidden);
        translation.IsExecutable = IsAllowed(PageAccess.Execute, isUser, allowed, forbidden);
        translation.IsGlobal = (entry & GlobalPage) != 0 && (_c->Cr4 & Cr4.Pge) != 0;
        if (pageMask >= 1UL << LargeShift)
        {
            _hugeLow = Math.Min(_hugeLow, linear & ~pageMask);
            _hugeHigh = Math.Max(_hugeHigh, linear | pageMask);
        }
        else if (pageMask != 0xFFF)
        {
            Note(_largePages, linear >> LargeShift);
        }
    }

    /// <summary>Access rights (SDM vol. 3, "Determination of Access Rights").</summary>
    private bool IsAllowed(PageAccess kind, bool isUser, ulong allowed, ulong forbidden)
    {
        bool isUserPage = (allowed & UserPage) != 0;
        if (isUser)
        {
            if (!isUserPage)
                return false;
            return kind switch
            {
                PageAccess.Write => (allowed & Writable) != 0,
                PageAccess.Execute => forbidden == 0,
                _ => true,
            };
        }

        if (kind == PageAccess.Execute)
            return forbidden == 0 && !(isUserPage && (_c->Cr4 & Cr4.Smep) != 0);
        if (isUserPage && (_c->Cr4 & Cr4.Smap) != 0 && ((_c->SystemFlags & Rflags.Ac) == 0 || _isImplicitAccess))
            return false;
        return kind == PageAccess.Read || (allowed & Writable) != 0 || (_c->Cr0 & Cr0.Wp) == 0;
    }

    /// <summary>Set while the processor itself reads tables: EFLAGS.AC then does not suspend SMAP.</summary>
    private bool _isImplicitAccess;

    private ulong* TableEntry(ulong gpa, out bool canUpdate)
    {
        if (!Group.Memory.TryGetHostPage(_view.Backing(gpa >> 12), out nint page, out bool isReadOnly))
        {
            canUpdate = false;
            return null; // nothing there: reads as all ones
        }

        canUpdate = !isReadOnly;
        return (ulong*)(page + (nint)(gpa & 0xFFF));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool TryUpdate(ulong* slot, ulong before, ulong after) => Interlocked.CompareExchange(ref *slot, after, before) == before;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool TryUpdate(uint* slot, uint before, uint after) => Interlocked.CompareExchange(ref *slot, after, before) == before;
}
