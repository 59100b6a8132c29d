using System.Runtime.CompilerServices;
using System.Runtime.Versioning;
using Hyperscope.TestKit;

namespace Hyperscope.LinuxHost.Tests;

/// <summary>A write of this process's own to a protected page would end it. So the kernel is asked to write there: read(2) into it.</summary>
[SupportedOSPlatform("linux")]
public sealed class UserFaultFdTests : IDisposable
{
    private const ulong Page = 4096, Pages = 8;

    private readonly SharedMemory _memory = new("hyperscope-test", Pages * Page);
    private readonly MemoryMapping _mapping, _alias;
    private readonly UserFaultFd? _fault;
    private readonly string _obstacle = "";

    public UserFaultFdTests()
    {
        _mapping = _memory.Map(0, _memory.Size);
        _alias = _memory.Map(0, _memory.Size);
        try
        {
            _fault = new UserFaultFd();
        }
        catch (Exception refused) when (refused is LinuxException or NotSupportedException)
        {
            _obstacle = refused.Message;
        }
    }

    public static TheoryData<string, uint, uint> Codes() => new()
    {
        { "UFFDIO_API", 0xC018_AA3F, UffdioRequests.Api.Code },
        { "UFFDIO_REGISTER", 0xC020_AA00, UffdioRequests.Register.Code },
        { "UFFDIO_UNREGISTER", 0x8010_AA01, UffdioRequests.Unregister.Code },
        { "UFFDIO_WRITEPROTECT", 0xC018_AA06, UffdioRequests.WriteProtect.Code },
    };

    [Theory]
    [MemberData(nameof(Codes))]
    public void Request_has_the_known_code(string name, uint expected, uint actual)
    {
        Assert.Equal((name, expected), (name, actual));
    }

    [Fact]
    public void Codes_and_constants_are_those_of_the_kernel_header()
    {
        const string Header = "linux/userfaultfd.h";
        string? missing = KernelHeader.FindMissing(Header);
        Assert.SkipWhen(missing is not null, missing ?? "");
        (string Name, ulong Value)[] constants =
        [
            .. Codes().Select(static row => (row.Data.Item1, (ulong)row.Data.Item3)),
            ("UFFD_API", UffdioApi.Version), ("UFFD_FEATURE_SIGBUS", UffdioApi.Sigbus), ("UFFD_FEATURE_WP_HUGETLBFS_SHMEM", UffdioApi.WriteProtectShared),
            ("UFFDIO_REGISTER_MODE_WP", UffdioRegister.WriteProtect), ("UFFDIO_WRITEPROTECT_MODE_WP", UffdioWriteProtect.Deny),
            ("offsetof(struct uffdio_api, features)", Offset((ref UffdioApi value) => ref value.Features)),
            ("offsetof(struct uffdio_register, mode)", Offset((ref UffdioRegister value) => ref value.Mode)),
            ("offsetof(struct uffdio_register, ioctls)", Offset((ref UffdioRegister value) => ref value.Ioctls)),
            ("offsetof(struct uffdio_range, len)", Offset((ref UffdioRange value) => ref value.Length)),
            ("offsetof(struct uffdio_writeprotect, mode)", Offset((ref UffdioWriteProtect value) => ref value.Mode)),
        ];
        Assert.Equal("", KernelHeader.Compare(Header, constants));
    }

    [Fact]
    public void Writes_to_a_protected_page_are_refused_and_those_to_its_neighbours_are_not()
    {
        UserFaultFd fault = Registered();
        Touch(2);
        fault.Protect(_mapping, 2 * Page, Page, isDenied: true);
        Assert.Equal([true, false, true], [CanWrite(1), CanWrite(2), CanWrite(3)]);
        fault.Protect(_mapping, 2 * Page, Page, isDenied: false);
        Assert.True(CanWrite(2));
    }

    [Fact]
    public void Page_that_nobody_has_touched_can_be_protected()
    {
        UserFaultFd fault = Registered();
        fault.Protect(_mapping, 3 * Page, Page, isDenied: true);
        Assert.False(CanWrite(3));
        Assert.Equal(0, Read(_mapping, 3)); // which brings it in
        Assert.False(CanWrite(3));
    }

    [Fact]
    public void Page_that_another_mapping_brings_in_stays_protected()
    {
        UserFaultFd fault = Registered();
        fault.Protect(_mapping, 3 * Page, Page, isDenied: true);
        Write(_alias, 3, 0x77);
        Assert.Equal(0x77, Read(_mapping, 3));
        Assert.False(CanWrite(3));
    }

    [Fact]
    public void Protection_outlives_a_time_without_any_access()
    {
        UserFaultFd fault = Registered();
        Touch(1);
        fault.Protect(_mapping, Page, Page, isDenied: true);
        _mapping.Protect(0, _mapping.Length, MemoryProtection.None);
        Assert.False(CanWrite(1));
        Assert.False(CanWrite(4));
        _mapping.Protect(0, _mapping.Length, MemoryProtection.ReadWrite);
        Assert.False(CanWrite(1));
        Assert.True(CanWrite(4));
    }

    [Fact]
    public void Protection_can_be_prepared_while_nothing_may_be_accessed()
    {
        UserFaultFd fault = Registered();
        Touch(1);
        _mapping.Protect(0, _mapping.Length, MemoryProtection.None);
        fault.Protect(_mapping, Page, 2 * Page, isDenied: true);
        _mapping.Protect(0, _mapping.Length, MemoryProtection.ReadWrite);
        Assert.Equal([true, false, false, true], [CanWrite(0), CanWrite(1), CanWrite(2), CanWrite(3)]);
    }

    [Fact]
    public void Scattered_protections_split_no_memory_range()
    {
        UserFaultFd fault = Registered();
        for (ulong page = 0; page < Pages; page += 2)
            fault.Protect(_mapping, page * Page, Page, isDenied: true);
        string start = ((ulong)_mapping.Address).ToString("x", System.Globalization.CultureInfo.InvariantCulture);
        string end = ((ulong)_mapping.Address + _mapping.Length).ToString("x", System.Globalization.CultureInfo.InvariantCulture);
        Assert.Contains(File.ReadLines("/proc/self/maps"), line => IsWithin(line, start, end));
        for (ulong page = 0; page < Pages; page++)
            Assert.Equal(page % 2 == 1, CanWrite(page));
    }

    [Fact]
    public void Ending_the_registration_opens_every_page()
    {
        UserFaultFd fault = Registered();
        Touch(1);
        fault.Protect(_mapping, 0, _mapping.Length, isDenied: true);
        Assert.False(CanWrite(1));
        fault.Unregister(_mapping);
        Assert.True(CanWrite(1));
        Assert.True(CanWrite(5));
    }

    [Fact]
    public void Memory_that_is_no_memory_file_is_not_taken()
    {
        UserFaultFd fault = Registered();
        string path = Path.Combine(AppContext.BaseDirectory, $"hyperscope-{Guid.NewGuid():N}");
        try
        {
            using var file = SharedMemory.CreateFile(path, Page);
            Assert.SkipWhen(new DriveInfo(path).DriveFormat is "tmpfs", "needs a disk");
            using MemoryMapping mapping = file.Map(0, Page);
            Assert.False(fault.TryRegister(mapping));
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void Protection_beyond_the_mapping_is_refused()
    {
        UserFaultFd fault = Registered();
        Assert.Throws<ArgumentOutOfRangeException>(() => fault.Protect(_mapping, Page, Pages * Page, isDenied: true));
        Assert.Throws<ArgumentOutOfRangeException>(() => fault.Protect(_mapping, (Pages + 1) * Page, 0, isDenied: true));
    }

    public void Dispose()
    {
        _mapping.Dispose();
        _alias.Dispose();
        _fault?.Dispose();
        _memory.Dispose();
    }

    private delegate ref ulong FieldOf<T>(ref T value);

    private static ulong Offset<T>(FieldOf<T> field)
        where T : unmanaged
    {
        T value = default;
        return (ulong)Unsafe.ByteOffset(ref Unsafe.As<T, byte>(ref value), ref Unsafe.As<ulong, byte>(ref field(ref value)));
    }

    private static bool IsWithin(string line, string start, string end)
    {
        // Neighbours of the same file may have been merged with it.
        string[] range = line.Split(' ', 2)[0].Split('-');
        return Number(range[0]) <= Number(start) && Number(range[1]) >= Number(end);
    }

    private static ulong Number(string hex) =>
        ulong.Parse(hex, System.Globalization.NumberStyles.HexNumber, System.Globalization.CultureInfo.InvariantCulture);

    private UserFaultFd Registered()
    {
        Assert.SkipWhen(_fault is null, _obstacle);
        Assert.True(_fault!.TryRegister(_mapping));
        return _fault;
    }

    private void Touch(ulong page) => Assert.True(CanWrite(page));

    // Sound here and below: both mappings are eight pages long and live until the end; nothing but the kernel writes to the first.
    private unsafe bool CanWrite(ulong page)
    {
        using Microsoft.Win32.SafeHandles.SafeFileHandle source = File.OpenHandle("/proc/self/exe");
        try
        {
            return RandomAccess.Read(source, new Span<byte>((byte*)_mapping.Address + (page * Page), 16), 0) == 16;
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static unsafe byte Read(MemoryMapping mapping, ulong page) => ((byte*)mapping.Address)[(page * Page) + 100];

    private static unsafe void Write(MemoryMapping mapping, ulong page, byte value) => ((byte*)mapping.Address)[(page * Page) + 100] = value;
}
