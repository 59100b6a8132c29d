using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>Far JMP and CALL (SDM vol. 2, "JMP", "CALL"), and the fast system calls.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    /// <summary>Far JMP or CALL. False: stopped, nothing changed. True: CS is loaded, go on at <paramref name="rip"/>.</summary>
    internal bool TryTransferFar(Op* o, ushort selector, ulong offset, bool isCall, out ulong rip)
    {
        rip = offset;
        int size = o->OperandSize;
        if (IsRealOrVirtual)
        {
            if (offset > _c->Cs.Limit)
                return StopWith(o, X64.Vector.GeneralProtection, 0);
            if (isCall && !TryPushReturn(o, size))
                return false;
            LoadRealCode(selector);
            return true;
        }

        uint errorCode = selector & 0xFFFCu;
        if (errorCode == 0)
            return StopWith(o, X64.Vector.GeneralProtection, 0);
        if (!TryReadDescriptor(o, selector, X64.Vector.GeneralProtection, 0, out Descriptor descriptor, out ulong address))
            return false;
        if (!descriptor.IsCodeOrData)
            return TryTransferThrough(o, selector, descriptor, address, isCall, out rip);
        int rpl = selector & 3;
        bool isForbidden = !descriptor.IsCode || (_c->IsLongMode && descriptor.IsLong && descriptor.IsBig)
            || (descriptor.IsConforming ? descriptor.Dpl > _c->Cpl : rpl > _c->Cpl || descriptor.Dpl != _c->Cpl);
        if (isForbidden)
            return StopWith(o, X64.Vector.GeneralProtection, errorCode);
        if (!descriptor.IsPresent)
            return StopWith(o, X64.Vector.SegmentNotPresent, errorCode);
        bool to64Bit = _c->IsLongMode && descriptor.IsLong;
        if (to64Bit ? !IsCanonical(offset) : (offset & 0xFFFF_FFFF) > descriptor.Limit)
            return StopWith(o, X64.Vector.GeneralProtection, 0);
        if (!ProbeAccessed(o, descriptor, address) || (isCall && !TryPushReturn(o, size)))
            return false;
        SetAccessed(descriptor, address);
        SetCode(descriptor.ToSegment((ushort)((selector & ~3) | _c->Cpl)), _c->Cpl);
        if (!to64Bit)
            rip = (uint)rip;
        return true;
    }

    private bool TryPushReturn(Op* o, int size)
    {
        Frame frame = default;
        frame.Push(_c->Cs.Selector, size);
        frame.Push(o->NextRip, size);
        return TryPushOnCurrentStack(o, frame);
    }

    private bool TryPushOnCurrentStack(Op* o, in Frame frame)
    {
        ulong stack;
        if (_c->Is64Bit)
        {
            stack = _c->R[Rsp] - (ulong)frame.Length;
            if (!PushFrame64(o, frame, stack, 0, _c->Cpl))
                return false;
        }
        else if (!PushFrame(o, frame, _c->Ss, _c->R[Rsp], 0, _c->Cpl, out stack))
        {
            return false;
        }

        _c->R[Rsp] = stack;
        return true;
    }

    // Call gates, task gates and task state segments.
    private bool TryTransferThrough(Op* o, ushort selector, in Descriptor gate, ulong address, bool isCall, out ulong rip)
    {
        rip = 0;
        uint errorCode = selector & 0xFFFCu;
        bool isTask = gate.Type is SystemType.TaskGate or SystemType.Tss32 or SystemType.Tss16;
        bool isGate = gate.Type == SystemType.CallGate32 || (gate.Type == SystemType.CallGate16 && !_c->IsLongMode);
        if ((!isGate && (!isTask || _c->IsLongMode)) || gate.Dpl < _c->Cpl || gate.Dpl < (selector & 3))
            return StopWith(o, X64.Vector.GeneralProtection, errorCode);
        if (!gate.IsPresent)
            return StopWith(o, X64.Vector.SegmentNotPresent, errorCode);
        if (isTask)
        {
            ushort task = gate.Type == SystemType.TaskGate ? (ushort)(gate.Raw >> 16) : selector;
            return TrySwitchTask(o, task, isCall ? TaskSwitch.Call : TaskSwitch.Jump, o->NextRip, 0, out rip);
        }

        ulong high = 0;
        if (_c->IsLongMode)
        {
            if (!TryFindDescriptor(selector, 16, out _))
                return StopWith(o, X64.Vector.GeneralProtection, errorCode);
            if (!TryRead(o, address + 8, 8, out high, Privilege.System))
                return false;
            if (((high >> 40) & 0x1F) != 0)
                return StopWith(o, X64.Vector.GeneralProtection, errorCode);
        }

        bool is32 = gate.Type == SystemType.CallGate32;
        ulong offset = is32 ? (gate.Raw & 0xFFFF) | ((gate.Raw >> 32) & 0xFFFF_0000) : gate.Raw & 0xFFFF;
        offset |= high << 32;
        ushort codeSelector = (ushort)(gate.Raw >> 16);
        if (!TryReadGateTarget(o, codeSelector, 0, out Descriptor code, out ulong codeAddress, out int cpl))
            return false;
        if (!isCall && cpl != _c->Cpl)
            return StopWith(o, X64.Vector.GeneralProtection, codeSelector & 0xFFFCu);
        if (_c->IsLongMode ? !IsCanonical(offset) : offset > code.Limit)
            return StopWith(o, X64.Vector.GeneralProtection, 0);
        if (!ProbeAccessed(o, code, codeAddress))
            return false;
        int width = _c->IsLongMode ? 8 : is32 ? 4 : 2;
        if (isCall && !(cpl < _c->Cpl ? TryCallInner(o, gate, cpl, width) : TryPushReturn(o, width)))
            return false;
        SetAccessed(code, codeAddress);
        SetCode(code.ToSegment((ushort)((codeSelector & ~3) | cpl)), cpl);
        rip = offset;
        return true;
    }

    // Pushes the old stack, the parameters and the return address on the stack of the inner level, and makes that the stack.
    private bool TryCallInner(Op* o, in Descriptor gate, int cpl, int width)
    {
        Frame frame = default;
        frame.Push(_c->Ss.Selector, width);
        frame.Push(_c->R[Rsp], width);
        ulong stack;
        if (_c->IsLongMode)
        {
            uint slot = 4 + ((uint)cpl * 8);
            if (slot + 7 > _c->Tr.Limit)
                return StopWith(o, X64.Vector.InvalidTss, _c->Tr.Selector & 0xFFFCu);
            if (!TryRead(o, _c->Tr.Base + slot, 8, out stack, Privilege.System))
                return false;
            frame.Push(_c->Cs.Selector, 8);
            frame.Push(o->NextRip, 8);
            stack -= (ulong)frame.Length;
            if (!PushFrame64(o, frame, stack, 0, cpl))
                return false;
            SetSegment(SegmentIndex.Ss, NullSegment((ushort)cpl));
            _c->R[Rsp] = stack;
            return true;
        }

        if (!TryReadInnerStack(o, cpl, 0, out Segment segment, out stack, out Descriptor descriptor, out ulong address))
            return false;
        int parameters = (int)(gate.Raw >> 32) & 0x1F;
        ulong mask = _c->Ss.Default32 ? 0xFFFF_FFFF : 0xFFFF;
        for (int index = parameters - 1; index >= 0; index--)
        {
            ulong pointer = (_c->R[Rsp] + (ulong)(index * width)) & mask;
            if (!TryPop(o, ref pointer, width, out ulong value))
                return false;
            frame.Push(value, width);
        }

        frame.Push(_c->Cs.Selector, width);
        frame.Push(o->NextRip, width);
        if (!ProbeAccessed(o, descriptor, address) || !PushFrame(o, frame, segment, stack, segment.Selector & 0xFFFCu, cpl, out stack))
            return false;
        SetAccessed(descriptor, address);
        SetSegment(SegmentIndex.Ss, segment);
        _c->R[Rsp] = stack;
        return true;
    }
}
