namespace Hyperscope.Client;

/// <summary>The fields of each kind of event, and the answers it accepts. An answer that is not here would not be accepted.</summary>
/// <remarks>Each answer throws <see cref="EventAnswerException"/> when the event is answered already or too late.</remarks>
public static class EventExtensions
{
    extension(VmEvent<PageFaultEvent> pf)
    {
        /// <summary>Linear address, or <see cref="Gva.Unknown"/>.</summary>
        public Gva Gva => pf.Data.Gva;

        /// <summary>Physical address, with page offset.</summary>
        public Gpa Gpa => pf.Data.Gpa;

        /// <summary>Exactly one of read, write, execute.</summary>
        public PageAccess Access => pf.Data.Access;

        /// <summary>Carries this one access out in spite of the restriction.</summary>
        public void Continue() => pf.Answer(EventAction.Continue);

        /// <summary>Executes the instruction again, which raises the event again unless the rights were changed.</summary>
        public void Retry() => pf.Answer(EventAction.Retry);

        /// <summary>Stops the VM.</summary>
        public void Crash() => pf.Answer(EventAction.Crash);
    }

    extension(VmEvent<AccessEvent> access)
    {
        /// <summary>Linear address of the first byte, or <see cref="Gva.Unknown"/>.</summary>
        public Gva Gva => access.Data.Gva;

        /// <summary>Physical address of the first byte.</summary>
        public Gpa Gpa => access.Data.Gpa;

        /// <summary>Exactly one of read, write, execute.</summary>
        public PageAccess Access => access.Data.Access;

        /// <summary>Bytes of the access; of an instruction, its length.</summary>
        public int Size => access.Data.Size;

        /// <summary>The page allows the access; it touches watched bytes.</summary>
        public bool IsWatch => access.Data.IsWatch;

        /// <summary>What is in memory now: at most the first 64 bytes.</summary>
        public byte[] CurrentBytes()
        {
            AccessEvent data = access.Data;
            return ((ReadOnlySpan<byte>)data.Current)[..Math.Min((int)data.Size, AccessData.Size)].ToArray();
        }

        /// <summary>What a write would store: at most the first 64 bytes. Empty if it is no write, or not known.</summary>
        public byte[] NewBytes()
        {
            AccessEvent data = access.Data;
            return data.IsNewKnown ? ((ReadOnlySpan<byte>)data.New)[..Math.Min((int)data.Size, AccessData.Size)].ToArray() : [];
        }

        /// <summary>Carries this one access out in spite of the restriction or watch.</summary>
        public void Continue() => access.Answer(EventAction.Continue);

        /// <summary>Carries it out with other data: a read or an instruction fetch sees it, a write stores it.</summary>
        /// <param name="data">Up to <see cref="PageFaultReply.MaxDataSize"/> bytes; where they do not reach, memory's own or the guest's count.</param>
        /// <param name="offset">Where they start, from the first byte of the access.</param>
        public void ContinueWith(ReadOnlySpan<byte> data, int offset = 0)
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThan(data.Length, PageFaultReply.MaxDataSize, nameof(data));
            PageFaultReply reply = default;
            reply.DataAddress = new Gva(unchecked(access.Data.Gva.Value + (ulong)offset));
            reply.DataSize = (uint)data.Length;
            data.CopyTo(reply.Data);
            access.Answer(reply);
        }

        /// <summary>Lets the instruction of a write retire, and leaves memory as it is.</summary>
        public void Discard()
        {
            PageFaultReply reply = default;
            reply.Discards = true;
            access.Answer(reply);
        }

        /// <summary>Executes the instruction again, which raises the event again unless the rights or watches were changed.</summary>
        public void Retry() => access.Answer(EventAction.Retry);

        /// <summary>Stops the VM.</summary>
        public void Crash() => access.Answer(EventAction.Crash);
    }

    extension(VmEvent<CpuidEvent> cpuid)
    {
        /// <summary>eax.</summary>
        public uint Function => cpuid.Data.Function;

        /// <summary>ecx.</summary>
        public uint Index => cpuid.Data.Index;

        /// <summary>Executes it, unless rip was moved: then the registers are the answer.</summary>
        public void Continue() => cpuid.Answer(EventAction.Continue);

        /// <summary>Stops the VM.</summary>
        public void Crash() => cpuid.Answer(EventAction.Crash);
    }

    extension(VmEvent<BreakpointEvent> bp)
    {
        /// <summary>Physical address of the instruction, if it has one.</summary>
        public Gpa? Gpa => bp.Data.Gpa;

        /// <summary>Length of the instruction in bytes.</summary>
        public byte InstructionLength => bp.Data.InstructionLength;

        /// <summary>Gives the guest its #BP.</summary>
        public void Continue() => bp.Answer(EventAction.Continue);

        /// <summary>Resumes at rip, which was usually moved or repaired before.</summary>
        public void Retry() => bp.Answer(EventAction.Retry);

        /// <summary>Stops the VM.</summary>
        public void Crash() => bp.Answer(EventAction.Crash);
    }

    extension(VmEvent<DescriptorEvent> descriptor)
    {
        /// <summary>Which register.</summary>
        public DescriptorTable Table => descriptor.Data.Table;

        /// <summary>It is loaded, not stored.</summary>
        public bool IsWrite => descriptor.Data.IsWrite;

        /// <summary>Carries the instruction out.</summary>
        public void Continue() => descriptor.Answer(EventAction.Continue);

        /// <summary>Resumes at rip, which was usually moved before.</summary>
        public void Retry() => descriptor.Answer(EventAction.Retry);

        /// <summary>Stops the VM.</summary>
        public void Crash() => descriptor.Answer(EventAction.Crash);
    }

    extension(VmEvent<CrEvent> cr)
    {
        /// <summary>0, 3 or 4.</summary>
        public byte Cr => cr.Data.Cr;

        /// <summary>Current value.</summary>
        public ulong OldValue => cr.Data.OldValue;

        /// <summary>Value about to be written.</summary>
        public ulong NewValue => cr.Data.NewValue;

        /// <summary>Lets the guest write its value.</summary>
        public void Continue() => cr.Answer(EventAction.Continue);

        /// <summary>Writes <paramref name="value"/> instead.</summary>
        public void Continue(ulong value) => cr.Answer(EventAction.Continue, value);

        /// <summary>Keeps the old value; the guest is not told.</summary>
        public void Block() => cr.Answer(EventAction.Continue, cr.Data.OldValue);

        /// <summary>Stops the VM.</summary>
        public void Crash() => cr.Answer(EventAction.Crash);
    }

    extension(VmEvent<MsrEvent> msr)
    {
        /// <summary>MSR index.</summary>
        public uint Msr => msr.Data.Msr;

        /// <summary>Current value.</summary>
        public ulong OldValue => msr.Data.OldValue;

        /// <summary>Value about to be written.</summary>
        public ulong NewValue => msr.Data.NewValue;

        /// <summary>Lets the guest write its value.</summary>
        public void Continue() => msr.Answer(EventAction.Continue);

        /// <summary>Writes <paramref name="value"/> instead.</summary>
        public void Continue(ulong value) => msr.Answer(EventAction.Continue, value);

        /// <summary>Keeps the old value; the guest is not told.</summary>
        public void Block() => msr.Answer(EventAction.Continue, msr.Data.OldValue);

        /// <summary>Stops the VM.</summary>
        public void Crash() => msr.Answer(EventAction.Crash);
    }

    extension(VmEvent<XsetbvEvent> xsetbv)
    {
        /// <summary>Previous XCR0.</summary>
        public ulong OldValue => xsetbv.Data.OldValue;

        /// <summary>XCR0 in place now.</summary>
        public ulong NewValue => xsetbv.Data.NewValue;

        /// <summary>Goes on.</summary>
        public void Continue() => xsetbv.Answer(EventAction.Continue);

        /// <summary>Stops the VM.</summary>
        public void Crash() => xsetbv.Answer(EventAction.Crash);
    }

    extension(VmEvent<TrapEvent> trap)
    {
        /// <summary>Vector really delivered.</summary>
        public byte Vector => trap.Data.Vector;

        /// <summary>Its error code, or 0.</summary>
        public uint ErrorCode => trap.Data.ErrorCode;

        /// <summary>CR2 at that moment.</summary>
        public ulong Address => trap.Data.Address;

        /// <summary>Goes on.</summary>
        public void Continue() => trap.Answer(EventAction.Continue);

        /// <summary>Stops the VM.</summary>
        public void Crash() => trap.Answer(EventAction.Crash);
    }

    extension(VmEvent<SinglestepEvent> step)
    {
        /// <summary>Another exit interrupted the step.</summary>
        public bool Failed => step.Data.Failed;

        /// <summary>Goes on, with the next step if stepping is still on.</summary>
        public void Continue() => step.Answer(EventAction.Continue);

        /// <summary>Stops the VM.</summary>
        public void Crash() => step.Answer(EventAction.Crash);
    }

    extension(VmEvent<PauseVcpuEvent> pause)
    {
        /// <summary>Lets the vCPU run again.</summary>
        public void Continue() => pause.Answer(EventAction.Continue);

        /// <summary>Stops the VM.</summary>
        public void Crash() => pause.Answer(EventAction.Crash);
    }

    extension(VmEvent<HypercallEvent> hypercall)
    {
        /// <summary>Goes on; the hypercall returns 0.</summary>
        public void Continue() => hypercall.Answer(EventAction.Continue);

        /// <summary>Stops the VM.</summary>
        public void Crash() => hypercall.Answer(EventAction.Crash);
    }
}
