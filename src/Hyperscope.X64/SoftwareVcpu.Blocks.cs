using Hyperscope.Vm;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;
using Hyperscope.X64.Instructions;

namespace Hyperscope.X64;

/// <summary>From an instruction pointer to decoded code.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    private CodeSize CurrentCodeSize => _c->Is64Bit ? CodeSize.Bits64 : _c->Cs.Default32 ? CodeSize.Bits32 : CodeSize.Bits16;

    /// <summary>The block at an instruction pointer, decoded if need be; null when the fetch stopped (rip is then set).</summary>
    internal Op* FindBlock(ulong rip, out bool isLinkable)
    {
        isLinkable = false;
        _lookups++;
        _c->Rip = rip;
        if (!TryLinearRip(rip, out ulong linear))
            return null;
        while (true)
        {
            if (!TryFetchPage(linear, out byte* code, out ulong gpa, out ulong guestFrame))
                return null;
            CodeSize codeSize = CurrentCodeSize;
            long variant = _map.ExecuteWatchVersion(guestFrame);
            Op* block = _blocks.Find(gpa, linear, (byte)codeSize, variant);
            if (block != null)
            {
                bool isCurrent = (block->Bits & OpBits.CrossesPage) == 0;
                if (!isCurrent && !TryCheckStraddling(block, linear, codeSize, out isCurrent))
                    return null;
                if (isCurrent)
                {
                    isLinkable = true;
                    return block;
                }
            }

            if (_blocks.IsFull)
            {
                _mustClearBlocks = true;
                return Chain.Leave(_c, rip);
            }

            if (!Group.Code.IsSettled(gpa >> 12))
            {
                Group.ProtectCode(gpa >> 12);
                if (_kicked)
                    return Chain.Leave(_c, rip); // guest mode was left: somebody may count on it
                continue; // mappings may have changed meanwhile
            }

            _builds++;
            return Build(code, gpa, guestFrame, linear, rip, codeSize, variant, out isLinkable);
        }
    }

    private bool _mustClearBlocks;
    private long _lookups, _builds;

    private bool TryLinearRip(ulong rip, out ulong linear)
    {
        if (_c->Is64Bit)
        {
            linear = rip;
            return IsCanonical(rip) || StopWith(null, X64.Vector.GeneralProtection, 0);
        }

        linear = (rip + _c->Cs.Base) & 0xFFFF_FFFF;
        return rip <= _c->Cs.Limit || StopWith(null, X64.Vector.GeneralProtection, 0);
    }

    /// <summary>Translates for execution; the physical address is that of the memory behind the frame. False: a fault, a restriction, or (RunAlone) an access that must not be cached.</summary>
    private bool TryFetchPage(ulong linear, out byte* code, out ulong gpa, out ulong guestFrame)
    {
        TlbEntry* entry = _c->Tlb + ((linear >> 12) & Tlb.IndexMask);
        if (entry->ExecuteTag != linear >> 12)
        {
            Piece piece = default;
            code = null;
            gpa = guestFrame = 0;
            if (!ResolvePiece(null, linear, 1, PageAccess.Execute, Privilege.Current, default, ref piece))
                return false;
            if (entry->ExecuteTag != linear >> 12)
            {
                _c->Stop = StopReason.RunAlone; // approved once, watched by a breakpoint, or not memory: never cached
                return false;
            }
        }

        code = (byte*)linear + entry->Addend;
        gpa = (_tlb.Frame(entry) << 12) | (linear & 0xFFF);
        guestFrame = _tlb.GuestFrame(entry);
        return true;
    }

    // A block ends in front of an instruction with a byte that is watched for execution; that one is executed alone, each time. Blocks are filed
    // under the version of the watches they were made with, so a change of watches leads to other blocks.
    private Op* Build(byte* code, ulong gpa, ulong guestFrame, ulong linear, ulong rip, CodeSize codeSize, long variant, out bool isLinkable)
    {
        isLinkable = false;
        WatchedBytes? watched = null;
        if (variant != 0)
            _ = _map.Denied(guestFrame, out watched);
        Op* first = _blocks.Reserve();
        Op* op = first;
        int count = 0, offset = 0, available = 4096 - (int)(gpa & 0xFFF);
        Insn previous = new() { Row = OpcodeRow.None };
        while (true)
        {
            var bytes = new ReadOnlySpan<byte>(code + offset, Math.Min(Decoder.MaxLength, available - offset));
            ulong wanted = bytes.IsEmpty ? 0 : CodeTracker.Mask((int)(gpa & 0xFFF) + offset, bytes.Length);
            if (wanted != 0)
                Group.Code.Add(gpa >> 12, wanted);
            DecodeOutcome outcome = DecodeOutcome.NeedMore;
            Insn insn = new() { Row = OpcodeRow.None };
            ulong ip = (rip + (ulong)offset) & (codeSize == CodeSize.Bits64 ? ulong.MaxValue : 0xFFFF_FFFF);
            if (!bytes.IsEmpty && count < BlockCache.MaxInstructions - 1)
                outcome = Decoder.Decode(bytes, codeSize, ip, out insn);
            if (watched is not null && !bytes.IsEmpty && outcome != DecodeOutcome.NeedMore
                && watched.Overlaps(PageAccess.Execute, (int)(gpa & 0xFFF) + offset, outcome == DecodeOutcome.Ok ? insn.Length : 1))
            {
                outcome = DecodeOutcome.NeedMore;
            }

            if (outcome == DecodeOutcome.NeedMore)
            {
                if (count == 0 && !bytes.IsEmpty && variant == 0)
                    return BuildStraddling(bytes, gpa, linear, rip, codeSize, out isLinkable);
                if (count == 0)
                {
                    _c->Stop = StopReason.RunAlone; // the frame is watched
                    return null;
                }

                op = EndWithFallThrough(op, ip, codeSize, count);
                break;
            }

            if (outcome != DecodeOutcome.Ok)
            {
                EmitInvalid(op, outcome, ip, codeSize, count);
                op = WriteExit(op, count + 1, 0, ip);
                break;
            }

            if (Moves.DoesNothing(insn))
            {
                count++;
                offset += insn.Length;
                previous = insn;
                continue;
            }

            OpEmitter.Emit(op, insn);
            op->Index = (byte)count;
            HandlerFuser? fuse = count > 0 && insn.Row.Has(RowFlags.ConditionalBranch) ? previous.Row.Fuse : null;
            delegate*<CpuState*, Op*, Op*> fused = fuse is null ? null : fuse(previous, insn.Opcode & 0xF);
            if (fused != null)
            {
                // The compare takes the branch with it; its own rip and index stay, for its memory operand may fault.
                op--;
                op->Handler = fused;
                op = WriteExit(op, count + 1, (ulong)insn.Immediate, insn.Rip + insn.Length);
                break;
            }

            count++;
            offset += insn.Length;
            if (insn.Row.Has(RowFlags.EndsBlock))
            {
                op = WriteExit(op, count, (ulong)insn.Immediate, (insn.Rip + insn.Length) & insn.RipMask);
                break;
            }

            previous = insn;
            op++;
        }

        isLinkable = true;
        return _blocks.Add(gpa, linear, (byte)codeSize, variant, (int)(op - first));
    }

    // A block of one instruction.
    private static void EmitSingle(Op* op, in Insn insn, CodeSize codeSize)
    {
        OpEmitter.Emit(op, insn);
        ulong next = (insn.Rip + insn.Length) & insn.RipMask;
        if (insn.Row.Has(RowFlags.EndsBlock))
            _ = WriteExit(op, 1, (ulong)insn.Immediate, next);
        else
            _ = EndWithFallThrough(op + 1, next, codeSize, 1);
    }

    private static void EmitInvalid(Op* op, DecodeOutcome outcome, ulong rip, CodeSize codeSize, int index)
    {
        *op = default;
        op->Rip = rip;
        op->Index = (byte)index;
        op->Bits = codeSize switch { CodeSize.Bits16 => OpBits.Code16, CodeSize.Bits32 => OpBits.Code32, _ => 0 };
        op->Handler = outcome == DecodeOutcome.TooLong ? &Faults.TooLong : &Faults.InvalidOpcode;
    }

    // Completes a terminator: how many instructions it retires, and where it can go. Returns the slot behind the exit.
    private static Op* WriteExit(Op* terminator, int retired, ulong taken, ulong next)
    {
        terminator->Bits |= (uint)retired << 24;
        *(BlockExit*)(terminator + 1) = new BlockExit { TakenRip = taken, NextRip = next };
        return terminator + 2;
    }

    private static Op* EndWithFallThrough(Op* op, ulong rip, CodeSize codeSize, int retired)
    {
        *op = default;
        op->Rip = rip;
        op->Index = (byte)retired;
        op->Bits = codeSize switch { CodeSize.Bits16 => OpBits.Code16, CodeSize.Bits32 => OpBits.Code32, _ => 0 };
        op->Handler = &Chain.Next;
        return WriteExit(op, retired, 0, rip);
    }

    /// <summary>Executes the instruction at rip by itself, without the block cache.</summary>
    private void ExecuteAlone()
    {
        ulong rip = _c->Rip;
        if (!TryLinearRip(rip, out ulong linear))
            return;
        byte* buffer = stackalloc byte[16];
        CodeSize codeSize = CurrentCodeSize;
        Piece piece = default;
        int length = Math.Min(Decoder.MaxLength, 4096 - (int)(linear & 0xFFF));
        if (!ResolvePiece(null, linear, length, PageAccess.Execute, Privilege.Current, default, ref piece))
            return;
        Fetch(piece, buffer);
        ulong gpa = piece.Gpa, secondGpa = 0;
        if (_answers != 0)
            ApplyData(PageAccess.Execute, linear, buffer, length);
        DecodeOutcome outcome = Decoder.Decode(new ReadOnlySpan<byte>(buffer, length), codeSize, rip, out Insn insn);
        if (outcome == DecodeOutcome.NeedMore)
        {
            ulong second = linear + (ulong)length;
            if (codeSize != CodeSize.Bits64)
                second &= 0xFFFF_FFFF;
            if (!ResolvePiece(null, second, Decoder.MaxLength - length, PageAccess.Execute, Privilege.Current, default, ref piece))
                return;
            Fetch(piece, buffer + length);
            secondGpa = piece.Gpa;
            if (_answers != 0)
                ApplyData(PageAccess.Execute, linear, buffer, Decoder.MaxLength);
            outcome = Decoder.Decode(new ReadOnlySpan<byte>(buffer, Decoder.MaxLength), codeSize, rip, out insn);
        }

        if (!PassesExecuteWatches(linear, gpa, length, secondGpa, outcome == DecodeOutcome.Ok ? insn.Length : 1))
            return;
        Op* op = _single;
        if (outcome != DecodeOutcome.Ok)
        {
            EmitInvalid(op, outcome, rip, codeSize, 0);
            if (Accelerator is { } accelerator)
            {
                StepOnHardware(accelerator, op);
                return;
            }
        }
        else
        {
            Accelerator?.Fetch(StateNeededBy(insn));
            EmitSingle(op, insn, codeSize);
        }

        // Attention makes whatever ends the instruction come back here instead of going on.
        _isAlone = true;
        long budgetBefore = _c->Budget;
        Volatile.Write(ref _c->Attention, long.MinValue);
        Op* result = op->Handler(_c, op);
        while (result != null)
            result = result->Handler(_c, result);
        _isAlone = false;
        if (_isRehearsal)
            EndRehearsal(budgetBefore);
    }

    private void Fetch(in Piece piece, byte* destination)
    {
        if (piece.Host != null)
            Buffer.MemoryCopy(piece.Host, destination, piece.Length, piece.Length);
        else
            ReadDevice(piece.Gpa, destination, piece.Length);
    }
}
