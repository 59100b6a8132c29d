using Hyperscope.Vm;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>Addresses by arithmetic.</summary>
public sealed class KernelLayoutTests
{
    [Theory]
    [InlineData(0xffff888000001234, 0x1234UL)]
    [InlineData(0xffffc8ffffffffff, 0x407fffffffffUL)]
    [InlineData(0xffffc90000000000, null)]
    [InlineData(0xffff887fffffffff, null)]
    public async Task The_direct_map_is_as_long_as_it_says(ulong gva, ulong? gpa)
    {
        LinuxGuest guest = await new SyntheticGuest().AttachAsync();
        Assert.Equal(gpa, guest.Layout.PhysicalOf(new Gva(gva))?.Value);
    }

    [Fact]
    public async Task A_direct_map_of_everything_ends_where_physical_addresses_do()
    {
        LinuxGuest guest = await new SyntheticGuest().AttachAsync();
        KernelLayout layout = guest.Layout with { DirectMap = default, Vmalloc = new Gva(ulong.MaxValue) };
        Assert.Equal(new Gpa((1UL << 52) - 1), layout.PhysicalOf(new Gva((1UL << 52) - 1)));
        Assert.Null(layout.PhysicalOf(new Gva(1UL << 52)));
        Assert.Null(layout.PhysicalOf(new Gva(ulong.MaxValue - 1)));
    }
}
