using Hyperscope.Vm;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>Ranges without an owner, and code that does nothing of its own.</summary>
public sealed class CodeOwnersTests
{
    [Theory]
    [InlineData("10-20", "", "10-20")]
    [InlineData("10-20", "10-20", "")]
    [InlineData("10-20", "0-8 30-40", "10-20")]
    [InlineData("10-20", "12-14 13-15 18-30", "10-12 15-18")]
    [InlineData("10-20 30-40 50-60", "0-11 1f-31 3f-100", "11-1f 31-3f")]
    [InlineData("10-20 30-40", "0-100 12-13", "")]
    public void Whole_pages_are_taken_out(string from, string taken, string left) =>
        Assert.Equal(Ranges(left), CodeOwners.Subtract(Ranges(from), Ranges(taken)));

    [Fact]
    public void Part_of_a_page_takes_the_page() => Assert.Equal(
        Ranges("11-12"), CodeOwners.Subtract(Ranges("10-13"), [new KernelRange(new Gva(0x10ff0), new Gva(0x10ff8)), new KernelRange(new Gva(0x12000), new Gva(0x12001))]));

    [Theory]
    [InlineData("cccccccc", true)]
    [InlineData("ffe0ccffe7cc41ffe0cc41ffe7", true)]
    [InlineData("ffd0", false)] // a call
    [InlineData("ff20", false)] // a jump through memory
    [InlineData("42ffe0", false)]
    [InlineData("ccc3", false)]
    [InlineData("41", false)]
    [InlineData("41ff", false)]
    [InlineData("ff", false)]
    public void Thunks_are_int3_and_jumps_through_a_register(string code, bool isThunks) =>
        Assert.Equal(isThunks, CodeOwners.IsThunks(Convert.FromHexString(code)));

    // Page numbers in hex.
    private static List<KernelRange> Ranges(string text) =>
    [
        .. text.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(static range => range.Split('-'))
            .Select(static ends => new KernelRange(Page(ends[0]), Page(ends[1]))),
    ];

    private static Gva Page(string number) => new(ulong.Parse(number, NumberStyles.HexNumber, CultureInfo.InvariantCulture) << 12);
}
