using System.Runtime.InteropServices;

namespace Hyperscope.Introspection;

// Accesses to restricted pages and watched bytes.
internal sealed partial class IntrospectedVcpu
{
    private Gpa _accessedGpa;
    private int _accessLength;
    private PageAccess _accessKind;
    private PageAccess _repeatKinds;
    private ulong _repeatRip;
    private ulong _repeatCount;
    private PageFaultReply _repeatReply;

    /// <summary>Before an access that the back end found denied (kvmi-abi.md 5.9).</summary>
    public PageTrackVerdict BeforeAccess(in PageTrackAccess access)
    {
        bool isDetailed = IsEnabled(EventId.Access);
        if (!isDetailed && !IsEnabled(EventId.PageFault))
            return PageTrackVerdict.Allow;

        // A page that was opened in the meantime: the access is attempted again instead of approved, for it may be closed again by then.
        _accessedGpa = access.Gpa;
        _accessLength = access.Length;
        _accessKind = access.Kind;
        if (!IsAccessDenied)
            return PageTrackVerdict.Retry;
        if (IsPartOfCompletedRepeat(access))
            return PageTrackVerdict.Allow;
        EventOutcome outcome = isDetailed ? SendAccess(access) : Send(new PageFaultEvent(access.Gva, access.Gpa, access.Kind));
        if (outcome == EventOutcome.Continue && (isDetailed || session.Dialect.HasPageFaultReplyData))
            Accept(access, MemoryMarshal.AsRef<PageFaultReply>(_replyData), isDetailed);
        return outcome switch
        {
            EventOutcome.Continue or EventOutcome.Lost => PageTrackVerdict.Allow,
            EventOutcome.Crash => PageTrackVerdict.Stop,
            _ => PageTrackVerdict.Retry,
        };
    }

    /// <summary>Nothing has made the event pointless since it was decided on: what was accessed is still restricted or watched.</summary>
    public bool IsEventDue => _pendingEvent is not (EventId.PageFault or EventId.Access) || IsAccessDenied;

    private bool IsAccessDenied => session.Vm.AccessMap.Denies(_accessedGpa, _accessLength, _accessKind);

    private EventOutcome SendAccess(in PageTrackAccess access)
    {
        AccessEvent detailed = default;
        detailed.Gva = access.Gva;
        detailed.Gpa = access.Gpa;
        detailed.Access = access.Kind;
        detailed.Size = (ushort)access.Length;
        detailed.IsWatch = (session.Vm.AccessMap.Denied(access.Gpa.Frame.Value) & access.Kind) == 0;
        int shown = Math.Min(access.Length, AccessData.Size);
        _ = session.Vm.Memory.TryRead(access.Gpa, ((Span<byte>)detailed.Current)[..shown]);
        if (!access.NewData.IsEmpty)
        {
            detailed.IsNewKnown = true;
            access.NewData[..Math.Min(access.NewData.Length, shown)].CopyTo(detailed.New);
        }

        return Send(detailed);
    }

    private void Accept(in PageTrackAccess access, in PageFaultReply reply, bool isDetailed)
    {
        if (reply.CompletesRepeat)
            NoteRepeat(access.Kind, reply);
        Supply(access, reply, isDetailed);
    }

    private static void Supply(in PageTrackAccess access, in PageFaultReply reply, bool isDetailed)
    {
        // Where the details are not known there is nothing to say about writes and fetches.
        if (access.Answer is not { } answer || (!isDetailed && access.Kind != PageAccess.Read))
            return;
        if (isDetailed && reply.Discards && access.Kind == PageAccess.Write)
            answer.Discard();
        ReadOnlySpan<byte> data = reply.Data;
        if (reply.DataSize != 0)
            answer.Supply(reply.DataAddress, data[..(int)Math.Min(reply.DataSize, PageFaultReply.MaxDataSize)]);
    }

    /// <summary>The tool said about this string instruction that it wants no event for each element.</summary>
    private bool IsPartOfCompletedRepeat(in PageTrackAccess access)
    {
        if ((_repeatKinds & access.Kind) == 0)
            return false;
        vcpu.GetRegisters(out KvmRegs registers);
        if (registers.Rip == _repeatRip && registers.Rcx < _repeatCount)
        {
            _repeatCount = registers.Rcx;
            Supply(access, _repeatReply, IsEnabled(EventId.Access));
            return true;
        }

        _repeatKinds = PageAccess.None; // that instruction is over
        return false;
    }

    private void NoteRepeat(PageAccess kind, in PageFaultReply reply)
    {
        vcpu.GetRegisters(out KvmRegs registers);
        if (_repeatRip != registers.Rip || _repeatCount < registers.Rcx)
            _repeatKinds = PageAccess.None;
        _repeatRip = registers.Rip;
        _repeatCount = registers.Rcx;
        _repeatKinds |= kind;
        _repeatReply = reply;
    }
}
