using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>Descriptors and segment registers.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    private const int Rsp = 4;

    // Base and limit of the last code segment that was not 64-bit: links between blocks of such code depend on both.
    private ulong _legacyCodeBase;
    private uint _legacyCodeLimit;

    internal bool IsRealOrVirtual => !_c->IsProtected || _c->IsVirtual8086;

    /// <summary>The address of a memory operand in any mode. Look at <see cref="CpuState.Stop"/> afterwards.</summary>
    internal ulong OperandAddress(Op* o, int size, bool isWrite) => Segmented.Linear(_c, o, size, isWrite);

    /// <summary>Reads up to 8 bytes. False: stopped.</summary>
    internal bool TryRead(Op* o, ulong linear, int size, out ulong value, Privilege privilege = Privilege.Current)
    {
        value = 0;
        byte* source = ReadSlow(o, linear, size, privilege);
        if (source == null)
            return false;
        for (int index = 0; index < size; index++)
            value |= (ulong)source[index] << (8 * index);
        return true;
    }

    /// <summary>Writes up to 8 bytes. False: stopped, nothing written.</summary>
    internal bool TryWrite(Op* o, ulong linear, int size, ulong value, Privilege privilege = Privilege.Current)
    {
        *(ulong*)_c->Staging = value;
        return WriteStaged(o, linear, size, privilege);
    }

    /// <summary>Reads the first 16 bits of a register or memory operand (SLDT-like instructions).</summary>
    internal bool TryReadWordOperand(Op* o, out ushort value)
    {
        ulong wide;
        bool ok = true;
        if ((o->Bits & OpBits.HasMemory) != 0)
            ok = TryRead(o, OperandAddress(o, 2, isWrite: false), 2, out wide);
        else
            wide = *(ushort*)((byte*)_c + o->S);
        value = (ushort)wide;
        return ok;
    }

    /// <summary>Finds and reads a descriptor. False: stopped, with <paramref name="vector"/> if the selector is beyond its table.</summary>
    internal bool TryReadDescriptor(Op* o, ushort selector, byte vector, uint external, out Descriptor descriptor, out ulong address)
    {
        descriptor = default;
        if (!TryFindDescriptor(selector, 8, out address))
            return StopWith(o, vector, (selector & 0xFFFCu) | external);
        if (!TryRead(o, address, 8, out ulong raw, Privilege.System))
            return false;
        descriptor = new Descriptor(raw);
        return true;
    }

    /// <summary>Where a descriptor is; false if it is beyond its table.</summary>
    internal bool TryFindDescriptor(ushort selector, int size, out ulong address)
    {
        ulong tableBase = _c->Gdtr.Base;
        ulong limit = _c->Gdtr.Limit;
        if ((selector & 4) != 0)
        {
            tableBase = _c->Ldtr.Base;
            limit = _c->Ldtr.Limit;
            if (_c->Ldtr.Unusable)
            {
                address = 0;
                return false;
            }
        }

        address = tableBase + (selector & 0xFFF8u);
        return (selector & 0xFFF8u) + (uint)size - 1 <= limit;
    }

    // Deviation: the accessed bit is set by a plain store of the byte, not by a locked update.
    private bool ProbeAccessed(Op* o, in Descriptor descriptor, ulong address) =>
        descriptor.IsAccessed || ProbeWrite(o, address + 5, 1, Privilege.System);

    private void SetAccessed(in Descriptor descriptor, ulong address)
    {
        if (descriptor.IsAccessed)
            return;
        bool wasAlone = _isAlone;
        _isAlone = true;
        if (!TryWrite(null, address + 5, 1, (byte)((descriptor.Raw >> 40) | 1), Privilege.System))
            _c->Stop = StopReason.None; // another vCPU took the mapping away after the probe
        _isAlone = wasAlone;
    }

    internal static Segment RealSegment(ushort selector, byte dpl, uint limit, bool isCode) => new()
    {
        Base = (ulong)selector << 4,
        Limit = limit,
        Selector = selector,
        Type = (byte)(isCode ? 0xB : 3),
        Dpl = dpl,
        Present = true,
        CodeOrData = true,
    };

    internal static Segment NullSegment(ushort selector) => new() { Selector = selector, Unusable = true, Dpl = (byte)(selector & 3) };

    /// <summary>Sets a data segment register, hidden part and all. Not for CS.</summary>
    internal void SetSegment(SegmentIndex index, in Segment segment)
    {
        (&_c->Es)[(int)index] = segment;
        _c->SegmentBase[(int)index] = segment.Base;
    }

    /// <summary>Sets CS and the privilege level, and selects the code that goes with them.</summary>
    internal void SetCode(in Segment segment, int cpl)
    {
        _c->Cs = segment;
        _c->SegmentBase[(int)SegmentIndex.Cs] = segment.Base;
        _c->Cpl = cpl;
        if (!_c->Is64Bit && (segment.Base != _legacyCodeBase || segment.Limit != _legacyCodeLimit))
        {
            _legacyCodeBase = segment.Base;
            _legacyCodeLimit = segment.Limit;
            AdvanceEpoch();
        }

        SelectContext();
    }

    /// <summary>Loads ES, SS, DS, FS or GS as MOV, POP and LDS do. False: stopped, nothing changed.</summary>
    internal bool TryLoadSegment(Op* o, SegmentIndex index, ushort selector)
    {
        if (!TryCheckSegment(o, index, selector, _c->Cpl, out Segment segment))
            return false;
        SetSegment(index, segment);
        return true;
    }

    // Source: SDM vol. 2, "MOV" (loading a segment register).
    private bool TryCheckSegment(Op* o, SegmentIndex index, ushort selector, int cpl, out Segment segment)
    {
        if (IsRealOrVirtual)
        {
            // The limit and the attributes stay what they were in real mode; virtual-8086 mode fixes them.
            segment = (&_c->Es)[(int)index];
            if (_c->IsVirtual8086)
                segment = RealSegment(selector, 3, 0xFFFF, isCode: false);
            segment.Selector = selector;
            segment.Base = (ulong)selector << 4;
            segment.Unusable = false;
            return true;
        }

        segment = NullSegment(selector);
        uint code = selector & 0xFFFCu;
        int rpl = selector & 3;
        if (code == 0)
        {
            if (index != SegmentIndex.Ss)
                return true;
            if (_c->Is64Bit && cpl != 3 && rpl == cpl)
            {
                segment.Dpl = (byte)cpl;
                return true;
            }

            return StopWith(o, X64.Vector.GeneralProtection, 0);
        }

        if (!TryReadDescriptor(o, selector, X64.Vector.GeneralProtection, 0, out Descriptor descriptor, out ulong address))
            return false;
        if (index == SegmentIndex.Ss)
        {
            if (rpl != cpl || !descriptor.IsWritableData || descriptor.Dpl != cpl)
                return StopWith(o, X64.Vector.GeneralProtection, code);
            if (!descriptor.IsPresent)
                return StopWith(o, X64.Vector.StackFault, code);
        }
        else
        {
            if (!descriptor.IsReadable || !descriptor.IsCodeOrData || (!descriptor.IsConforming && (rpl > descriptor.Dpl || cpl > descriptor.Dpl)))
                return StopWith(o, X64.Vector.GeneralProtection, code);
            if (!descriptor.IsPresent)
                return StopWith(o, X64.Vector.SegmentNotPresent, code);
        }

        if (!ProbeAccessed(o, descriptor, address))
            return false;
        SetAccessed(descriptor, address);
        segment = descriptor.ToSegment(selector);
        return true;
    }

    /// <summary>Reads a doubleword table register image: limit, then base (SGDT, SIDT).</summary>
    internal bool StoreTable(Op* o, in TableRegister table)
    {
        int baseSize = _c->Is64Bit ? 8 : 4;
        ulong linear = OperandAddress(o, 2 + baseSize, isWrite: true);
        *(ushort*)_c->Staging = table.Limit;
        *(ulong*)(_c->Staging + 2) = table.Base;
        return WriteStaged(o, linear, 2 + baseSize);
    }

    /// <summary>Reads a table register image (LGDT, LIDT). False: stopped.</summary>
    internal bool TryReadTable(Op* o, out TableRegister table)
    {
        table = default;
        int baseSize = _c->Is64Bit ? 8 : 4;
        byte* source = ReadSlow(o, OperandAddress(o, 2 + baseSize, isWrite: false), 2 + baseSize);
        if (source == null)
            return false;
        table.Limit = *(ushort*)source;
        table.Base = baseSize == 8 ? *(ulong*)(source + 2) : *(uint*)(source + 2);
        if (baseSize == 4 && o->OperandSize == 2)
            table.Base &= 0xFF_FFFF;
        if (baseSize == 8 && !IsCanonical(table.Base))
            return StopWith(o, X64.Vector.GeneralProtection, 0);
        return true;
    }

    /// <summary>LLDT. False: stopped.</summary>
    internal bool TryLoadLdt(Op* o, ushort selector)
    {
        uint code = selector & 0xFFFCu;
        if (code == 0)
        {
            _c->Ldtr = NullSegment(selector);
            return true;
        }

        if (!TryReadSystemDescriptor(o, selector, SystemType.Ldt, SystemType.Ldt, out Segment segment, out _))
            return false;
        _c->Ldtr = segment;
        return true;
    }

    /// <summary>LTR. False: stopped.</summary>
    internal bool TryLoadTask(Op* o, ushort selector)
    {
        if ((selector & 0xFFFC) == 0)
            return StopWith(o, X64.Vector.GeneralProtection, 0);
        byte alternative = _c->IsLongMode ? SystemType.Tss32 : SystemType.Tss16;
        if (!TryReadSystemDescriptor(o, selector, SystemType.Tss32, alternative, out Segment segment, out ulong address))
            return false;
        segment.Type |= 2;
        if (!TryWrite(o, address + 5, 1, (uint)(segment.Type | (segment.Dpl << 5) | 0x80), Privilege.System))
            return false;
        _c->Tr = segment;
        return true;
    }

    private bool TryReadSystemDescriptor(Op* o, ushort selector, byte type, byte alternative, out Segment segment, out ulong address)
    {
        segment = default;
        uint code = selector & 0xFFFCu;
        int size = _c->IsLongMode ? 16 : 8;
        if ((selector & 4) != 0 || !TryFindDescriptor(selector, size, out address))
        {
            address = 0;
            return StopWith(o, X64.Vector.GeneralProtection, code);
        }

        ulong high = 0;
        if (!TryRead(o, address, 8, out ulong raw, Privilege.System) || (size == 16 && !TryRead(o, address + 8, 8, out high, Privilege.System)))
            return false;
        var descriptor = new Descriptor(raw);
        if (descriptor.IsCodeOrData || (descriptor.Type != type && descriptor.Type != alternative) || ((high >> 40) & 0x1F) != 0)
            return StopWith(o, X64.Vector.GeneralProtection, code);
        if (!descriptor.IsPresent)
            return StopWith(o, X64.Vector.SegmentNotPresent, code);
        segment = descriptor.ToSegment(selector);
        segment.Base |= high << 32;
        return size != 16 || IsCanonical(segment.Base) || StopWith(o, X64.Vector.GeneralProtection, code);
    }

    /// <summary>LAR, LSL, VERR, VERW: looks at a descriptor without faulting on what it says.</summary>
    /// <returns>False: stopped. <paramref name="isVisible"/>: the descriptor exists and privilege allows a look at it.</returns>
    internal bool TryInspect(Op* o, ushort selector, out Descriptor descriptor, out bool isVisible)
    {
        descriptor = default;
        isVisible = false;
        if ((selector & 0xFFFC) == 0 || !TryFindDescriptor(selector, 8, out ulong address))
            return true;
        if (!TryRead(o, address, 8, out ulong raw, Privilege.System))
            return false;
        descriptor = new Descriptor(raw);
        isVisible = descriptor.IsConforming || (descriptor.Dpl >= _c->Cpl && descriptor.Dpl >= (selector & 3));
        return true;
    }
}
