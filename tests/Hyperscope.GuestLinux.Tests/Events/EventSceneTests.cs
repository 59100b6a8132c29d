using Hyperscope.Vm;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>What a guest may say of where its arguments are.</summary>
public sealed class EventSceneTests
{
    [Theory]
    [InlineData(16, 0xffff888000001000, null)]
    [InlineData(16, ulong.MaxValue - 16, null)]
    [InlineData(16, ulong.MaxValue - 15, "16 bytes at gva 0xfffffffffffffff0 are not mapped")]
    [InlineData(16, ulong.MaxValue, "16 bytes at gva 0xffffffffffffffff are not mapped")]
    [InlineData(BtfSlice.MaxLength, 0xffff888000001000, null)]
    [InlineData(int.MaxValue, 0xffff888000001000, "2147483647 bytes of struct path are above 1048576")]
    public void An_argument_is_no_longer_than_a_structure_and_inside_the_address_space(int size, ulong at, string? refusal)
    {
        var types = new BtfBuilder();
        types.Struct("path", size, ("mnt", types.Void, 0));
        BtfStruct type = Btf.Parse(types.Build()).StructOf("path");
        Exception? refused = Record.Exception(() => Assert.Equal(size, EventScene.LengthOf(type, new Gva(at))));
        Assert.Equal(refusal is null, refused is null);
        if (refusal is not null)
            Assert.Contains(refusal, Assert.IsType<LinuxGuestException>(refused, exactMatch: false).Message, StringComparison.Ordinal);
    }
}
