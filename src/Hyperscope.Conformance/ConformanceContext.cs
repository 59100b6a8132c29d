using System.Runtime.InteropServices;
using Hyperscope.Guests;
using static Hyperscope.Guests.SelftestGuest;

namespace Hyperscope.Conformance;

/// <summary>What rows work with: the connection, the guest, and the device manager where there is one.</summary>
/// <param name="manager">The device manager; null: a server of which only the socket is known.</param>
/// <param name="connect">Makes a new connection that is hooked with everything allowed; used without a manager.</param>
/// <param name="hasGuest">The VM runs the self-test guest.</param>
public sealed class ConformanceContext(IDeviceManager? manager, Func<RawPeer>? connect, bool hasGuest) : IDisposable
{
    private RawPeer? _peer;

    /// <summary>The device manager. Rows that use it say so in their needs.</summary>
    public IDeviceManager Manager => manager ?? throw new NotApplicableException("needs the device manager's control calls");

    /// <summary>True if there is a device manager.</summary>
    public bool HasManager => manager is not null;

    /// <summary>True if the VM runs the self-test guest.</summary>
    public bool HasGuest => hasGuest;

    /// <summary>Number of vCPUs; known once hooked.</summary>
    public int VcpuCount { get; set; } = 1;

    /// <summary>The server can single-step; known after GET_VERSION.</summary>
    public bool HasSingleStep { get; set; }

    /// <summary>The connection.</summary>
    public RawPeer Peer => _peer ?? throw new NotApplicableException("not hooked");

    /// <summary>What went wrong in the stream itself; null: nothing.</summary>
    public string? StreamFault => _peer?.StreamFault;

    /// <summary>Gives the connection up, so that what a failed row left behind does not reach the next one.</summary>
    public void Abandon()
    {
        _peer?.Dispose();
        _peer = null;
    }

    /// <summary>Makes a connection if there is none, or if the last one ended.</summary>
    public void EnsureHooked()
    {
        if (_peer is { IsClosed: false })
            return;
        Rehook();
    }

    /// <summary>Ends the connection if there is one and makes a new one with everything allowed.</summary>
    public void Rehook()
    {
        _peer?.Dispose();
        _peer = null;
        if (manager is null)
        {
            Adopt((connect ?? throw new NotApplicableException("no way to connect"))());
            return;
        }

        Expect(0, manager.Unhook(), "unhook");
        Expect(0, manager.Hook(out RawPeer? peer), "hook");
        Adopt(peer!);
        Expect(0, manager.SetCommandPermission(-1, 1), "allow all commands");
        Expect(0, manager.SetEventPermission(-1, 1), "allow all events");
    }

    /// <summary>Takes over a new connection.</summary>
    public void Adopt(RawPeer peer) => _peer = peer;

    /// <summary>Fails unless both are equal.</summary>
    public static void Expect<T>(T expected, T actual, string what)
    {
        if (!EqualityComparer<T>.Default.Equals(expected, actual))
            throw new ConformanceException($"{what}: expected {Show(expected)}, got {Show(actual)}");
    }

    /// <summary>Calls a command and checks error and, on success, the exact length of the reply data.</summary>
    public RawReply Call(MessageId id, PayloadBuilder payload, KvmError expected = KvmError.None, int? dataLength = null)
    {
        RawReply reply = Peer.Call(id, payload.ToArray());
        Check(id, reply, expected, dataLength);
        return reply;
    }

    /// <summary>Checks a reply's error and length.</summary>
    public static void Check(MessageId id, RawReply reply, KvmError expected, int? dataLength = null)
    {
        if (reply.Error != -(int)expected)
            throw new ConformanceException($"{id}: expected {Name(-(int)expected)}, got {Name(reply.Error)}");
        if (expected == KvmError.None && dataLength is { } length && reply.Data.Length != length)
            throw new ConformanceException($"{id}: reply data of {reply.Data.Length} bytes, not {length}");
    }

    /// <summary>VCPU_CONTROL_EVENTS.</summary>
    /// <exception cref="NotApplicableException">The server has no such event and says so.</exception>
    public void ControlEvent(EventId id, bool enable, int vcpu = 0, KvmError expected = KvmError.None)
    {
        RawReply reply = Peer.Call(MessageId.VcpuControlEvents, PayloadBuilder.Vcpu(vcpu).U16((int)id).U8(enable ? 1 : 0).U8(0).U32(0).ToArray());
        if (expected == KvmError.None && enable && reply.Error == -(int)KvmError.NotSupported)
            throw new NotApplicableException($"the server has no {id} events (EOPNOTSUPP)");
        Check(MessageId.VcpuControlEvents, reply, expected);
    }

    /// <summary>VM_SET_PAGE_ACCESS of one page.</summary>
    public void SetAccess(Gpa gpa, PageAccess access, KvmError expected = KvmError.None) =>
        Call(MessageId.VmSetPageAccess, PayloadBuilder.New.U16(1).U16(0).U32(0).U64(gpa.Value).U8((int)access).U8(1).U16(0).U32(0), expected);

    /// <summary>VM_READ_PHYSICAL.</summary>
    public byte[] Read(Gpa gpa, int length) =>
        Call(MessageId.VmReadPhysical, PayloadBuilder.New.U64(gpa.Value).U16(length).U16(0).U32(0), KvmError.None, length).Data.ToArray();

    /// <summary>Reads 8 bytes.</summary>
    public ulong ReadQuad(Gpa gpa) => MemoryMarshal.Read<ulong>(Read(gpa, 8));

    /// <summary>VM_WRITE_PHYSICAL.</summary>
    public void Write(Gpa gpa, ReadOnlySpan<byte> bytes) =>
        Call(MessageId.VmWritePhysical, PayloadBuilder.New.U64(gpa.Value).U16(bytes.Length).U16(0).U32(0).Raw(bytes));

    /// <summary>Writes 8 bytes.</summary>
    public void WriteQuad(Gpa gpa, ulong value) => Write(gpa, BitConverter.GetBytes(value));

    /// <summary>VCPU_GET_REGISTERS without MSRs.</summary>
    public KvmRegs Registers(int vcpu = 0)
    {
        RawReply reply = Call(MessageId.VcpuGetRegisters, PayloadBuilder.Vcpu(vcpu).Zeros(8), KvmError.None, 472);
        return MemoryMarshal.Read<KvmRegs>(reply.Data[8..]);
    }

    /// <summary>VCPU_SET_REGISTERS.</summary>
    public void SetRegisters(in KvmRegs registers, int vcpu = 0, KvmError expected = KvmError.None) =>
        Call(MessageId.VcpuSetRegisters, PayloadBuilder.Vcpu(vcpu).Struct(registers), expected);

    /// <summary>Where a vCPU's mailbox is.</summary>
    public static Gpa MailboxOf(int vcpu) => Mailboxes + (ulong)(vcpu * MailboxStride);

    /// <summary>Tells a vCPU of the guest what to do. Returns a ticket for <see cref="AwaitDone"/>.</summary>
    public ulong Start(SelftestAction action, ulong argument0 = 0, ulong argument1 = 0, ulong argument2 = 0, int vcpu = 0)
    {
        Gpa mailbox = MailboxOf(vcpu);
        ulong done = ReadQuad(mailbox + Mailbox.Done);
        Write(mailbox + Mailbox.Argument0, PayloadBuilder.New.U64(argument0).U64(argument1).U64(argument2).ToArray());
        WriteQuad(mailbox + Mailbox.Action, (ulong)action);
        return done;
    }

    /// <summary>Waits until the vCPU has acknowledged; gives the result field, after checking that no exception ended the action.</summary>
    public ulong AwaitDone(ulong ticket, ulong expectedFault = Mailbox.NoFault, int vcpu = 0)
    {
        Gpa mailbox = MailboxOf(vcpu);
        long deadline = Environment.TickCount64 + 30_000;
        while (ReadQuad(mailbox + Mailbox.Done) == ticket)
        {
            if (Environment.TickCount64 > deadline)
                throw new ConformanceException("the guest did not acknowledge the action within 30 s");
            if (Peer.TryNextEvent(out RawEvent? unexpected))
                throw new ConformanceException($"unexpected event {unexpected!.Id} while the guest was to finish");
        }

        Expect(expectedFault, ReadQuad(mailbox + Mailbox.FaultVector), "vector that ended the guest's action");
        return ReadQuad(mailbox + Mailbox.Result);
    }

    /// <summary>Lets the guest do something that raises no event, and gives the result.</summary>
    public ulong Run(SelftestAction action, ulong argument0 = 0, ulong argument1 = 0, ulong argument2 = 0, int vcpu = 0) =>
        AwaitDone(Start(action, argument0, argument1, argument2, vcpu), vcpu: vcpu);

    /// <inheritdoc/>
    public void Dispose() => _peer?.Dispose();

    private static string Name(int error) => error == 0 ? "success" : $"-{(KvmError)(-error)} ({error})";

    private static string Show<T>(T value) => value is ulong number ? $"0x{number:x}" : value?.ToString() ?? "null";
}
