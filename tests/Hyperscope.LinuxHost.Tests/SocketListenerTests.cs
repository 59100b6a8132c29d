using System.Runtime.Versioning;

namespace Hyperscope.LinuxHost.Tests;

[SupportedOSPlatform("linux")]
public sealed class SocketListenerTests : IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("hs-");

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private string SocketPath => Path.Combine(_directory.FullName, "s");

    public void Dispose() => _directory.Delete(recursive: true);

    [Fact]
    public void A_unix_connection_carries_bytes_both_ways() => Converse(Endpoint.Unix(SocketPath));

    [Fact]
    public void A_tcp_connection_carries_bytes_both_ways_on_the_port_the_kernel_chose() => Converse(Endpoint.Loopback(0));

    [Fact]
    public void A_vsock_connection_carries_bytes_both_ways()
    {
        try
        {
            Converse(Endpoint.Vsock(1, 0x48530001));
        }
        catch (LinuxException unsupported) when (unsupported.Errno is Errno.AddressFamilyNotSupported or Errno.AddressNotAvailable or 19)
        {
            Assert.Skip($"needs vsock loopback (module vsock_loopback): {unsupported.Message}");
        }
    }

    [Fact]
    public void The_socket_file_is_for_its_owner_only_and_goes_away()
    {
        using (SocketListener.Listen(Endpoint.Unix(SocketPath)))
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(SocketPath));
        Assert.False(File.Exists(SocketPath));
    }

    [Fact]
    public void A_file_that_nobody_listens_on_is_replaced()
    {
        SocketListener first = SocketListener.Listen(Endpoint.Unix(SocketPath));
        string aside = SocketPath + "2";
        File.Move(SocketPath, aside); // survives its listener, as after kill -9
        first.Dispose();
        File.Move(aside, SocketPath);

        Converse(Endpoint.Unix(SocketPath));
    }

    [Fact]
    public void A_file_that_somebody_listens_on_is_left_alone()
    {
        using SocketListener first = SocketListener.Listen(Endpoint.Unix(SocketPath));
        LinuxException refused = Assert.Throws<LinuxException>(() => SocketListener.Listen(Endpoint.Unix(SocketPath)));

        Assert.Equal(Errno.AddressInUse, refused.Errno);
        Assert.Contains("another process listens there", refused.Message, StringComparison.Ordinal);
        Assert.True(File.Exists(SocketPath));
    }

    [Fact]
    public void A_path_that_is_not_a_socket_is_left_alone()
    {
        File.WriteAllText(SocketPath, "precious");
        LinuxException refused = Assert.Throws<LinuxException>(() => SocketListener.Listen(Endpoint.Unix(SocketPath)));

        Assert.Contains("not a socket", refused.Message, StringComparison.Ordinal);
        Assert.Equal("precious", File.ReadAllText(SocketPath));
    }

    [Fact]
    public void A_file_that_was_replaced_meanwhile_is_not_removed()
    {
        SocketListener listener = SocketListener.Listen(Endpoint.Unix(SocketPath));
        File.Delete(SocketPath);
        File.WriteAllText(SocketPath, "precious");
        listener.Dispose();

        Assert.Equal("precious", File.ReadAllText(SocketPath));
    }

    [Fact]
    public void Connecting_to_nobody_says_where()
    {
        LinuxException missing = Assert.Throws<LinuxException>(() => StreamSocket.Connect(Endpoint.Unix(SocketPath)));

        Assert.Equal(Errno.NoEntry, missing.Errno);
        Assert.Contains($"connect to unix:{SocketPath}", missing.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_blocked_accept_ends_when_the_listener_is_disposed()
    {
        SocketListener listener = SocketListener.Listen(Endpoint.Unix(SocketPath));
        Task<StreamSocket?> blocked = StreamSocketTests.RunOnThread(() => listener.Accept());
        listener.Dispose();
        Assert.Null(await blocked.WaitAsync(Cancel));
    }

    [Fact]
    public async Task A_blocked_accept_ends_when_cancelled()
    {
        using var cancel = new EventFd();
        using SocketListener listener = SocketListener.Listen(Endpoint.Unix(SocketPath));
        Task<StreamSocket?> blocked = StreamSocketTests.RunOnThread(() => listener.Accept(cancel));
        cancel.Signal();
        Assert.Null(await blocked.WaitAsync(Cancel));
        Assert.Null(listener.Accept(timeoutMilliseconds: 0));
    }

    private static void Converse(Endpoint endpoint)
    {
        using SocketListener listener = SocketListener.Listen(endpoint);
        using StreamSocket client = StreamSocket.Connect(listener.Endpoint);
        using StreamSocket? server = listener.Accept(timeoutMilliseconds: 60_000);
        Assert.NotNull(server);

        byte[] buffer = new byte[4];
        Assert.True(client.Send([1, 2, 3]));
        Assert.Equal(3, server.Receive(buffer));
        Assert.True(server.Send([4]));
        Assert.Equal(1, client.Receive(buffer));
        Assert.Equal(4, buffer[0]);
        server.Shutdown();
        Assert.Equal(0, client.Receive(buffer));
    }
}
