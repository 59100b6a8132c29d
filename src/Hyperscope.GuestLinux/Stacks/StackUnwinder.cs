namespace Hyperscope.GuestLinux;

/// <summary>Follows a stack of the kernel upwards.</summary>
/// <param name="memory">The stack.</param>
/// <param name="code">What is known of addresses.</param>
internal sealed class StackUnwinder(GuestReader memory, IStackCode code)
{
    public const int MaxFrames = 128;

    private const int ScannedBytes = 4096, MaxScanned = 24, CallLength = 7;

    // Offsets in struct pt_regs, which is part of the ABI of ptrace.
    private const int R13Offset = 16, BpOffset = 32, R10Offset = 56, DxOffset = 96, DiOffset = 112, IpOffset = 128, RegistersSize = 168;

    private readonly List<StackFrame> _frames = [];
    private readonly HashSet<(ulong, ulong)> _seen = [];

    /// <summary>Follows it from where a vCPU stands.</summary>
    public async ValueTask<CallStack> UnwindAsync(KvmRegs start, bool isUser, CancellationToken cancellation)
    {
        var at = new Position(start.Rip, start.Rsp, start.Rbp, start.R10, start.R13, start.Rdi, start.Rdx, HasRegisters: true);
        FrameSource source = FrameSource.Current;
        if (isUser)
        {
            _frames.Add(new StackFrame(new Gva(at.Ip), new Gva(at.Sp), "user mode", source));
            return new CallStack(_frames, "user mode", true);
        }

        while (true)
        {
            var ip = new Gva(at.Ip);
            _frames.Add(new StackFrame(ip, new Gva(at.Sp), await code.DescribeAsync(ip, cancellation).ConfigureAwait(false), source));
            if (_frames.Count == MaxFrames)
                return new CallStack(_frames, $"more than {MaxFrames} frames", false);
            if (!_seen.Add((at.Ip, at.Sp)))
                return new CallStack(_frames, "the stack runs in a circle", false);
            try
            {
                // A return address may be the first one behind its function.
                OrcEntry? entry = await code.FindAsync(source == FrameSource.Unwound ? new Gva(at.Ip - 1) : ip, cancellation).ConfigureAwait(false);
                if (entry is { Kind: OrcKind.End })
                    return new CallStack(_frames, "end of stack", true);
                if (entry is null or { Kind: OrcKind.Undefined })
                    return await ScanAsync(at, $"no unwind entry for {_frames[^1].Symbol}", cancellation).ConfigureAwait(false);
                (at, source) = await NextAsync(at, entry.Value, cancellation).ConfigureAwait(false);
            }
            catch (GuestAddressException missing)
            {
                return await ScanAsync(at, $"{missing.Gva} is not mapped", cancellation).ConfigureAwait(false);
            }
            catch (LinuxGuestException odd)
            {
                return await ScanAsync(at, odd.Message, cancellation).ConfigureAwait(false);
            }

            if (at.IsUser)
                return new CallStack(_frames, "user mode", true);
            if (!await code.IsCodeAsync(new Gva(at.Ip), cancellation).ConfigureAwait(false))
                return await ScanAsync(at, $"0x{at.Ip:x} is no code", cancellation).ConfigureAwait(false);
        }
    }

    private async ValueTask<(Position Next, FrameSource Source)> NextAsync(Position at, OrcEntry entry, CancellationToken cancellation)
    {
        ulong frame = entry.SpRegister switch
        {
            OrcRegister.Sp => at.Sp + Signed(entry.SpOffset),
            OrcRegister.Bp => at.Bp + Signed(entry.SpOffset),
            OrcRegister.SpIndirect => await WordAsync(at.Sp, cancellation).ConfigureAwait(false) + Signed(entry.SpOffset),
            OrcRegister.BpIndirect => await WordAsync(at.Bp + Signed(entry.SpOffset), cancellation).ConfigureAwait(false),
            OrcRegister.R10 when at.HasRegisters => at.R10 + Signed(entry.SpOffset),
            OrcRegister.R13 when at.HasRegisters => at.R13 + Signed(entry.SpOffset),
            OrcRegister.Di when at.HasRegisters => at.Di + Signed(entry.SpOffset),
            OrcRegister.Dx when at.HasRegisters => at.Dx + Signed(entry.SpOffset),
            _ => throw new LinuxGuestException($"the frame is relative to register {entry.SpRegister}, which is not known"),
        };
        ulong bp = entry.BpRegister switch
        {
            OrcRegister.PreviousSp => await WordAsync(frame + Signed(entry.BpOffset), cancellation).ConfigureAwait(false),
            OrcRegister.Bp => await WordAsync(at.Bp + Signed(entry.BpOffset), cancellation).ConfigureAwait(false),
            _ => at.Bp,
        };
        if (entry.Kind == OrcKind.Call)
        {
            ulong ip = await WordAsync(frame - 8, cancellation).ConfigureAwait(false);
            return (new Position(ip, frame, bp, 0, 0, 0, 0, HasRegisters: false), FrameSource.Unwound);
        }

        byte[] bytes = new byte[RegistersSize];
        bool isFull = entry.Kind == OrcKind.Registers;
        await memory.ReadAsync(new Gva(frame), bytes.AsMemory(isFull ? 0 : IpOffset), cancellation).ConfigureAwait(false);
        ulong Word(int offset) => BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(offset));
        bool isUndefined = entry.BpRegister == OrcRegister.Undefined;
        var next = new Position(
            Word(IpOffset), Word(IpOffset + 24), isFull && isUndefined ? Word(BpOffset) : bp, Word(R10Offset), Word(R13Offset), Word(DiOffset),
            Word(DxOffset), isFull)
        {
            IsUser = (Word(IpOffset + 8) & 3) == 3,
        };
        return (next, FrameSource.Interrupted);
    }

    // What lies on the stack and follows a call.
    private async ValueTask<CallStack> ScanAsync(Position at, string reason, CancellationToken cancellation)
    {
        byte[] stack = new byte[ScannedBytes];
        ulong start = (at.Sp + 7) & ~7UL;
        int length = await memory.TryReadAsync(new Gva(start), stack, cancellation).ConfigureAwait(false);
        byte[] before = new byte[CallLength];
        int found = 0;
        for (int offset = 0; offset + 8 <= length && found < MaxScanned; offset += 8)
        {
            var ip = new Gva(BinaryPrimitives.ReadUInt64LittleEndian(stack.AsSpan(offset)));
            if (!await code.IsCodeAsync(ip, cancellation).ConfigureAwait(false)
                || await memory.TryReadAsync(new Gva(ip.Value - CallLength), before, cancellation).ConfigureAwait(false) != before.Length || !FollowsCall(before))
            {
                continue;
            }

            string symbol = await code.DescribeAsync(ip, cancellation).ConfigureAwait(false);
            _frames.Add(new StackFrame(ip, new Gva(start + (ulong)offset + 8), symbol, FrameSource.Scanned));
            found++;
        }

        return new CallStack(_frames, reason, false);
    }

    /// <summary>Whether 7 bytes end with a call: <c>call rel32</c>, or <c>call r/m64</c> of 2 to 7 bytes.</summary>
    internal static bool FollowsCall(ReadOnlySpan<byte> before)
    {
        if (before.Length < CallLength)
            return false;
        if (before[^5] == 0xe8)
            return true;
        for (int length = 2; length <= CallLength; length++)
        {
            // ff /2, with or without a REX prefix in front
            if (before[^length] == 0xff && (before[^(length - 1)] >> 3 & 7) == 2)
                return true;
        }

        return false;
    }

    private static ulong Signed(short offset) => (ulong)(long)offset;

    private ValueTask<ulong> WordAsync(ulong gva, CancellationToken cancellation) => memory.ReadUInt64Async(new Gva(gva), cancellation);

    private readonly record struct Position(ulong Ip, ulong Sp, ulong Bp, ulong R10, ulong R13, ulong Di, ulong Dx, bool HasRegisters)
    {
        public bool IsUser { get; init; }
    }
}
