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
