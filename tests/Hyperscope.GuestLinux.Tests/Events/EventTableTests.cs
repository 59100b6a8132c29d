using System.Numerics;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>The table of events, and how arguments are shown.</summary>
public sealed class EventTableTests
{
    [Fact]
    public void Each_kind_but_system_calls_has_one_row()
    {
        GuestEventKinds[] kinds = [.. Enum.GetValues<GuestEventKinds>().Where(static kind => BitOperations.PopCount((uint)kind) == 1)];
        Assert.Equal(kinds.Except([GuestEventKinds.SyscallEntered]), EventTable.Rows.Select(static row => row.Kind).Order());
        Assert.All(EventTable.Rows, static row => Assert.NotEmpty(row.Places));
    }

    [Fact]
    public void Each_kind_is_what_one_type_of_event_says_it_is()
    {
        Type[] types = [.. typeof(GuestEvent).Assembly.GetTypes().Where(static type => type.IsSubclassOf(typeof(GuestEvent)))];
        Assert.Equal(Enum.GetValues<GuestEventKinds>().Length - 1, types.Length);
    }

    [Theory]
    [InlineData("int", 0xffff_ffff_ffff_ff9cUL, "-100")]
    [InlineData("int", 0x1_0000_0005UL, "5")]
    [InlineData("unsigned int", 0xffff_ffff_8000_0000UL, "0x80000000")]
    [InlineData("long", ulong.MaxValue, "-1")]
    [InlineData("umode_t", 0x1_0000_01edUL, "0755")]
    [InlineData("mytime_t", 0xffff_ffff_ffff_ffffUL, "-1")]
    [InlineData("void *", 0UL, "NULL")]
    [InlineData("struct stat *", 0x7fff_0000UL, "0x7fff0000")]
    [InlineData("unheard_of", 0x1234UL, "0x1234")]
    public void A_number_is_shown_as_its_type_means_it(string type, ulong value, string expected)
    {
        var builder = new BtfBuilder();
        builder.Modifier(BtfKind.Typedef, builder.Int("unsigned short", 2), "umode_t");
        builder.Modifier(BtfKind.Typedef, builder.Int("long long int", 8, isSigned: true), "mytime_t");
        Assert.Equal(expected, SyscallArguments.NumberOf(Btf.Parse(builder.Build()), type, value));
    }

    [Theory]
    [InlineData("const char *", true)]
    [InlineData("const char __user *", true)]
    [InlineData("char *", false)]
    [InlineData("const char *const *", false)]
    public void Only_what_a_call_reads_is_text(string type, bool isText) => Assert.Equal(isText, SyscallArguments.IsText(type));

    [Fact]
    public void Arguments_that_were_cut_off_are_told_as_far_as_they_go()
    {
        Assert.Equal(["a", "", "b c"], EventTable.Strings("a\0\0b c"u8));
        Assert.Equal(["a"], EventTable.Strings("a\0"u8));
        Assert.Empty(EventTable.Strings([]));
    }
}
