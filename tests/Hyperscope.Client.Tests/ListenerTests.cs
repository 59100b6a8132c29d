using Hyperscope.TestKit;

namespace Hyperscope.Client.Tests;

public sealed class ListenerTests : IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("hs-");

    private string Address => $"unix:{_directory.FullName}/s";

    public void Dispose() => _directory.Delete(recursive: true);

    [Fact]
    public async Task A_vm_that_connects_is_accepted()
    {
        using KvmiListener listener = KvmiListener.Listen(Address);
        Task<IntrospectedVm> accepting = listener.AcceptAsync(Hooked.Cancel);
        using var hypervisor = new ScriptedHypervisor(StreamSocket.Connect(listener.Endpoint));
        hypervisor.Greet(vcpus: 1);
        await using IntrospectedVm vm = await accepting;
        Assert.Single(vm.Vcpus);
        Assert.Equal($"VM at {Address}", vm.ToString());
        Assert.Equal(Environment.ProcessId, vm.PeerProcessId);
    }

    [Fact]
    public async Task A_tool_connects_to_a_vm_that_listens()
    {
        using SocketListener listener = SocketListener.Listen(Endpoint.Loopback(0));
        Task<IntrospectedVm> connecting = IntrospectedVm.ConnectAsync(listener.Endpoint, cancellation: Hooked.Cancel);
        using var hypervisor = new ScriptedHypervisor(listener.Accept(timeoutMilliseconds: 60_000)!);
        hypervisor.Greet();
        await using IntrospectedVm vm = await connecting;
        Assert.Equal(2, vm.Vcpus.Count);
    }

    [Fact]
    public async Task A_wait_for_vms_can_be_cancelled_and_disposed()
    {
        KvmiListener listener = KvmiListener.Listen(Address);
        using var cancel = new CancellationTokenSource();
        Task<IntrospectedVm> cancelled = listener.AcceptAsync(cancel.Token);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => cancelled.WaitAsync(Hooked.Cancel));

        Task<IntrospectedVm> disposed = listener.AcceptAsync(Hooked.Cancel);
        listener.Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => disposed.WaitAsync(Hooked.Cancel));
    }

    [Fact]
    public async Task Peers_that_speak_something_else_are_turned_away_and_the_next_vm_comes_in()
    {
        using KvmiListener listener = KvmiListener.Listen(Address);
        await using IAsyncEnumerator<IntrospectedVm> vms = listener.AcceptAllAsync(Hooked.Cancel).GetAsyncEnumerator(Hooked.Cancel);
        Task<bool> next = vms.MoveNextAsync().AsTask();
        using (StreamSocket stranger = StreamSocket.Connect(listener.Endpoint))
        {
            stranger.Send("GET / HTTP/1.1\r\n\r\n"u8);
            while (stranger.Receive(new byte[64]) > 0)
            {
            }
        }

        using var hypervisor = new ScriptedHypervisor(StreamSocket.Connect(listener.Endpoint));
        hypervisor.Greet();
        Assert.True(await next.WaitAsync(Hooked.Cancel));
        await vms.Current.DisposeAsync();
    }

    [Fact]
    public async Task Connecting_to_nobody_says_where()
    {
        LinuxException nobody = await Assert.ThrowsAsync<LinuxException>(
            () => IntrospectedVm.ConnectAsync(Address, cancellation: Hooked.Cancel));
        Assert.Contains(Address, nobody.Message, StringComparison.Ordinal);
        Assert.Throws<FormatException>(() => KvmiListener.Listen("pipe:x"));
    }
}
