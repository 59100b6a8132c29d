using System.Diagnostics;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>Carries one exception or interrupt through the guest's tables (SDM vol. 3, "Interrupt and Exception Handling").</summary>
/// <remarks>A delivery that stops has changed nothing: every check, read and probe comes before the frame is written, and that
/// before any register changes. So it can be attempted again after an observer let an access through.</remarks>
public sealed unsafe partial class SoftwareVcpu
{
    private enum EventClass
    {
        Benign,
        Contributory,
        PageFault,
    }

    /// <summary>A stack frame, filled from its high end as the processor pushes: at most 31 parameters of 4 bytes and four more values.</summary>
    private struct Frame
    {
        public const int Capacity = 160;
        public fixed byte Data[Capacity];
        public int Length;

        public void Push(ulong value, int size)
        {
            Length += size;
            for (int index = 0; index < size; index++)
                Data[Capacity - Length + index] = (byte)(value >> (8 * index));
        }
    }

    private static EventClass Classify(in FaultInfo fault, bool isExternal) => isExternal || fault.IsSoftware ? EventClass.Benign : fault.Vector switch
    {
        X64.Vector.DivideError or X64.Vector.InvalidTss or X64.Vector.SegmentNotPresent or X64.Vector.StackFault
            or X64.Vector.GeneralProtection => EventClass.Contributory,
        X64.Vector.PageFault => EventClass.PageFault,
        _ => EventClass.Benign,
    };

    /// <summary>Delivers what is pending. False: stopped in front of it (a restricted page), or the vCPU has shut down.</summary>
    private bool TryDeliver()
    {
        Debug.Assert(_delivery is not null, "nothing to deliver");
        _isAlone = true;
        bool done = TryDeliverCore();
        _isAlone = false;
        return done;
    }

    private bool TryDeliverCore()
    {
        while (_delivery is { } pending)
        {
            _c->Stop = StopReason.None;
            if (pending.Fault.Vector == X64.Vector.PageFault && Classify(pending.Fault, pending.IsExternal) == EventClass.PageFault)
                _c->Cr2 = pending.Fault.Address;
            if (Deliver(pending))
            {
                _delivery = null;
                ForgetApprovals();
                _retired++; // so that a handler that faults at once cannot keep time and limits from advancing
                if (pending.IsNmi)
                    _isNmiBlocked = true;
                if (pending.Fault.Vector == X64.Vector.Debug)
                    _c->Dr[7] &= ~Dr7.GeneralDetect;
                return true;
            }

            if (_c->Stop != StopReason.Fault)
                return false;
            FaultInfo second = _c->Fault;
            _c->Stop = StopReason.None;
            ForgetApprovals();
            EventClass firstClass = Classify(pending.Fault, pending.IsExternal), secondClass = Classify(second, false);
            if (second.Vector == X64.Vector.PageFault)
                _c->Cr2 = second.Address;
            if (pending is { IsExternal: false, Fault: { IsSoftware: false, Vector: X64.Vector.DoubleFault } })
            {
                _delivery = null;
                _isShutDown = true;
                return false;
            }

            bool isDouble = (firstClass == EventClass.Contributory && secondClass == EventClass.Contributory)
                || (firstClass == EventClass.PageFault && secondClass != EventClass.Benign);
            _delivery = new PendingDelivery(
                isDouble ? new FaultInfo { Vector = X64.Vector.DoubleFault, HasErrorCode = true } : second, IsExternal: false, IsNmi: false);
        }

        return true;
    }

    private bool Deliver(in PendingDelivery pending) => !_c->IsProtected ? DeliverReal(pending.Fault)
        : _c->IsLongMode ? DeliverLong(pending)
        : DeliverProtected(pending);

    // Pushed RF: 1 for faults, so that the instruction is not caught by its own breakpoint when it runs again; but for that breakpoint itself.
    private ulong FlagsToPush(in PendingDelivery pending)
    {
        ulong flags = Flags.GetAll(_c);
        bool isTrap = pending.IsExternal || pending.IsNmi || pending.Fault.IsSoftware
            || pending.Fault is { Vector: X64.Vector.Debug, IsGeneralDetect: false } or { Vector: X64.Vector.Breakpoint or X64.Vector.Overflow };
        return isTrap ? flags : flags | Rflags.Rf;
    }

    private ulong RipToPush(in FaultInfo fault) => fault.IsSoftware ? fault.NextRip : _c->Rip;

    private bool DeliverReal(in FaultInfo fault)
    {
        uint entry = (uint)fault.Vector * 4;
        if (entry + 3 > _c->Idtr.Limit)
            return StopWith(null, X64.Vector.GeneralProtection, 0);
        if (!TryRead(null, _c->Idtr.Base + entry, 4, out ulong target, Privilege.System))
            return false;
        Frame frame = default;
        frame.Push(Flags.GetAll(_c), 2);
        frame.Push(_c->Cs.Selector, 2);
        frame.Push(RipToPush(fault), 2);
        if (!PushFrame(null, frame, _c->Ss, _c->R[Rsp], 0, _c->Cpl, out ulong stack))
            return false;
        _c->R[Rsp] = stack;
        EnterRealHandler((ushort)(target >> 16), (ushort)target);
        return true;
    }

    private void EnterRealHandler(ushort selector, ushort offset)
    {
        Segment code = _c->Cs;
        code.Selector = selector;
        code.Base = (ulong)selector << 4;
        _c->Rip = offset;
        SetCode(code, _c->Cpl);
        SetFlags(Flags.GetAll(_c) & ~(Rflags.If | Rflags.Tf | Rflags.Ac | Rflags.Rf));
    }

    private bool DeliverProtected(in PendingDelivery pending)
    {
        FaultInfo fault = pending.Fault;
        uint external = fault is { IsSoftware: true, SkipsGatePrivilege: false } ? 0u : 1u;
        uint gateCode = ((uint)fault.Vector * 8) + 2 + external;
        if (((uint)fault.Vector * 8) + 7 > _c->Idtr.Limit)
            return StopWith(null, X64.Vector.GeneralProtection, gateCode);
        if (!TryRead(null, _c->Idtr.Base + ((uint)fault.Vector * 8), 8, out ulong raw, Privilege.System))
            return false;
        var gate = new Descriptor(raw);
        if (gate.IsCodeOrData || gate.Type is not (SystemType.TaskGate or SystemType.InterruptGate16 or SystemType.TrapGate16
            or SystemType.InterruptGate32 or SystemType.TrapGate32))
        {
            return StopWith(null, X64.Vector.GeneralProtection, gateCode);
        }

        if (fault is { IsSoftware: true, SkipsGatePrivilege: false } && gate.Dpl < _c->Cpl)
            return StopWith(null, X64.Vector.GeneralProtection, gateCode);
        if (!gate.IsPresent)
            return StopWith(null, X64.Vector.SegmentNotPresent, gateCode);
        ushort selector = (ushort)(raw >> 16);
        if (gate.Type == SystemType.TaskGate)
            return DeliverToTask(pending, selector, external);
        bool is32 = (gate.Type & 8) != 0;
        ulong offset = is32 ? (raw & 0xFFFF) | ((raw >> 32) & 0xFFFF_0000) : raw & 0xFFFF;
        if (!TryReadGateTarget(null, selector, external, out Descriptor code, out ulong codeAddress, out int cpl))
            return false;
        bool fromVirtual = _c->IsVirtual8086;
        if (fromVirtual && cpl != 0)
            return StopWith(null, X64.Vector.GeneralProtection, (selector & 0xFFFCu) | external);

        int width = is32 ? 4 : 2;
        Segment stackSegment = _c->Ss;
        ulong stack = _c->R[Rsp];
        Descriptor stackDescriptor = new(1UL << 40);
        ulong stackAddress = 0;
        Frame frame = default;
        uint stackCode = external;
        if (cpl < _c->Cpl)
        {
            if (!TryReadInnerStack(null, cpl, external, out stackSegment, out stack, out stackDescriptor, out stackAddress))
                return false;
            stackCode |= stackSegment.Selector & 0xFFFCu;
            if (fromVirtual)
            {
                frame.Push(_c->Gs.Selector, width);
                frame.Push(_c->Fs.Selector, width);
                frame.Push(_c->Ds.Selector, width);
                frame.Push(_c->Es.Selector, width);
            }

            frame.Push(_c->Ss.Selector, width);
            frame.Push(_c->R[Rsp], width);
        }

        frame.Push(FlagsToPush(pending), width);
        frame.Push(_c->Cs.Selector, width);
        frame.Push(RipToPush(fault), width);
        if (fault.HasErrorCode)
            frame.Push(fault.ErrorCode, width);
        if (offset > code.Limit)
            return StopWith(null, X64.Vector.GeneralProtection, external);
        if (!ProbeAccessed(null, code, codeAddress) || !ProbeAccessed(null, stackDescriptor, stackAddress))
            return false;
        if (!PushFrame(null, frame, stackSegment, stack, stackCode, cpl, out stack))
            return false;

        SetAccessed(code, codeAddress);
        SetAccessed(stackDescriptor, stackAddress);
        if (cpl < _c->Cpl)
            SetSegment(SegmentIndex.Ss, stackSegment);
        if (fromVirtual)
        {
            SetSegment(SegmentIndex.Gs, NullSegment(0));
            SetSegment(SegmentIndex.Fs, NullSegment(0));
            SetSegment(SegmentIndex.Ds, NullSegment(0));
            SetSegment(SegmentIndex.Es, NullSegment(0));
        }

        _c->R[Rsp] = stack;
        EnterHandler(code.ToSegment((ushort)((selector & ~3) | cpl)), cpl, offset, isInterruptGate: (gate.Type & 1) == 0);
        return true;
    }

    private bool DeliverLong(in PendingDelivery pending)
    {
        FaultInfo fault = pending.Fault;
        uint external = fault is { IsSoftware: true, SkipsGatePrivilege: false } ? 0u : 1u;
        uint gateCode = ((uint)fault.Vector * 8) + 2 + external;
        if (((uint)fault.Vector * 16) + 15 > _c->Idtr.Limit)
            return StopWith(null, X64.Vector.GeneralProtection, gateCode);
        byte* bytes = ReadSlow(null, _c->Idtr.Base + ((uint)fault.Vector * 16), 16, Privilege.System);
        if (bytes == null)
            return false;
        ulong low = *(ulong*)bytes, high = *(ulong*)(bytes + 8);
        var gate = new Descriptor(low);
        if (gate.IsCodeOrData || gate.Type is not (SystemType.InterruptGate32 or SystemType.TrapGate32))
            return StopWith(null, X64.Vector.GeneralProtection, gateCode);
        if (fault is { IsSoftware: true, SkipsGatePrivilege: false } && gate.Dpl < _c->Cpl)
            return StopWith(null, X64.Vector.GeneralProtection, gateCode);
        if (!gate.IsPresent)
            return StopWith(null, X64.Vector.SegmentNotPresent, gateCode);
        ushort selector = (ushort)(low >> 16);
        ulong offset = (low & 0xFFFF) | ((low >> 32) & 0xFFFF_0000) | (high << 32);
        if (!TryReadGateTarget(null, selector, external, out Descriptor code, out ulong codeAddress, out int cpl))
            return false;

        ulong stack = _c->R[Rsp];
        int table = (int)(low >> 32) & 7;
        if (cpl < _c->Cpl || table != 0)
        {
            uint slot = table != 0 ? 0x24 + ((uint)(table - 1) * 8) : 4 + ((uint)cpl * 8);
            if (slot + 7 > _c->Tr.Limit)
                return StopWith(null, X64.Vector.InvalidTss, (_c->Tr.Selector & 0xFFFCu) | external);
            if (!TryRead(null, _c->Tr.Base + slot, 8, out stack, Privilege.System))
                return false;
        }

        if (!IsCanonical(offset))
            return StopWith(null, X64.Vector.GeneralProtection, external);
        Frame frame = default;
        frame.Push(_c->Ss.Selector, 8);
        frame.Push(_c->R[Rsp], 8);
        frame.Push(FlagsToPush(pending), 8);
        frame.Push(_c->Cs.Selector, 8);
        frame.Push(RipToPush(fault), 8);
        if (fault.HasErrorCode)
            frame.Push(fault.ErrorCode, 8);
        stack = (stack & ~0xFUL) - (ulong)frame.Length;
        if (!ProbeAccessed(null, code, codeAddress) || !PushFrame64(null, frame, stack, external, cpl))
            return false;

        SetAccessed(code, codeAddress);
        if (cpl < _c->Cpl)
            SetSegment(SegmentIndex.Ss, NullSegment((ushort)cpl));
        _c->R[Rsp] = stack;
        EnterHandler(code.ToSegment((ushort)((selector & ~3) | cpl)), cpl, offset, isInterruptGate: (gate.Type & 1) == 0);
        return true;
    }

    private void EnterHandler(in Segment code, int cpl, ulong offset, bool isInterruptGate)
    {
        ulong cleared = Rflags.Tf | Rflags.Nt | Rflags.Rf | Rflags.Vm | (isInterruptGate ? Rflags.If : 0);
        _c->SystemFlags &= ~cleared;
        _c->Rip = offset;
        SetCode(code, cpl);
    }

    /// <summary>Checks the code segment a gate of any kind leads to.</summary>
    /// <param name="o">The instruction, or null during event delivery.</param>
    /// <param name="selector">The gate's selector.</param>
    /// <param name="external">The EXT bit of error codes.</param>
    /// <param name="code">Its descriptor.</param>
    /// <param name="address">Where that is.</param>
    /// <param name="cpl">The privilege level the handler will run at.</param>
    private bool TryReadGateTarget(Op* o, ushort selector, uint external, out Descriptor code, out ulong address, out int cpl)
    {
        code = default;
        address = 0;
        cpl = _c->Cpl;
        uint errorCode = (selector & 0xFFFCu) | external;
        if ((selector & 0xFFFC) == 0)
            return StopWith(o, X64.Vector.GeneralProtection, external);
        if (!TryReadDescriptor(o, selector, X64.Vector.GeneralProtection, external, out code, out address))
            return false;
        if (!code.IsCode || code.Dpl > _c->Cpl || (_c->IsLongMode && (!code.IsLong || code.IsBig)))
            return StopWith(o, X64.Vector.GeneralProtection, errorCode);
        if (!code.IsPresent)
            return StopWith(o, X64.Vector.SegmentNotPresent, errorCode);
        if (!code.IsConforming)
            cpl = code.Dpl;
        return true;
    }

    // The stack of an inner level from a 16 or 32-bit TSS.
    private bool TryReadInnerStack(Op* o, int cpl, uint external, out Segment segment, out ulong stack, out Descriptor descriptor, out ulong address)
    {
        segment = default;
        descriptor = default;
        address = 0;
        stack = 0;
        bool is32 = (_c->Tr.Type & 8) != 0;
        uint slot = is32 ? 4 + ((uint)cpl * 8) : 2 + ((uint)cpl * 4);
        int width = is32 ? 4 : 2;
        if (_c->Tr.Unusable || slot + (uint)width + 1 > _c->Tr.Limit)
            return StopWith(o, X64.Vector.InvalidTss, (_c->Tr.Selector & 0xFFFCu) | external);
        if (!TryRead(o, _c->Tr.Base + slot, width, out stack, Privilege.System)
            || !TryRead(o, _c->Tr.Base + slot + (uint)width, 2, out ulong selector, Privilege.System))
        {
            return false;
        }

        uint errorCode = (uint)(selector & 0xFFFC) | external;
        if ((selector & 0xFFFC) == 0)
            return StopWith(o, X64.Vector.InvalidTss, external);
        if (!TryReadDescriptor(o, (ushort)selector, X64.Vector.InvalidTss, external, out descriptor, out address))
            return false;
        if ((int)(selector & 3) != cpl || descriptor.Dpl != cpl || !descriptor.IsWritableData)
            return StopWith(o, X64.Vector.InvalidTss, errorCode);
        if (!descriptor.IsPresent)
            return StopWith(o, X64.Vector.StackFault, errorCode);
        segment = descriptor.ToSegment((ushort)selector);
        return true;
    }

    private bool PushFrame64(Op* o, in Frame frame, ulong stack, uint errorCode, int cpl)
    {
        if (!IsCanonical(stack) || !IsCanonical(stack + (ulong)frame.Length - 1))
            return StopWith(o, X64.Vector.StackFault, errorCode);
        fixed (byte* data = frame.Data)
            Buffer.MemoryCopy(data + Frame.Capacity - frame.Length, _c->Staging, frame.Length, frame.Length);
        if (WriteStaged(o, stack, frame.Length, cpl == 3 ? Privilege.Current : Privilege.Supervisor))
            return true;

        // The processor pushes downwards, so a page that refuses is first touched at its highest value.
        ulong top = stack + (ulong)frame.Length - 8;
        if (_c->Stop == StopReason.Fault && _c->Fault.Vector == X64.Vector.PageFault && _c->Fault.Address >> 12 == top >> 12)
            _c->Fault.Address = top;
        return false;
    }

    /// <summary>Pushes a frame on a stack that is not 64-bit; all or nothing. Gives the new stack pointer, not yet in force.</summary>
    private bool PushFrame(Op* o, in Frame frame, in Segment segment, ulong pointer, uint errorCode, int cpl, out ulong moved)
    {
        ulong mask = segment.Default32 ? 0xFFFF_FFFF : 0xFFFF;
        ulong first = (pointer - (ulong)frame.Length) & mask;
        moved = (pointer & ~mask) | first;
        if (segment.Default32)
            moved = first;
        Privilege privilege = cpl == 3 || !_c->IsProtected ? Privilege.Current : Privilege.Supervisor;
        int run = (int)Math.Min((ulong)frame.Length, mask - first + 1);
        if (!IsWithinLimit(segment, first, run) || (run < frame.Length && !IsWithinLimit(segment, 0, frame.Length - run)))
            return StopWith(o, X64.Vector.StackFault, errorCode);
        ulong linear = (segment.Base + first) & 0xFFFF_FFFF;
        fixed (byte* data = frame.Data)
        {
            byte* source = data + Frame.Capacity - frame.Length;
            if (run < frame.Length)
            {
                // The frame wraps around the segment: both parts must be possible before either is written.
                if (!ProbeWrite(o, linear, run, privilege))
                    return false;
                Buffer.MemoryCopy(source + run, _c->Staging, frame.Length - run, frame.Length - run);
                if (!WriteStaged(o, segment.Base & 0xFFFF_FFFF, frame.Length - run, privilege))
                    return false;
            }

            Buffer.MemoryCopy(source, _c->Staging, run, run);
            return WriteStaged(o, linear, run, privilege);
        }
    }

    private static bool IsWithinLimit(in Segment segment, ulong offset, int length)
    {
        ulong last = offset + (ulong)length - 1;
        if (segment.Unusable)
            return false;
        return segment.IsExpandDown
            ? offset > segment.Limit && last <= (segment.Default32 ? 0xFFFF_FFFFUL : 0xFFFFUL)
            : last <= segment.Limit;
    }
}
