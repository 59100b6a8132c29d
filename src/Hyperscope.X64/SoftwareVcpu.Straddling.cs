using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>Instructions whose bytes lie on two pages, each a block of its own.</summary>
/// <remarks>Such a block is filed under its first byte like any other. What else it depends on is looked at whenever it is looked up: that the
/// second page may be executed, is the frame that the block was decoded from, and has no watches. Between two lookups a link leads to it, which
/// holds as long as no translation of either page ends: both are noted as pages that links lead to. And it is listed under both frames, so a
/// write into either drops it.</remarks>
public sealed unsafe partial class SoftwareVcpu
{
    // The op, perhaps one that falls through, the exit, and the second frame.
    private const int StraddlingSlots = 4, SecondFrameSlot = 3;

    private static ulong NextPage(ulong linear, CodeSize codeSize) =>
        ((linear | 0xFFF) + 1) & (codeSize == CodeSize.Bits64 ? ulong.MaxValue : 0xFFFF_FFFF);

    /// <summary>Looks whether a block is still what is at its address. False: the fetch stopped.</summary>
    private bool TryCheckStraddling(Op* block, ulong linear, CodeSize codeSize, out bool isCurrent)
    {
        isCurrent = false;
        if (!TryFetchPage(NextPage(linear, codeSize), out _, out ulong gpa, out ulong guestFrame))
            return false;
        isCurrent = *(ulong*)(block + SecondFrameSlot) == gpa >> 12 && _map.ExecuteWatchVersion(guestFrame) == 0;
        return true;
    }

    // The bytes are those on the first page, which are not watched.
    private Op* BuildStraddling(ReadOnlySpan<byte> bytes, ulong gpa, ulong linear, ulong rip, CodeSize codeSize, out bool isLinkable)
    {
        isLinkable = false;
        if (!TryFetchPage(NextPage(linear, codeSize), out byte* rest, out ulong restGpa, out ulong guestFrame))
            return null;
        ulong frame = restGpa >> 12;
        if (!Group.Code.IsSettled(frame))
        {
            Group.ProtectCode(frame);
            return Chain.Leave(_c, rip); // guest mode was left: all that was translated may have changed
        }

        // Tracked before it is read, so that no write goes unnoticed.
        Group.Code.Add(frame, CodeTracker.Mask(0, Decoder.MaxLength));
        Span<byte> whole = stackalloc byte[Decoder.MaxLength];
        bytes.CopyTo(whole);
        new ReadOnlySpan<byte>(rest, Decoder.MaxLength - bytes.Length).CopyTo(whole[bytes.Length..]);
        if (_map.ExecuteWatchVersion(guestFrame) != 0 || Decoder.Decode(whole, codeSize, rip, out Insn insn) != DecodeOutcome.Ok)
        {
            _c->Stop = StopReason.RunAlone;
            return null;
        }

        Op* op = _blocks.Reserve();
        EmitSingle(op, insn, codeSize);
        op->Bits |= OpBits.CrossesPage;
        *(ulong*)(op + SecondFrameSlot) = frame;
        isLinkable = true;
        return _blocks.Add(gpa, linear, (byte)codeSize, variant: 0, StraddlingSlots, frame);
    }
}
