namespace Hyperscope.LinuxHost.Tests;

public sealed class EndpointTests
{
    [Theory]
    [InlineData("unix:/run/x.sock", EndpointKind.Unix)]
    [InlineData("unix:relative:with:colons", EndpointKind.Unix)]
    [InlineData("vsock:any:1234", EndpointKind.Vsock)]
    [InlineData("vsock:3:4294967295", EndpointKind.Vsock)]
    [InlineData("tcp:127.0.0.1:0", EndpointKind.Tcp)]
    [InlineData("tcp:127.9.9.9:65535", EndpointKind.Tcp)]
    public void What_is_parsed_prints_the_same(string text, EndpointKind kind)
    {
        Endpoint endpoint = Endpoint.Parse(text);

        Assert.Equal(kind, endpoint.Kind);
        Assert.Equal(text, endpoint.ToString());
        Assert.Equal(endpoint, Endpoint.Parse(endpoint.ToString()));
    }

    [Theory]
    [InlineData("vsock:local:5", "vsock:1:5")]
    [InlineData("vsock:host:5", "vsock:2:5")]
    [InlineData("tcp:localhost:80", "tcp:127.0.0.1:80")]
    public void Names_stand_for_numbers(string text, string same) => Assert.Equal(same, Endpoint.Parse(text).ToString());

    [Theory]
    [InlineData("", "is not unix:PATH, vsock:CID:PORT or tcp:HOST:PORT")]
    [InlineData("/run/x.sock", "is not unix:PATH")]
    [InlineData("pipe:x", "is not unix:PATH")]
    [InlineData("unix:", "has no path")]
    [InlineData("unix:a\0b", "holds a NUL")]
    [InlineData("vsock:1", "is not vsock:CID:PORT")]
    [InlineData("vsock:-1:5", "\"-1\" in endpoint vsock:-1:5 is not a CID")]
    [InlineData("vsock:1:4294967296", "is not a port: give a number from 0 to 4294967295")]
    [InlineData("tcp:127.0.0.1", "is not tcp:HOST:PORT")]
    [InlineData("tcp:127.0.0.1:65536", "is not a port: give a number from 0 to 65535")]
    [InlineData("tcp:127.0.0.1:+1", "is not a port")]
    [InlineData("tcp:127.1:80", "is not an IPv4 address")]
    [InlineData("tcp:example.org:80", "is not an IPv4 address")]
    [InlineData("tcp:192.168.0.1:80", "leaves this machine")]
    [InlineData("tcp:0.0.0.0:80", "leaves this machine")]
    public void A_bad_endpoint_is_refused_by_name(string text, string expected)
    {
        Assert.False(Endpoint.TryParse(text, allowRemote: false, out _, out string? error));
        Assert.Contains(expected, error, StringComparison.Ordinal);
        Assert.Throws<FormatException>(() => Endpoint.Parse(text));
    }

    [Fact]
    public void A_remote_address_is_accepted_when_allowed() =>
        Assert.Equal("tcp:192.168.0.1:80", Endpoint.Parse("tcp:192.168.0.1:80", allowRemote: true).ToString());

    [Fact]
    public void A_path_of_107_bytes_is_the_longest()
    {
        Assert.True(Endpoint.TryParse("unix:" + new string('a', 107), false, out _, out _));
        Assert.False(Endpoint.TryParse("unix:" + new string('a', 108), false, out _, out string? error));
        Assert.Contains("has 108 bytes, the kernel takes 107", error, StringComparison.Ordinal);
    }
}
