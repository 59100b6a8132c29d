using System.Buffers.Binary;
using Hyperscope.Guests;
using Hyperscope.Introspection;
using Hyperscope.Kvmi;
using Hyperscope.LinuxHost;
using Hyperscope.Machine.Control;
using Hyperscope.TestKit.Libkvmi;
using static Hyperscope.Guests.SelftestGuest;

namespace Hyperscope.Machine.Tests.Control;

/// <summary>A running VM with the self-test guest, and a socket where a libkvmi tool listens for it.</summary>
internal sealed class LibkvmiBench : IAsyncDisposable
{
    private readonly string _path = Path.Combine(Path.GetTempPath(), $"libkvmi-{Guid.NewGuid():N}.sock");
    private readonly IntrospectionHost _host;
    private SocketListener? _listener;

    public LibkvmiBench(int vcpus, Dialect? dialect = null, string? secret = null, HookOptions? options = null)
    {
        Vcpus = vcpus;
        Machine = new VirtualMachine(new VirtualMachineOptions { Name = "selftest", Id = Id, MemoryBytes = 16 << 20, VcpuCount = vcpus });
        GuestProgram guest = Build(vcpus);
        Machine.Load(guest.Pieces, guest.InitialState);
        Introspector = new Introspector(Machine);
        Machine.Start();
        Endpoint = Endpoint.Unix(_path);
        var handshake = new HandshakeOptions { Cookie = secret is null ? null : ToolGreeting.CookieOf(secret) };
        _host = new IntrospectionHost(Introspector, Endpoint, listen: false, (options ?? new HookOptions()) with
        {
            Dialect = dialect ?? Dialect.Auto,
            AllowedCommands = new HashSet<MessageId>(Enum.GetValues<MessageId>()),
            AllowedEvents = new HashSet<EventId>(Enum.GetValues<EventId>()),
        }, handshake);
    }

    public static Guid Id { get; } = new("00112233-4455-6677-8899-aabbccddeeff");

    public int Vcpus { get; }

    public VirtualMachine Machine { get; }

    public Introspector Introspector { get; }

    public Endpoint Endpoint { get; }

    /// <summary>Starts to listen if it does not, and waits for the VM.</summary>
    public StreamSocket Accept()
    {
        _listener ??= SocketListener.Listen(Endpoint, backlog: 0);
        return _listener.Accept(null, 30_000) ?? throw new TimeoutException("the VM does not come");
    }

    /// <summary>A tool that has done the handshake and knows the version.</summary>
    public LibkvmiClient Attach()
    {
        var tool = new LibkvmiClient(Accept());
        tool.Handshake();
        LibkvmiReply version = tool.Command(2);
        Assert.Equal(0, version.Error);
        Assert.Equal(1u, BinaryPrimitives.ReadUInt32LittleEndian(version.Data));
        return tool;
    }

    public static ulong Mailbox(int vcpu) => Mailboxes.Value + (ulong)(vcpu * MailboxStride);

    /// <summary>Has the guest act, without waiting.</summary>
    public static void Begin(LibkvmiClient tool, int vcpu, SelftestAction action, ulong a = 0, ulong b = 0, ulong c = 0)
    {
        byte[] arguments = [.. BitConverter.GetBytes(a), .. BitConverter.GetBytes(b), .. BitConverter.GetBytes(c)];
        Assert.Equal(0, tool.WriteMemory(Mailbox(vcpu) + SelftestGuest.Mailbox.Argument0, arguments));
        Assert.Equal(0, tool.WriteMemory(Mailbox(vcpu), BitConverter.GetBytes((ulong)action)));
    }

    public static ulong Field(LibkvmiClient tool, int vcpu, int field) =>
        BitConverter.ToUInt64(tool.Read(Mailbox(vcpu) + (ulong)field, 8));

    /// <summary>Waits until the guest has acted; the socket's round trips are the wait.</summary>
    public static ulong Finish(LibkvmiClient tool, int vcpu, ulong done)
    {
        long deadline = Environment.TickCount64 + 30_000;
        while (Field(tool, vcpu, SelftestGuest.Mailbox.Done) == done)
            Assert.True(Environment.TickCount64 < deadline, "the guest does not finish");
        return Field(tool, vcpu, SelftestGuest.Mailbox.Result);
    }

    /// <summary>Has the guest act and waits.</summary>
    public static ulong Run(LibkvmiClient tool, int vcpu, SelftestAction action, ulong a = 0, ulong b = 0, ulong c = 0)
    {
        ulong done = Field(tool, vcpu, SelftestGuest.Mailbox.Done);
        Begin(tool, vcpu, action, a, b, c);
        return Finish(tool, vcpu, done);
    }

    public async ValueTask DisposeAsync()
    {
        await _host.DisposeAsync();
        Introspector.Dispose();
        _listener?.Dispose();
        await Machine.DisposeAsync();
    }
}
