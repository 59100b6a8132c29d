namespace Hyperscope.Kvmi.Tests;

/// <summary>The handshake's bytes.</summary>
public sealed class HandshakeTests
{
    private static readonly VmGreeting Debian =
        new(new Guid("00112233-4455-6677-8899-aabbccddeeff"), DateTimeOffset.FromUnixTimeSeconds(0x5E0BE280), "debian");

    [Fact]
    public void A_vm_introduces_itself_with_96_bytes()
    {
        byte[] bytes = [.. Enumerable.Repeat((byte)0xEE, VmGreeting.Size)];
        Debian.Write(bytes);
        Assert.Equal(Convert.ToHexString(LibkvmiVectors.All["handshake.vm"]), Convert.ToHexString(bytes));
        Assert.Equal(Debian, VmGreeting.Read(bytes));
    }

    [Fact]
    public void A_greeting_without_a_name_or_with_more_behind_is_read()
    {
        byte[] bytes = new byte[200];
        Debian.Write(bytes);
        Assert.Equal(Debian, VmGreeting.Read(bytes));
        Assert.Equal(Debian with { Name = "" }, VmGreeting.Read(bytes.AsSpan(0, VmGreeting.MinSize)));
        Assert.Equal(Debian with { Name = "deb" }, VmGreeting.Read(bytes.AsSpan(0, VmGreeting.MinSize + 3)));
    }

    [Fact]
    public void A_name_is_cut_to_63_bytes_between_characters()
    {
        byte[] bytes = new byte[VmGreeting.Size];
        (Debian with { Name = new string('x', 62) + "\u00e9" }).Write(bytes);
        Assert.Equal(new string('x', 62), VmGreeting.Read(bytes).Name);
        bytes.AsSpan(32).Fill((byte)'y'); // no terminator
        Assert.Equal(new string('y', 63), VmGreeting.Read(bytes).Name);
    }

    [Theory]
    [InlineData(long.MinValue)]
    [InlineData(long.MaxValue)]
    [InlineData(-1L)]
    public void Any_start_time_is_read(long seconds)
    {
        byte[] bytes = new byte[VmGreeting.Size];
        Debian.Write(bytes);
        BitConverter.TryWriteBytes(bytes.AsSpan(24), seconds);
        _ = VmGreeting.Read(bytes).StartTime;
    }

    [Theory]
    [InlineData(32u, true)]
    [InlineData(31u, false)]
    [InlineData(65536u, true)]
    [InlineData(65537u, false)]
    [InlineData(uint.MaxValue, false)]
    public void A_greeting_has_32_to_65536_bytes(uint size, bool isLegal) =>
        Assert.Equal(isLegal, Record.Exception(() => VmGreeting.CheckSize(size)) is null);

    [Theory]
    [InlineData(23u, false)]
    [InlineData(24u, true)]
    [InlineData(100u, true)]
    [InlineData(65537u, false)]
    public void A_tools_greeting_has_at_least_24_bytes(uint size, bool isLegal) =>
        Assert.Equal(isLegal, Record.Exception(() => ToolGreeting.CheckSize(size)) is null);

    [Fact]
    public void The_cookie_is_the_sha1_of_the_secret()
    {
        byte[] bytes = [.. Enumerable.Repeat((byte)0xEE, ToolGreeting.Size)];
        ToolGreeting.Write(bytes, ToolGreeting.CookieOf(""));
        Assert.Equal(Convert.ToHexString(LibkvmiVectors.All["handshake.tool.empty-secret"]), Convert.ToHexString(bytes));
        Assert.True(ToolGreeting.Matches(ToolGreeting.CookieIn(bytes), ToolGreeting.CookieOf("")));
        Assert.False(ToolGreeting.Matches(ToolGreeting.CookieIn(bytes), ToolGreeting.CookieOf("x")));
        ToolGreeting.Write(bytes, []);
        Assert.Equal(Convert.ToHexString(LibkvmiVectors.All["handshake.tool.zeros"]), Convert.ToHexString(bytes));
    }
}
