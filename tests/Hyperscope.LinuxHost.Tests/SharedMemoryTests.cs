using System.Runtime.Versioning;

namespace Hyperscope.LinuxHost.Tests;

[SupportedOSPlatform("linux")]
public sealed class SharedMemoryTests
{
    private const ulong Page = 4096;

    [Fact]
    public unsafe void Two_mappings_of_a_range_are_the_same_memory_with_protections_of_their_own()
    {
        using var memory = new SharedMemory("hyperscope-test", 4 * Page);
        using MemoryMapping first = memory.Map(Page, 2 * Page), second = memory.Map(Page, 2 * Page);
        second.Protect(0, Page, MemoryProtection.Read);

        // Sound: both mappings are two pages long and live until the end.
        ((byte*)first.Address)[5] = 0x5A;
        Assert.Equal(0x5A, ((byte*)second.Address)[5]);
        ((byte*)second.Address)[Page] = 0xA5;
        Assert.Equal(0xA5, ((byte*)first.Address)[Page]);
    }

    [Theory]
    [InlineData(0UL, 3 * Page)]
    [InlineData(3 * Page, Page)]
    [InlineData(Page, ulong.MaxValue)]
    public void Protection_beyond_the_mapping_is_refused(ulong offset, ulong length)
    {
        using var memory = new SharedMemory("hyperscope-test", 2 * Page);
        using MemoryMapping mapping = memory.Map(0, 2 * Page);
        Assert.Throws<ArgumentOutOfRangeException>(() => mapping.Protect(offset, length, MemoryProtection.None));
    }

    [Fact]
    public unsafe void Memory_only_grows_and_what_is_discarded_is_zero()
    {
        using var memory = new SharedMemory("hyperscope-test", Page);
        memory.Grow(3 * Page);
        memory.Grow(2 * Page);
        Assert.Equal(3 * Page, memory.Size);
        using MemoryMapping mapping = memory.Map(0, memory.Size);

        // Sound: the mapping is three pages long and lives until the end.
        var bytes = new Span<byte>((void*)mapping.Address, (int)memory.Size);
        bytes.Fill(7);
        memory.Discard(Page, Page);
        Assert.Equal([7, 0, 0, 7], [bytes[(int)Page - 1], bytes[(int)Page], bytes[(2 * (int)Page) - 1], bytes[2 * (int)Page]]);
    }

    [Fact]
    public void File_is_its_owners_alone_even_if_it_was_there_before()
    {
        string path = Path.Combine(Path.GetTempPath(), $"hyperscope-{Guid.NewGuid():N}");
        File.WriteAllText(path, "what was there");
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
        try
        {
            using var memory = SharedMemory.CreateFile(path, Page);
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
            Assert.Equal(path, memory.Path);
            Assert.Equal(new byte[Page], File.ReadAllBytes(path));
        }
        finally
        {
            File.Delete(path);
        }
    }
}
