using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>Hardware task switches (SDM vol. 3, "Task Management").</summary>
/// <remarks>Up to the point where the old task is saved, a switch that stops has changed nothing. What goes wrong behind that point
/// (segments of the new task) is a fault of the new task, as on the processor.</remarks>
public sealed unsafe partial class SoftwareVcpu
{
    private enum TaskSwitch
    {
        Jump,
        Call,
        Return,
        Gate,
    }

    /// <summary>Where the fields of a task state segment are. From the instruction pointer on they follow each other: instruction pointer,
    /// flags, general registers, segment registers (each in encoding order), LDT selector.</summary>
    private readonly struct TaskLayout(bool is32)
    {
        public int Width => is32 ? 4 : 2;

        public int Size => is32 ? 0x68 : 0x2C;

        public uint Saved => is32 ? 0x20u : 0x0Eu;

        public int Segments => is32 ? 6 : 4;

        public int SavedBytes => (2 + 8 + Segments) * Width;

        public ulong Field(byte* image, int index)
        {
            byte* field = image + Saved + (index * Width);
            return is32 ? *(uint*)field : *(ushort*)field;
        }
    }

    // The state of a task as its segment holds it.
    private struct TaskImage
    {
        public fixed byte Bytes[0x68];
    }

    private bool TrySwitchTask(Op* o, ushort selector, TaskSwitch kind, ulong resumeAt, uint external, out ulong rip)
    {
        rip = 0;
        byte refusal = kind == TaskSwitch.Return ? X64.Vector.InvalidTss : X64.Vector.GeneralProtection;
        uint errorCode = (selector & 0xFFFCu) | external;
        if ((selector & 4) != 0 || (selector & 0xFFFC) == 0)
            return StopWith(o, refusal, errorCode);
        if (!TryReadDescriptor(o, selector, refusal, external, out Descriptor descriptor, out ulong address))
            return false;
        bool isBusy = descriptor.Type is SystemType.Tss32Busy or SystemType.Tss16Busy;
        bool isFree = descriptor.Type is SystemType.Tss32 or SystemType.Tss16;
        if (descriptor.IsCodeOrData || !(kind == TaskSwitch.Return ? isBusy : isFree))
            return StopWith(o, refusal, errorCode);
        if (!descriptor.IsPresent)
            return StopWith(o, X64.Vector.SegmentNotPresent, errorCode);
        bool is32 = (descriptor.Type & 8) != 0;
        var layout = new TaskLayout(is32);
        var oldLayout = new TaskLayout((_c->Tr.Type & 8) != 0);
        if (descriptor.Limit < (uint)layout.Size - 1)
            return StopWith(o, X64.Vector.InvalidTss, errorCode);
        if (_c->Tr.Unusable || _c->Tr.Limit < (uint)oldLayout.Size - 1)
            return StopWith(o, X64.Vector.InvalidTss, (_c->Tr.Selector & 0xFFFCu) | external);

        bool isNested = kind is TaskSwitch.Call or TaskSwitch.Gate;
        bool freesOld = !isNested & TryFindDescriptor((ushort)(_c->Tr.Selector & ~4), 8, out ulong oldAddress);
        if (!TryReadTask(o, descriptor.Base, layout.Size, out TaskImage image)
            || !ProbeWrite(o, address + 5, 1, Privilege.System)
            || (freesOld && !ProbeWrite(o, oldAddress + 5, 1, Privilege.System))
            || (isNested && !ProbeWrite(o, descriptor.Base, 2, Privilege.System))
            || !ProbeWrite(o, _c->Tr.Base + oldLayout.Saved, oldLayout.SavedBytes, Privilege.System))
        {
            return false;
        }

        bool wasAlone = _isAlone;
        _isAlone = true;
        _hasToolRegisters = false; // they are the old task's
        if (kind == TaskSwitch.Return)
            _isNmiBlocked = false;
        SaveTask(oldLayout, resumeAt, kind);
        if (freesOld)
            WriteTask(oldAddress + 5, 1, (uint)((_c->Tr.Type & ~2) | (_c->Tr.Dpl << 5) | 0x80));
        if (isNested)
            WriteTask(descriptor.Base, 2, _c->Tr.Selector);
        if (kind != TaskSwitch.Return)
            WriteTask(address + 5, 1, (uint)(descriptor.Raw >> 40) | 2);
        Segment task = descriptor.ToSegment(selector);
        task.Type |= 2;
        _c->Tr = task;
        bool isComplete = EnterTask(layout, image, is32, isNested, external, out rip);
        _isAlone = wasAlone;
        _c->Attention = long.MinValue; // flags were loaded: an interrupt or a trap may be due
        if (isComplete)
            return true;
        if (o != null)
            _c->Budget -= o->Index;
        _c->Rip = rip;
        return false;
    }

    private bool TryReadTask(Op* o, ulong linear, int size, out TaskImage image)
    {
        image = default;
        byte* source = ReadSlow(o, linear, size, Privilege.System);
        if (source == null)
            return false;
        fixed (byte* destination = image.Bytes)
            Buffer.MemoryCopy(source, destination, size, size);
        return true;
    }

    // Behind a probe: it fails only if another vCPU has taken the mapping away meanwhile.
    private void WriteTask(ulong linear, int size, ulong value)
    {
        if (!TryWrite(null, linear, size, value, Privilege.System))
            _c->Stop = StopReason.None;
    }

    private void SaveTask(in TaskLayout layout, ulong resumeAt, TaskSwitch kind)
    {
        ulong flags = Flags.GetAll(_c);
        if (kind == TaskSwitch.Return)
            flags &= ~Rflags.Nt;
        byte* field = _c->Staging;
        field = PutTaskField(field, layout.Width, resumeAt);
        field = PutTaskField(field, layout.Width, flags);
        for (int register = 0; register < 8; register++)
            field = PutTaskField(field, layout.Width, _c->R[register]);
        for (int segment = 0; segment < layout.Segments; segment++)
            field = PutTaskField(field, layout.Width, (&_c->Es)[segment].Selector);
        if (!WriteStaged(null, _c->Tr.Base + layout.Saved, layout.SavedBytes, Privilege.System))
            _c->Stop = StopReason.None;
    }

    private static byte* PutTaskField(byte* field, int width, ulong value)
    {
        if (width == 4)
            *(uint*)field = (uint)value;
        else
            *(ushort*)field = (ushort)value;
        return field + width;
    }

    // Loads the new task. False: the new task has faulted, with rip where its instruction pointer is.
    private bool EnterTask(in TaskLayout layout, TaskImage image, bool is32, bool isNested, uint external, out ulong rip)
    {
        byte* bytes = image.Bytes;
        if (is32 && (_c->Cr0 & Cr0.Pg) != 0)
            _c->Cr3 = *(uint*)(bytes + 0x1C);
        _c->Cr0 |= Cr0.Ts;
        _c->Dr[7] &= ~0x55UL; // local breakpoints belong to the old task
        UpdateBreakpoints();
        rip = layout.Field(bytes, 0);
        SetFlags((layout.Field(bytes, 1) & Rflags.All) | Rflags.Fixed | (isNested ? Rflags.Nt : 0));
        for (int register = 0; register < 8; register++)
            _c->R[register] = layout.Field(bytes, 2 + register);
        Span<ushort> selectors = stackalloc ushort[6];
        for (int segment = 0; segment < layout.Segments; segment++)
            selectors[segment] = (ushort)layout.Field(bytes, 10 + segment);
        var table = (ushort)layout.Field(bytes, 10 + layout.Segments);
        FlushTranslations();
        int cpl = selectors[(int)SegmentIndex.Cs] & 3;
        if (_c->IsVirtual8086)
        {
            cpl = 3;
            for (SegmentIndex index = SegmentIndex.Es; index <= SegmentIndex.Gs; index++)
                SetTaskSegment(index, RealSegment(selectors[(int)index], 3, 0xFFFF, isCode: false), cpl);
        }
        else
        {
            for (SegmentIndex index = SegmentIndex.Es; index <= SegmentIndex.Gs; index++)
                SetTaskSegment(index, NullSegment(selectors[(int)index]), cpl);
        }

        // Deviation: an observer is not asked about tables on restricted frames here, for the old task is gone already.
        while (!TryLoadTaskSegments(selectors, table, cpl, external))
        {
            if (_c->Stop != StopReason.PageAccess || _approvalCount == MaxApprovals)
                return false;
            Approve();
            _c->Stop = StopReason.None;
        }

        if (rip > _c->Cs.Limit)
            return StopWith(null, X64.Vector.GeneralProtection, external);
        if (!is32 || (bytes[0x64] & 1) == 0)
            return true;
        _c->Dr[6] |= Dr6.TaskSwitch;
        _c->Fault = new FaultInfo { Vector = X64.Vector.Debug };
        _c->Stop = StopReason.Fault;
        return false;
    }

    private void SetTaskSegment(SegmentIndex index, in Segment segment, int cpl)
    {
        if (index == SegmentIndex.Cs)
            SetCode(segment, cpl);
        else
            SetSegment(index, segment);
    }

    private bool TryLoadTaskSegments(ReadOnlySpan<ushort> selectors, ushort table, int cpl, uint external)
    {
        _c->Ldtr = NullSegment(table);
        if ((table & 0xFFFC) != 0)
        {
            uint code = (table & 0xFFFCu) | external;
            if ((table & 4) != 0)
                return StopWith(null, X64.Vector.InvalidTss, code);
            if (!TryReadDescriptor(null, table, X64.Vector.InvalidTss, external, out Descriptor local, out _))
                return false;
            if (local.IsCodeOrData || local.Type != SystemType.Ldt || !local.IsPresent)
                return StopWith(null, X64.Vector.InvalidTss, code);
            _c->Ldtr = local.ToSegment(table);
        }

        if (_c->IsVirtual8086)
            return true;
        return TryLoadTaskSegment(SegmentIndex.Cs, selectors, cpl, external)
            && TryLoadTaskSegment(SegmentIndex.Ss, selectors, cpl, external)
            && TryLoadTaskSegment(SegmentIndex.Es, selectors, cpl, external)
            && TryLoadTaskSegment(SegmentIndex.Ds, selectors, cpl, external)
            && TryLoadTaskSegment(SegmentIndex.Fs, selectors, cpl, external)
            && TryLoadTaskSegment(SegmentIndex.Gs, selectors, cpl, external);
    }

    private bool TryLoadTaskSegment(SegmentIndex index, ReadOnlySpan<ushort> selectors, int cpl, uint external)
    {
        ushort selector = selectors[(int)index];
        uint code = (selector & 0xFFFCu) | external;
        int rpl = selector & 3;
        if ((selector & 0xFFFC) == 0)
            return index is not (SegmentIndex.Cs or SegmentIndex.Ss) || StopWith(null, X64.Vector.InvalidTss, code);
        if (!TryReadDescriptor(null, selector, X64.Vector.InvalidTss, external, out Descriptor descriptor, out ulong address))
            return false;
        bool isRight = index switch
        {
            SegmentIndex.Cs => descriptor.IsCode && (descriptor.IsConforming ? descriptor.Dpl <= rpl : descriptor.Dpl == rpl),
            SegmentIndex.Ss => descriptor.IsWritableData && rpl == cpl && descriptor.Dpl == cpl,
            _ => descriptor.IsCodeOrData && descriptor.IsReadable && (descriptor.IsConforming || (descriptor.Dpl >= cpl && descriptor.Dpl >= rpl)),
        };
        if (!isRight)
            return StopWith(null, X64.Vector.InvalidTss, code);
        if (!descriptor.IsPresent)
            return StopWith(null, index == SegmentIndex.Ss ? X64.Vector.StackFault : X64.Vector.SegmentNotPresent, code);
        if (!ProbeAccessed(null, descriptor, address))
            return false;
        SetAccessed(descriptor, address);
        SetTaskSegment(index, descriptor.ToSegment(selector), cpl);
        return true;
    }

    // IRET with NT set: back to the task that the current one names.
    private bool TryReturnToTask(Op* o, out ulong rip)
    {
        rip = 0;
        return TryRead(o, _c->Tr.Base, 2, out ulong link, Privilege.System)
            && TrySwitchTask(o, (ushort)link, TaskSwitch.Return, o->NextRip, 0, out rip);
    }

    private bool DeliverToTask(in PendingDelivery pending, ushort selector, uint external)
    {
        FaultInfo fault = pending.Fault;
        bool isFault = (FlagsToPush(pending) & ~Flags.GetAll(_c) & Rflags.Rf) != 0;
        ulong flags = _c->SystemFlags;
        if (isFault)
            _c->SystemFlags |= Rflags.Rf;
        ushort before = _c->Tr.Selector;
        bool switched = TrySwitchTask(null, selector, TaskSwitch.Gate, RipToPush(fault), external, out ulong rip);
        if (!switched)
        {
            if (_c->Tr.Selector == before)
                _c->SystemFlags = flags;
            return false;
        }

        _c->Rip = rip;
        if (!fault.HasErrorCode)
            return true;
        Frame frame = default;
        frame.Push(fault.ErrorCode, (_c->Tr.Type & 8) != 0 ? 4 : 2);
        if (!PushFrame(null, frame, _c->Ss, _c->R[Rsp], external, _c->Cpl, out ulong stack))
            return false;
        _c->R[Rsp] = stack;
        return true;
    }
}
