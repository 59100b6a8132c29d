using Hyperscope.Vm;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>Accesses that miss the translation cache, cross a page, reach a device or meet a restricted frame.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    // A resolved read-modify-write or staged write waiting for its commit.
    private readonly Piece[] _pieces = new Piece[3];
    private int _pieceCount;
    private ulong _stagedLinear;
    private int _stagedSize;

    // True while one instruction runs by itself; it may then write to decoded code.
    private bool _isAlone;

    // The instruction must run (runs) while no other vCPU is in guest mode.
    private bool _mustRunExclusive, _isExclusive;

    /// <summary>One part of an access: on one page, in memory or on the bus.</summary>
    private struct Piece
    {
        /// <summary>Host address, or null: a device.</summary>
        public byte* Host;
        public ulong Gpa;

        /// <summary>Frame whose memory it is.</summary>
        public ulong Frame;
        public int Length;
        public bool IsReadOnly, IsCode;
    }

    /// <summary>Reads up to 4096 bytes; gives a pointer into memory or to <see cref="CpuState.Staging"/>, or null when stopped.</summary>
    internal byte* ReadSlow(Op* op, ulong linear, int size, Privilege privilege = Privilege.Current)
    {
        if (privilege == Privilege.Current && _c->Stop == StopReason.None)
        {
            // Instructions that always come here, such as IRET, hit the translation cache as a rule.
            byte* host = Mem.Readable(_c, linear);
            if (host != null && (linear & 0xFFF) + (ulong)size <= 4096)
                return host;
        }

        if (!Resolve(op, linear, size, PageAccess.Read, privilege, default))
            return null;
        bool isSupplied = _answers != 0 && HasAnswer(PageAccess.Read, linear, size);
        if (_pieceCount == 1 && _pieces[0].Host != null && !isSupplied)
            return _pieces[0].Host;
        ReadPieces();
        if (isSupplied)
            ApplyData(PageAccess.Read, linear, _c->Staging, size);
        return _c->Staging;
    }

    /// <summary>Resolves a read-modify-write. The pointer is to be loaded from and stored to, then <see cref="CommitStaged"/> if it is Staging.</summary>
    internal byte* ModifySlow(Op* op, ulong linear, int size)
    {
        // The processor checks for the write first: a page that is not writable faults with W = 1 before anything is read.
        if (!Probe(op, linear, size, PageAccess.Write, Privilege.Current)
            || !Resolve(op, linear, size, PageAccess.Read, Privilege.Current, default)
            || !ResolveModified(op, linear, size))
        {
            return null;
        }

        ref Piece only = ref _pieces[0];
        bool isAnswered = _answers != 0 && (HasAnswer(PageAccess.Read, linear, size) || HasAnswer(PageAccess.Write, linear, size));
        if (_pieceCount == 1 && only.Host != null && !only.IsCode && !only.IsReadOnly && !isAnswered && !_isRehearsal)
            return only.Host;

        // Two pages, memory whose decoded code must go, or somebody else's data cannot be updated in one atomic step.
        if ((_pieceCount > 1 || only.IsCode || isAnswered) && !_isRehearsal && MustBeExclusive(op))
            return null;

        ReadPieces();
        if (isAnswered)
            ApplyData(PageAccess.Read, linear, _c->Staging, size);
        _stagedLinear = linear;
        _stagedSize = size;
        return _c->Staging;
    }

    /// <summary>Has an instruction run again while no other vCPU does. False: that is so already, or there is no other.</summary>
    internal bool MustBeExclusive(Op* op)
    {
        if (_isExclusive || Group.Vcpus.Count == 1)
            return false;
        _mustRunExclusive = true;
        _ = _c->StopAt(op, StopReason.RunAlone);
        return true;
    }

    /// <summary>Writes the first <paramref name="size"/> bytes of Staging, up to 4096. False: stopped, nothing written.</summary>
    internal bool WriteStaged(Op* op, ulong linear, int size, Privilege privilege = Privilege.Current)
    {
        if (!Resolve(op, linear, size, PageAccess.Write, privilege, new ReadOnlySpan<byte>(_c->Staging, size)))
            return false;
        _stagedLinear = linear;
        _stagedSize = size;
        CommitStaged();
        return true;
    }

    /// <summary>Checks a write without making it: guest rights, restrictions, everything that could stop it later.</summary>
    internal bool ProbeWrite(Op* op, ulong linear, int size, Privilege privilege = Privilege.Current) =>
        Resolve(op, linear, size, PageAccess.Write, privilege, default);

    /// <summary>Checks a read without making it.</summary>
    internal bool ProbeRead(Op* op, ulong linear, int size) => Resolve(op, linear, size, PageAccess.Read, Privilege.Current, default);

    /// <summary>Carries Staging to the resolved pieces.</summary>
    internal void CommitStaged()
    {
        if (_isRehearsal)
        {
            NoteRehearsedData();
            return;
        }

        if (_answers != 0 && HasAnswer(PageAccess.Write, _stagedLinear, _stagedSize))
        {
            if (IsDiscarded())
                return;
            ApplyData(PageAccess.Write, _stagedLinear, _c->Staging, _stagedSize);
        }

        byte* source = _c->Staging;
        for (int index = 0; index < _pieceCount; index++)
        {
            Piece piece = _pieces[index];
            if (piece.Host == null)
                WriteDevice(piece.Gpa, source, piece.Length);
            else if (!piece.IsReadOnly)
                CopyToGuest(piece.Host, source, piece.Length);
            source += piece.Length;
        }

        for (int index = 0; index < _pieceCount; index++)
        {
            if (_pieces[index] is { IsCode: true, IsReadOnly: false })
                Group.InvalidateCode(_pieces[index].Frame);
        }
    }

    private void ReadPieces()
    {
        byte* destination = _c->Staging;
        for (int index = 0; index < _pieceCount; index++)
        {
            Piece piece = _pieces[index];
            if (piece.Host == null)
                ReadDevice(piece.Gpa, destination, piece.Length);
            else
                CopyFromGuest(destination, piece.Host, piece.Length);
            destination += piece.Length;
        }
    }

    // Aligned pieces of up to 8 bytes are single accesses, as other vCPUs expect; longer ones are copied.
    private static void CopyToGuest(byte* guest, byte* source, int length)
    {
        switch (length)
        {
            case 8: *(ulong*)guest = *(ulong*)source; break;
            case 4: *(uint*)guest = *(uint*)source; break;
            case 2: *(ushort*)guest = *(ushort*)source; break;
            case 1: *guest = *source; break;
            default: Buffer.MemoryCopy(source, guest, length, length); break;
        }
    }

    private static void CopyFromGuest(byte* destination, byte* guest, int length) => CopyToGuest(destination, guest, length);

    private void ReadDevice(ulong gpa, byte* destination, int length)
    {
        while (length > 0)
        {
            int size = DeviceAccessSize(gpa, length);
            ulong value = Bus.ReadMemory(new Gpa(gpa), size);
            for (int index = 0; index < size; index++)
                destination[index] = (byte)(value >> (8 * index));
            gpa += (ulong)size;
            destination += size;
            length -= size;
        }
    }

    private void WriteDevice(ulong gpa, byte* source, int length)
    {
        while (length > 0)
        {
            int size = DeviceAccessSize(gpa, length);
            ulong value = 0;
            for (int index = 0; index < size; index++)
                value |= (ulong)source[index] << (8 * index);
            Bus.WriteMemory(new Gpa(gpa), size, value);
            gpa += (ulong)size;
            source += size;
            length -= size;
        }
    }

    private static int DeviceAccessSize(ulong gpa, int length) =>
        length >= 8 && (gpa & 7) == 0 ? 8 : length >= 4 && (gpa & 3) == 0 ? 4 : length >= 2 && (gpa & 1) == 0 ? 2 : 1;

    /// <summary>Finds the pieces of an access, checking everything that can stop it, and caches translations on the way.</summary>
    private bool Resolve(Op* op, ulong linear, int size, PageAccess kind, Privilege privilege, ReadOnlySpan<byte> newData)
    {
        if (_c->Stop != StopReason.None)
            return false; // the address computation has already faulted
        _pieceCount = 0;
        int done = 0;
        while (done < size)
        {
            ulong address = linear + (ulong)done;
            if (!_c->Is64Bit && !_c->IsLongMode)
                address &= 0xFFFF_FFFF;
            int length = Math.Min(size - done, 4096 - (int)(address & 0xFFF));
            if (!ResolvePiece(op, address, length, kind, privilege, newData.IsEmpty ? default : newData.Slice(done, length), ref _pieces[_pieceCount]))
                return false;
            _pieceCount++;
            done += length;
        }

        return true;
    }

    /// <summary>Only the guest's own rights, for each page of an access; caches nothing.</summary>
    private bool Probe(Op* op, ulong linear, int size, PageAccess kind, Privilege privilege)
    {
        if (_c->Stop != StopReason.None)
            return false;
        Translation translation = default;
        for (ulong address = linear; ; address = (address | 0xFFF) + 1)
        {
            ulong wrapped = _c->IsLongMode ? address : address & 0xFFFF_FFFF;
            if (!Translate(op, wrapped, kind, privilege, ref translation))
                return false;
            if ((address | 0xFFF) - linear >= (ulong)size - 1)
                return true;
        }
    }

    /// <summary>The guest's own rights for an access inside one page. False: stopped.</summary>
    internal bool Translate(Op* op, ulong linear, PageAccess kind, Privilege privilege, ref Translation translation)
    {
        if (!IsCanonical(linear))
            return op != null && (op->Bits & OpBits.StackSegment) != 0 && privilege == Privilege.Current
                ? StopWith(op, X64.Vector.StackFault, 0) : StopWith(op, X64.Vector.GeneralProtection, 0);
        _isImplicitAccess = privilege == Privilege.System;
        bool isUser = _c->Cpl == 3 && privilege == Privilege.Current;
        bool ok = Walk(linear, kind, isUser, ignoreRights: false, ref translation, out uint errorCode);
        _isImplicitAccess = false;
        if (ok)
            return true;
        _ = StopWith(op, X64.Vector.PageFault, errorCode);
        _c->Fault.Address = linear;
        return false;
    }

    private bool StopWith(Op* op, byte vector, uint errorCode)
    {
        if (op != null)
            return _c->Raise(op, vector, errorCode, hasErrorCode: true);
        _c->Fault = new FaultInfo { Vector = vector, ErrorCode = errorCode, HasErrorCode = true };
        _c->Stop = StopReason.Fault;
        return false;
    }

    private bool ResolvePiece(Op* op, ulong linear, int length, PageAccess kind, Privilege privilege, ReadOnlySpan<byte> newData, ref Piece piece)
    {
        Translation translation = default;
        if (!Translate(op, linear, kind, privilege, ref translation))
            return false;
        ulong gfn = translation.Gpa >> 12;
        ulong frame = _view.Backing(gfn);
        piece = new Piece { Gpa = translation.Gpa, Frame = frame, Length = length };
        if (!Group.Memory.TryGetHostPage(frame, out nint page, out bool isReadOnly))
            return true; // a device
        ulong pieces = kind == PageAccess.Write ? DecodedPieces(frame) : 0;
        PageAccess denied = _map.Denied(gfn, out WatchedBytes? watched);
        bool isDenied = (denied & kind) != 0;
        if (isDenied ? !IsApproved(translation.Gpa, length, kind, isWatch: false)
            : (DataKinds(watched) & kind) != 0 && IsStoppedByWatch(watched!, translation.Gpa, length, kind))
        {
            if (!Block(op, linear, translation.Gpa, kind, length, newData, isWatch: !isDenied))
                return false;
        }

        if (kind == PageAccess.Write && pieces != 0 && !isReadOnly
            && (pieces & CodeTracker.Mask((int)(translation.Gpa & 0xFFF), length)) != 0)
        {
            if (!_isAlone)
                return MustRunAlone(op);
            piece.IsCode = true;
        }

        if (_hasDataBreakpoints && kind != PageAccess.Execute && op != null && HitsDataBreakpoint(linear, length, kind == PageAccess.Write))
        {
            if (!_isAlone)
                return MustRunAlone(op); // the trap comes right behind the instruction
            NoteDataBreakpoints(linear, length, kind == PageAccess.Write);
        }

        piece.Host = (byte*)page + (translation.Gpa & 0xFFF);
        piece.IsReadOnly = isReadOnly;
        if (privilege == Privilege.Current)
            CacheTranslation(linear, translation, frame, (byte*)page, denied | DataKinds(watched), isReadOnly);
        return true;
    }

    private void CacheTranslation(ulong linear, in Translation translation, ulong frame, byte* page, PageAccess denied, bool isReadOnly)
    {
        if (translation.IsExecutable)
            NoteCodePage(linear, translation.IsGlobal);
        if (_hasDataBreakpoints && IsWatchedPage(linear))
            return;
        ulong tag = linear >> 12;
        TlbEntry* entry = _c->Tlb + (tag & Tlb.IndexMask);
        _tlb.NoteFill(entry, translation.IsGlobal);
        bool canRead = (denied & PageAccess.Read) == 0;

        // Write without read cannot be expressed by hardware either: rights 2 and 6 act as 0 and 4 (kvmi-abi.md 5.1).
        bool canWrite = canRead && translation.IsWritable && (denied & PageAccess.Write) == 0 && !isReadOnly && !HasCode(frame);
        bool canExecute = translation.IsExecutable && (denied & PageAccess.Execute) == 0;
        entry->ReadTag = canRead ? tag : TlbEntry.NoPage;
        entry->WriteTag = canWrite ? tag : TlbEntry.NoPage;
        entry->ExecuteTag = canExecute ? tag : TlbEntry.NoPage;
        entry->Addend = (long)page - (long)(linear & ~0xFFFUL);
        _tlb.Frame(entry) = frame;
        _tlb.GuestFrame(entry) = translation.Gpa >> 12;
    }

    // A vCPU that still has blocks of a frame treats it as code, even while another vCPU is making the frame data.
    private bool HasCode(ulong gfn) => Group.Code.IsCode(gfn) || _blocks.HasFrame(gfn);

    private ulong DecodedPieces(ulong gfn) => _blocks.HasFrame(gfn) && !Group.Code.IsCode(gfn) ? ulong.MaxValue : Group.Code.Pieces(gfn);

    private bool MustRunAlone(Op* op)
    {
        if (op != null)
            return _c->StopAt(op, StopReason.RunAlone);
        _c->Stop = StopReason.RunAlone;
        return false;
    }
}
