using Hyperscope.Client;
using Hyperscope.Introspection;
using Hyperscope.Kvmi;
using Hyperscope.LinuxHost;
using Hyperscope.Machine.Control;
using Hyperscope.TestKit.Libkvmi;

namespace Hyperscope.Machine.Tests.Control;

/// <summary>The VM's half of the handshake over sockets, and the client library's half against it.</summary>
public sealed class HandshakeTests
{
    [Fact]
    public async Task The_vm_introduces_itself_first()
    {
        await using var bench = new LibkvmiBench(1);
        using LibkvmiClient tool = bench.Attach();
        Assert.Equal(96, tool.Greeting.Length);
        Assert.Equal("00112233445566778899AABBCCDDEEFF", Convert.ToHexString(tool.Greeting, 4, 16));
        Assert.Equal("selftest", VmGreeting.Read(tool.Greeting).Name);
        Assert.Equal(bench.Machine.StartTime.ToUnixTimeSeconds(), BitConverter.ToInt64(tool.Greeting, 24));
    }

    [Fact]
    public async Task A_wrong_cookie_is_refused_by_closing_and_the_vm_comes_again()
    {
        await using var bench = new LibkvmiBench(1, secret: "swordfish");
        using (var stranger = new LibkvmiClient(bench.Accept()))
        {
            stranger.Handshake(ToolGreeting.CookieOf("sword"));
            Assert.True(stranger.IsClosedByPeer());
        }

        using (var zeros = new LibkvmiClient(bench.Accept()))
        {
            zeros.Handshake();
            Assert.True(zeros.IsClosedByPeer());
        }

        using var friend = new LibkvmiClient(bench.Accept());
        friend.Handshake(ToolGreeting.CookieOf("swordfish"));
        Assert.Equal(0, friend.Command(2).Error);
    }

    [Theory]
    [InlineData(24, true)]
    [InlineData(25, false)]
    [InlineData(1000, true)]
    [InlineData(65536, false)]
    public async Task A_tools_greeting_may_be_longer_and_come_in_pieces(int size, bool inPieces)
    {
        await using var bench = new LibkvmiBench(1, secret: "x");
        using var tool = new LibkvmiClient(bench.Accept());
        tool.Handshake(ToolGreeting.CookieOf("x"), size, inPieces);
        Assert.Equal(16, tool.Command(2).Data.Length);
    }

    [Theory]
    [InlineData("17000000")]
    [InlineData("00000000")]
    [InlineData("01000100")]
    [InlineData("FFFFFFFF")]
    public async Task A_greeting_of_an_impossible_size_is_refused(string size)
    {
        await using var bench = new LibkvmiBench(1);
        using StreamSocket socket = bench.Accept();
        byte[] greeting = new byte[96];
        socket.ReceiveAll(greeting, long.MaxValue, null, out _);
        Assert.True(socket.Send(Convert.FromHexString(size)));
        Assert.Equal(0, socket.Receive(greeting));
    }

    [Fact]
    public async Task A_tool_that_does_not_answer_is_given_up()
    {
        await using var machine = new VirtualMachine(new VirtualMachineOptions { MemoryBytes = 4 << 20 });
        using var introspector = new Introspector(machine);
        (StreamSocket vm, StreamSocket tool) = StreamSocket.CreatePair();
        using (vm)
        using (tool)
        {
            Assert.False(introspector.Greet(vm, new HandshakeOptions { Timeout = TimeSpan.FromMilliseconds(20) }));
            Assert.Equal(96, tool.TryReceive(new byte[200]));
            tool.Dispose();
            Assert.False(introspector.Greet(vm, new HandshakeOptions()));
        }
    }

    [Fact]
    public async Task The_client_library_plays_the_tools_part_with_v9_behind_it()
    {
        await using var bench = new LibkvmiBench(1, secret: "x");
        using StreamSocket socket = bench.Accept();
        var options = new IntrospectionOptions { Handshake = new ToolHandshake { Cookie = ToolGreeting.CookieOf("x") } };
        await using IntrospectedVm vm = await IntrospectedVm.StartAsync(
            socket, null, options, TestContext.Current.CancellationToken);
        Assert.Equal((LibkvmiBench.Id, "selftest"), (vm.Greeting?.Id, vm.Greeting?.Name));
        Assert.True(vm.Version.Features.Singlestep);
        Assert.Single(vm.Vcpus);
    }

    [Fact]
    public async Task A_v9_socket_where_the_vm_listens_can_ask_for_the_handshake_too()
    {
        await using var machine = new VirtualMachine(new VirtualMachineOptions { Name = "listener", MemoryBytes = 4 << 20 });
        using var introspector = new Introspector(machine);
        var everything = new HookOptions { AllowedCommands = new HashSet<MessageId>(Enum.GetValues<MessageId>()) };
        await using var host = new IntrospectionHost(introspector, Endpoint.Loopback(0), listen: true, everything, new HandshakeOptions());
        await using IntrospectedVm vm = await IntrospectedVm.ConnectAsync(
            host.Endpoint, new IntrospectionOptions { Handshake = new ToolHandshake() }, TestContext.Current.CancellationToken);
        Assert.Equal("listener", vm.Greeting?.Name);
    }
}
