using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>IRET and far RET (SDM vol. 2, "IRET", "RET").</summary>
public sealed unsafe partial class SoftwareVcpu
{
    // Reads one value off the stack and moves a copy of the stack pointer. False: stopped.
    private bool TryPop(Op* o, ref ulong pointer, int size, out ulong value)
    {
        ulong linear = pointer;
        if (!_c->Is64Bit)
        {
            ulong mask = _c->Ss.Default32 ? 0xFFFF_FFFF : 0xFFFF;
            linear = Segmented.Checked(_c, o, SegmentIndex.Ss, pointer & mask, size, isWrite: false);
        }

        pointer += (ulong)size;
        if (_c->Is64Bit && !IsCanonical(linear))
        {
            value = 0;
            return StopWith(o, X64.Vector.StackFault, 0);
        }

        return TryRead(o, linear, size, out value);
    }

    // The stack pointer after popping, in the width of the stack segment that is now loaded.
    private void SetStackPointer(ulong value) =>
        _c->R[Rsp] = _c->Is64Bit ? value : _c->Ss.Default32 ? (uint)value : (_c->R[Rsp] & ~0xFFFFUL) | (ushort)value;

    /// <summary>IRET. False: stopped, nothing changed.</summary>
    internal bool TryReturnFromInterrupt(Op* o, out ulong rip)
    {
        rip = 0;
        int size = o->OperandSize;
        if (_c->IsProtected && !_c->IsVirtual8086)
        {
            if ((_c->SystemFlags & Rflags.Nt) == 0)
                return TryReturnProtected(o, size, out rip);
            return _c->IsLongMode ? StopWith(o, X64.Vector.GeneralProtection, 0) : TryReturnToTask(o, out rip);
        }

        int iopl = (int)(_c->SystemFlags >> 12) & 3;
        bool isVirtual = _c->IsVirtual8086;
        bool usesVirtualFlag = isVirtual && iopl != 3;
        if (usesVirtualFlag && (size != 2 || (_c->Cr4 & Cr4.Vme) == 0))
            return StopWith(o, X64.Vector.GeneralProtection, 0);
        ulong pointer = _c->R[Rsp];
        if (!TryPop(o, ref pointer, size, out rip) || !TryPop(o, ref pointer, size, out ulong selector) || !TryPop(o, ref pointer, size, out ulong image))
            return false;
        ulong before = Flags.GetAll(_c);
        ulong kept = Rflags.Vm | Rflags.Vif | Rflags.Vip | (isVirtual ? Rflags.Iopl : 0);
        if (usesVirtualFlag)
        {
            if ((image & Rflags.Tf) != 0 || ((image & Rflags.If) != 0 && (before & Rflags.Vip) != 0))
                return StopWith(o, X64.Vector.GeneralProtection, 0);
            before = (image & Rflags.If) != 0 ? before | Rflags.Vif : before & ~Rflags.Vif;
            kept |= Rflags.If;
        }

        if (size == 2)
            kept |= ~0xFFFFUL;
        if (rip > _c->Cs.Limit)
            return StopWith(o, X64.Vector.GeneralProtection, 0);
        SetStackPointer(pointer);
        Segment code = _c->Cs;
        code.Selector = (ushort)selector;
        code.Base = (ulong)(ushort)selector << 4;
        FinishReturn((image & ~kept) | (before & kept));
        SetCode(code, _c->Cpl);
        return true;
    }

    private void FinishReturn(ulong flags)
    {
        SetFlags(flags);
        if (_isNmiBlocked)
        {
            _isNmiBlocked = false;
            _c->Attention = long.MinValue; // another NMI may be waiting
        }
    }

    private bool TryReturnProtected(Op* o, int size, out ulong rip)
    {
        ulong pointer = _c->R[Rsp];
        ulong image = 0;
        if (!TryPop(o, ref pointer, size, out rip) || !TryPop(o, ref pointer, size, out ulong selector) || !TryPop(o, ref pointer, size, out image))
            return false;
        if ((image & Rflags.Vm) != 0 && size == 4 && _c->Cpl == 0 && !_c->IsLongMode)
            return TryReturnToVirtual(o, rip, (ushort)selector, image, pointer);
        bool was64Bit = _c->Is64Bit;
        if (!TryCheckReturn(o, ref rip, (ushort)selector, was64Bit, size, ref pointer, 0, out ReturnTarget target))
            return false;

        ulong before = Flags.GetAll(_c);
        ulong kept = Rflags.Vm;
        if (_c->Cpl != 0)
            kept |= Rflags.Iopl | Rflags.Vif | Rflags.Vip;
        if (_c->Cpl > ((int)(_c->SystemFlags >> 12) & 3))
            kept |= Rflags.If;
        if (size == 2)
            kept |= ~0xFFFFUL;
        ApplyReturn(target, pointer);
        FinishReturn((image & ~kept) | (before & kept));
        return true;
    }

    /// <summary>Far RET. False: stopped, nothing changed.</summary>
    internal bool TryReturnFar(Op* o, int size, uint released, out ulong rip)
    {
        ulong pointer = _c->R[Rsp];
        if (!TryPop(o, ref pointer, size, out rip) || !TryPop(o, ref pointer, size, out ulong selector))
            return false;
        if (IsRealOrVirtual)
        {
            if (rip > _c->Cs.Limit)
                return StopWith(o, X64.Vector.GeneralProtection, 0);
            SetStackPointer(pointer + released);
            LoadRealCode((ushort)selector);
            return true;
        }

        if (!TryCheckReturn(o, ref rip, (ushort)selector, alwaysPopsStack: false, size, ref pointer, released, out ReturnTarget target))
            return false;
        ApplyReturn(target, pointer);
        return true;
    }

    private void LoadRealCode(ushort selector)
    {
        Segment code = _c->Cs;
        code.Selector = selector;
        code.Base = (ulong)selector << 4;
        SetCode(code, _c->Cpl);
    }

    private struct ReturnTarget
    {
        public Segment Code, Stack;
        public Descriptor CodeDescriptor, StackDescriptor;
        public ulong CodeAddress, StackAddress;
        public int Cpl;
        public bool LoadsStack;
    }

    private bool TryCheckReturn(Op* o, ref ulong rip, ushort selector, bool alwaysPopsStack, int size, ref ulong pointer, uint released,
        out ReturnTarget target)
    {
        target = default;
        uint errorCode = selector & 0xFFFCu;
        if (errorCode == 0)
            return StopWith(o, X64.Vector.GeneralProtection, 0);
        if (!TryReadDescriptor(o, selector, X64.Vector.GeneralProtection, 0, out target.CodeDescriptor, out target.CodeAddress))
            return false;
        Descriptor code = target.CodeDescriptor;
        int rpl = selector & 3;
        if (!code.IsCode || rpl < _c->Cpl || (code.IsConforming ? code.Dpl > rpl : code.Dpl != rpl)
            || (_c->IsLongMode && code.IsLong && code.IsBig))
        {
            return StopWith(o, X64.Vector.GeneralProtection, errorCode);
        }

        if (!code.IsPresent)
            return StopWith(o, X64.Vector.SegmentNotPresent, errorCode);
        target.Cpl = rpl;
        target.Code = code.ToSegment(selector);
        bool to64Bit = _c->IsLongMode && code.IsLong;
        target.LoadsStack = rpl > _c->Cpl || alwaysPopsStack;
        pointer += released;
        if (target.LoadsStack)
        {
            if (!TryPop(o, ref pointer, size, out ulong stack) || !TryPop(o, ref pointer, size, out ulong stackSelector))
                return false;
            if (!TryCheckReturnStack(o, (ushort)stackSelector, rpl, to64Bit, ref target))
                return false;
            pointer = rpl > _c->Cpl ? stack + released : stack;
        }

        if (to64Bit ? !IsCanonical(rip) : (rip & 0xFFFF_FFFF) > code.Limit)
            return StopWith(o, X64.Vector.GeneralProtection, 0);
        if (!to64Bit)
            rip = (uint)rip;
        return ProbeAccessed(o, code, target.CodeAddress)
            && (!target.LoadsStack || target.Stack.Unusable || ProbeAccessed(o, target.StackDescriptor, target.StackAddress));
    }

    private bool TryCheckReturnStack(Op* o, ushort selector, int rpl, bool to64Bit, ref ReturnTarget target)
    {
        uint errorCode = selector & 0xFFFCu;
        if (errorCode == 0)
        {
            if (!to64Bit || rpl == 3 || (selector & 3) != rpl)
                return StopWith(o, X64.Vector.GeneralProtection, 0);
            target.Stack = NullSegment(selector);
            return true;
        }

        if (!TryReadDescriptor(o, selector, X64.Vector.GeneralProtection, 0, out target.StackDescriptor, out target.StackAddress))
            return false;
        Descriptor stack = target.StackDescriptor;
        if ((selector & 3) != rpl || !stack.IsWritableData || stack.Dpl != rpl)
            return StopWith(o, X64.Vector.GeneralProtection, errorCode);
        if (!stack.IsPresent)
            return StopWith(o, X64.Vector.StackFault, errorCode);
        target.Stack = stack.ToSegment(selector);
        return true;
    }

    private void ApplyReturn(in ReturnTarget target, ulong pointer)
    {
        SetAccessed(target.CodeDescriptor, target.CodeAddress);
        bool isOuter = target.Cpl > _c->Cpl;
        if (target.LoadsStack)
        {
            if (!target.Stack.Unusable)
                SetAccessed(target.StackDescriptor, target.StackAddress);
            SetSegment(SegmentIndex.Ss, target.Stack);
        }

        SetCode(target.Code, target.Cpl);
        SetStackPointer(pointer);
        if (!isOuter)
            return;
        DropInnerSegment(SegmentIndex.Es);
        DropInnerSegment(SegmentIndex.Ds);
        DropInnerSegment(SegmentIndex.Fs);
        DropInnerSegment(SegmentIndex.Gs);
    }

    // Data segments of an inner level do not survive the way out.
    private void DropInnerSegment(SegmentIndex index)
    {
        ref Segment segment = ref (&_c->Es)[(int)index];
        if (!segment.Unusable && segment.Dpl < _c->Cpl && !segment.IsConforming)
            SetSegment(index, NullSegment(0));
    }

    private bool TryReturnToVirtual(Op* o, ulong rip, ushort selector, ulong image, ulong pointer)
    {
        Span<ulong> values = stackalloc ulong[6]; // ESP SS ES DS FS GS
        for (int index = 0; index < values.Length; index++)
        {
            if (!TryPop(o, ref pointer, 4, out values[index]))
                return false;
        }

        SetSegment(SegmentIndex.Ss, RealSegment((ushort)values[1], 3, 0xFFFF, isCode: false));
        SetSegment(SegmentIndex.Es, RealSegment((ushort)values[2], 3, 0xFFFF, isCode: false));
        SetSegment(SegmentIndex.Ds, RealSegment((ushort)values[3], 3, 0xFFFF, isCode: false));
        SetSegment(SegmentIndex.Fs, RealSegment((ushort)values[4], 3, 0xFFFF, isCode: false));
        SetSegment(SegmentIndex.Gs, RealSegment((ushort)values[5], 3, 0xFFFF, isCode: false));
        _c->R[Rsp] = (uint)values[0];
        FinishReturn((uint)image);
        SetCode(RealSegment(selector, 3, 0xFFFF, isCode: false), 3);
        _c->Rip = (ushort)rip;
        return true;
    }

    /// <summary>INT n in virtual-8086 mode. True: a redirected interrupt was entered and rip is at its handler. False: stopped.</summary>
    internal bool InterruptVirtual(Op* o, byte vector)
    {
        int iopl = (int)(_c->SystemFlags >> 12) & 3;
        if ((_c->Cr4 & Cr4.Vme) != 0)
        {
            if (!TryIsRedirected(o, vector, out bool isRedirected))
                return false;
            if (isRedirected)
                return EnterVirtualHandler(o, vector, usesVirtualFlag: iopl != 3);
        }

        return iopl == 3 ? RaiseSoftware(o, vector) : StopWith(o, X64.Vector.GeneralProtection, 0);
    }

    // A clear bit in the 32 bytes below the I/O permission map sends the interrupt to the 8086 program's own table.
    private bool TryIsRedirected(Op* o, byte vector, out bool isRedirected)
    {
        isRedirected = false;
        if (_c->Tr.Unusable || (_c->Tr.Type & 8) == 0 || _c->Tr.Limit < 0x67)
            return true;
        if (!TryRead(o, _c->Tr.Base + 0x66, 2, out ulong map, Privilege.System))
            return false;
        ulong position = map - 32 + (vector / 8u);
        if (map < 32 || position > _c->Tr.Limit)
            return true;
        if (!TryRead(o, _c->Tr.Base + position, 1, out ulong bits, Privilege.System))
            return false;
        isRedirected = ((bits >> (vector & 7)) & 1) == 0;
        return true;
    }

    private bool EnterVirtualHandler(Op* o, byte vector, bool usesVirtualFlag)
    {
        if (!TryRead(o, vector * 4u, 4, out ulong target))
            return false;
        ulong flags = Flags.GetAll(_c);
        ulong image = flags;
        if (usesVirtualFlag)
        {
            image |= Rflags.Iopl;
            image = (flags & Rflags.Vif) != 0 ? image | Rflags.If : image & ~Rflags.If;
        }

        Frame frame = default;
        frame.Push(image, 2);
        frame.Push(_c->Cs.Selector, 2);
        frame.Push(o->NextRip, 2);
        if (!PushFrame(o, frame, _c->Ss, _c->R[Rsp], 0, 3, out ulong stack))
            return false;
        _c->R[Rsp] = stack;
        SetFlags(flags & ~(Rflags.Tf | Rflags.Rf | (usesVirtualFlag ? Rflags.Vif : Rflags.If)));
        LoadRealCode((ushort)(target >> 16));
        _c->Rip = (ushort)target;
        return true;
    }
}
