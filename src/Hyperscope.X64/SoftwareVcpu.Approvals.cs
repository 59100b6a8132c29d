using System.Diagnostics;
using Hyperscope.Vm;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>Accesses that met a restriction or a watch: what an observer is told, and what it said.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    private const int MaxApprovals = 64;

    // Accesses of the current instruction that an observer let through in spite of a restriction.
    private readonly Approval[] _approvals = new Approval[MaxApprovals];
    private readonly PageTrackAnswer _answer = new();
    private int _approvalCount;

    // An access was let through and is carried out next. An interrupt in between would forget that, and the observer be asked twice.
    private bool _isJustApproved;

    // How many of them bring data, or discard a write. Their bytes have a place for each approval.
    private int _answers;
    private byte[]? _answerData;

    // The access that stopped the instruction.
    private Gva _blockedGva;
    private Gpa _blockedGpa;
    private PageAccess _blockedKind;
    private int _blockedLength;
    private bool _blockedByWatch;
    private readonly byte[] _blockedData = new byte[4096];
    private int _blockedDataLength;

    // A read-modify-write whose write was stopped is carried out in Staging only, to find out what it would store.
    private bool _isRehearsal;
    private readonly ulong[] _registersBeforeRehearsal = new ulong[19];
    private ulong _ripBeforeRehearsal;

    private struct Approval
    {
        public ulong Gpa, DataAddress;
        public int Length, DataLength;
        public PageAccess Kind;
        public bool IsWatch, IsDiscard;

        /// <summary>It has an answer that belongs to this one access and no other.</summary>
        public readonly bool HasAnswer => IsDiscard || DataLength != 0;
    }

    private static PageAccess DataKinds(WatchedBytes? watched) =>
        watched is null ? PageAccess.None : watched.Kinds & (PageAccess.Read | PageAccess.Write);

    private bool IsStoppedByWatch(WatchedBytes watched, ulong gpa, int length, PageAccess kind)
    {
        if (watched.Overlaps(kind, (int)(gpa & 0xFFF), length))
            return !IsApproved(gpa, length, kind, isWatch: true);
        Group.Memory.PageTracker.CountPassed(Index);
        return false;
    }

    /// <summary>An approval of a restricted frame is for every access of that kind by the instruction; one of watched bytes, or with an
    /// answer, for the access that was asked about.</summary>
    private bool IsApproved(ulong gpa, int length, PageAccess kind, bool isWatch)
    {
        for (int index = 0; index < _approvalCount; index++)
        {
            ref Approval approval = ref _approvals[index];
            if (approval.Kind != kind || approval.Gpa >> 12 != gpa >> 12)
                continue;
            bool isWholeFrame = !approval.IsWatch && (!approval.HasAnswer || kind == PageAccess.Execute);
            if (isWholeFrame || (kind == PageAccess.Execute && approval.Gpa == gpa) || (approval.Gpa <= gpa && gpa + (ulong)length <= approval.Gpa + (ulong)approval.Length))
                return true;
        }

        return false;
    }

    private void Approve()
    {
        if (_approvalCount == MaxApprovals)
            return;
        ref Approval approval = ref _approvals[_approvalCount];
        approval = new Approval { Gpa = _blockedGpa.Value, Length = _blockedLength, Kind = _blockedKind, IsWatch = _blockedByWatch };
        if (!_answer.IsEmpty)
        {
            approval.IsDiscard = _answer.IsDiscard && _blockedKind == PageAccess.Write;
            approval.DataAddress = _answer.Address.Value;
            approval.DataLength = _answer.Data.Length;
            _answerData ??= new byte[MaxApprovals * PageTrackAnswer.MaxData];
            _answer.Data.CopyTo(_answerData.AsSpan(_approvalCount * PageTrackAnswer.MaxData));
            if (approval.HasAnswer)
                _answers++;
        }

        _approvalCount++;
    }

    private void ForgetApprovals()
    {
        _approvalCount = _answers = 0;
        _isJustApproved = false;
    }

    /// <summary>Between two elements of a repeated instruction: it was let execute, and goes on doing so.</summary>
    private void ForgetDataApprovals()
    {
        int kept = 0;
        _answers = 0;
        for (int index = 0; index < _approvalCount; index++)
        {
            Approval approval = _approvals[index];
            if (approval.Kind != PageAccess.Execute)
                continue;
            if (approval.HasAnswer)
            {
                _answers++;
                _answerData.AsSpan(index * PageTrackAnswer.MaxData, approval.DataLength).CopyTo(_answerData.AsSpan(kept * PageTrackAnswer.MaxData));
            }

            _approvals[kept++] = approval;
        }

        _approvalCount = kept;
    }

    /// <summary>Some byte of an access has an answer. Only where there are answers.</summary>
    private bool HasAnswer(PageAccess kind, ulong linear, int size)
    {
        for (int index = 0; index < _approvalCount; index++)
        {
            ref Approval approval = ref _approvals[index];
            if (approval.Kind == kind
                && (approval.IsDiscard ? IsResolved(approval) : approval.DataLength != 0 && Overlaps(approval, linear, size)))
            {
                return true;
            }
        }

        return false;
    }

    private bool IsDiscarded()
    {
        for (int index = 0; index < _approvalCount; index++)
        {
            ref Approval approval = ref _approvals[index];
            if (approval.IsDiscard && IsResolved(approval))
                return true;
        }

        return false;
    }

    // The access that was asked about is one of the pieces that were just resolved.
    private bool IsResolved(in Approval approval)
    {
        for (int index = 0; index < _pieceCount; index++)
        {
            ref Piece piece = ref _pieces[index];
            if (approval.Gpa <= piece.Gpa && piece.Gpa + (ulong)piece.Length <= approval.Gpa + (ulong)approval.Length)
                return true;
        }

        return false;
    }

    private static bool Overlaps(in Approval approval, ulong linear, int size)
    {
        long distance = (long)(approval.DataAddress - linear);
        return distance < size && distance > -approval.DataLength;
    }

    /// <summary>Puts the bytes that observers supplied in place of an access's own.</summary>
    private void ApplyData(PageAccess kind, ulong linear, byte* bytes, int size)
    {
        for (int index = 0; index < _approvalCount; index++)
        {
            ref Approval approval = ref _approvals[index];
            if (approval.Kind != kind || approval.DataLength == 0 || !Overlaps(approval, linear, size))
                continue;
            long distance = (long)(approval.DataAddress - linear);
            int from = (int)Math.Max(-distance, 0), to = (int)Math.Max(distance, 0);
            int count = Math.Min(approval.DataLength - from, size - to);
            _answerData.AsSpan((index * PageTrackAnswer.MaxData) + from, count).CopyTo(new Span<byte>(bytes + to, count));
        }
    }

    private bool Block(Op* op, ulong linear, ulong gpa, PageAccess kind, int length, ReadOnlySpan<byte> newData, bool isWatch)
    {
        if (_isRehearsal)
            return true; // another piece of the write that is being found out about
        _blockedGva = new Gva(linear);
        _blockedGpa = new Gpa(gpa);
        _blockedKind = kind;
        _blockedLength = length;
        _blockedByWatch = isWatch;
        newData.CopyTo(_blockedData);
        _blockedDataLength = newData.Length;
        if (_isModify)
        {
            if (!_isAlone)
                return MustRunAlone(op);
            BeginRehearsal(op);
            return true;
        }

        if (op != null)
            return _c->StopAt(op, StopReason.PageAccess);
        _c->Stop = StopReason.PageAccess;
        return false;
    }

    /// <summary>The write of a read-modify-write. What it stores is not known yet: if it is stopped, the instruction runs on without touching memory, and is
    /// taken back at its end.</summary>
    private bool ResolveModified(Op* op, ulong linear, int size)
    {
        _isModify = true;
        bool isResolved = Resolve(op, linear, size, PageAccess.Write, Privilege.Current, default);
        _isModify = false;
        return isResolved;
    }

    private bool _isModify;

    private void BeginRehearsal(Op* op)
    {
        // Such instructions change general registers and flags only, and nothing of it has happened yet.
        Debug.Assert(op != null, "a read-modify-write of nobody");
        new ReadOnlySpan<ulong>(_c->R, 17).CopyTo(_registersBeforeRehearsal);
        _registersBeforeRehearsal[17] = _c->FlagResult;
        _registersBeforeRehearsal[18] = _c->FlagAux;
        _ripBeforeRehearsal = op->Rip;
        _isRehearsal = true;
    }

    private void NoteRehearsedData()
    {
        int offset = (int)((_blockedGva.Value - _stagedLinear) & 0xFFF); // such operands are short, and may wrap at 4 GiB
        new ReadOnlySpan<byte>(_c->Staging + offset, _blockedLength).CopyTo(_blockedData);
        _blockedDataLength = _blockedLength;
    }

    /// <summary>Takes a rehearsed instruction back: it was stopped by its write, and nothing of it has happened.</summary>
    private void EndRehearsal(long budgetBefore)
    {
        _isRehearsal = false;
        new ReadOnlySpan<ulong>(_registersBeforeRehearsal, 0, 17).CopyTo(new Span<ulong>(_c->R, 17));
        _c->FlagResult = _registersBeforeRehearsal[17];
        _c->FlagAux = _registersBeforeRehearsal[18];
        _c->Rip = _ripBeforeRehearsal;
        _c->Budget = budgetBefore;
        _c->Stop = StopReason.PageAccess;
    }

    /// <summary>Whether an instruction may be executed as far as watched bytes are concerned. False: stopped.</summary>
    /// <param name="linear">Its first byte.</param>
    /// <param name="gpa">The same, physical.</param>
    /// <param name="available">Bytes from there to the end of the page.</param>
    /// <param name="secondGpa">Where it goes on, if it is longer than that.</param>
    /// <param name="length">Its length.</param>
    private bool PassesExecuteWatches(ulong linear, ulong gpa, int available, ulong secondGpa, int length)
    {
        int first = Math.Min(length, available);
        return PassesExecuteWatch(linear, gpa, first)
            && (length <= available || PassesExecuteWatch(linear + (ulong)available, secondGpa, length - available));
    }

    private bool PassesExecuteWatch(ulong linear, ulong gpa, int length)
    {
        _ = _map.Denied(gpa >> 12, out WatchedBytes? watched);
        if (watched is null || !watched.Overlaps(PageAccess.Execute, (int)(gpa & 0xFFF), length)
            || IsApproved(gpa, length, PageAccess.Execute, isWatch: true))
        {
            return true;
        }

        return Block(null, linear, gpa, PageAccess.Execute, length, default, isWatch: true);
    }
}
