using System.Globalization;
using Hyperscope.LinuxHost;
using Hyperscope.Vm;
using Microsoft.Extensions.Logging.Abstractions;

namespace Hyperscope.Kvm.Tests;

/// <summary>Host protections follow the access map. They are read back from /proc, so any KVM will do, even one that cannot run guests.</summary>
public sealed class GuestViewTests : IDisposable
{
    private const ulong Frames = 64;

    private readonly GuestMemory _memory = new();
    private readonly AccessMap _map = new();
    private readonly KvmDevice? _device;
    private readonly KvmVm? _vm;
    private readonly GuestView? _view;

    public GuestViewTests()
    {
        _ = _memory.AddSlot(new Gpa(0), Frames * Gfn.PageSize);
        try
        {
            _device = new KvmDevice();
        }
        catch (LinuxException)
        {
            return;
        }

        _vm = _device.CreateVm();
        _view = new GuestView(_vm, _memory, _map, NullLogger.Instance);
    }

    [Theory]
    [InlineData(PageAccess.All, "rw-s")]
    [InlineData(PageAccess.Read | PageAccess.Execute, "r--s")]
    [InlineData(PageAccess.Read | PageAccess.Write, "---s")]
    [InlineData(PageAccess.Write | PageAccess.Execute, "---s")]
    [InlineData(PageAccess.None, "---s")]
    public void Page_gets_the_protection_that_hardware_can_express(PageAccess access, string expected)
    {
        Restrict(5, PageAccess.None);
        Restrict(5, access);
        Assert.Equal(expected, ProtectionOf(5));
        Assert.Equal("rw-s", ProtectionOf(4));
        Assert.Equal("rw-s", ProtectionOf(6));
    }

    [Fact]
    public void Last_of_several_changes_counts()
    {
        Need();
        lock (_map.WriterLock)
        {
            _map.Set(new Gfn(7), PageAccess.None);
            _map.Set(new Gfn(7), PageAccess.Read | PageAccess.Execute);
            _map.Set(new Gfn(8), PageAccess.None);
        }

        _view!.Apply();
        Assert.Equal(["r--s", "---s"], [ProtectionOf(7), ProtectionOf(8)]);
    }

    [Fact]
    public void Lifting_every_restriction_opens_every_page()
    {
        Restrict(1, PageAccess.None);
        Restrict(9, PageAccess.None);
        lock (_map.WriterLock)
            _map.Clear();
        _view!.Apply();
        Assert.Equal(["rw-s", "rw-s"], [ProtectionOf(1), ProtectionOf(9)]);
    }

    [Fact]
    public void Opening_for_one_instruction_is_undone()
    {
        Restrict(3, PageAccess.None);
        _view!.Open();
        Assert.Equal("rw-s", ProtectionOf(3));
        _view.Close();
        Assert.Equal("---s", ProtectionOf(3));
    }

    [Fact]
    public void Slot_that_comes_later_has_the_restrictions_of_its_addresses()
    {
        Restrict(0x1003, PageAccess.None);
        MemorySlot added = _memory.AddSlot(new Gpa(0x1000 * Gfn.PageSize), Frames * Gfn.PageSize);
        Assert.Equal("---s", ProtectionOf(0x1003));
        _memory.RemoveSlot(added);
    }

    [Fact]
    public void Software_sees_what_the_guest_may_not()
    {
        Restrict(2, PageAccess.None);
        Assert.True(_memory.TryWrite(new Gpa(2 * Gfn.PageSize), [1, 2, 3]));
        byte[] read = new byte[3];
        Assert.True(_memory.TryRead(new Gpa(2 * Gfn.PageSize), read));
        Assert.Equal([1, 2, 3], read);
    }

    public void Dispose()
    {
        _view?.Dispose();
        _vm?.Dispose();
        _device?.Dispose();
        _memory.Dispose();
    }

    private void Need() => Assert.SkipWhen(_view is null, $"needs {KvmDevice.DefaultPath}");

    private void Restrict(ulong frame, PageAccess access)
    {
        Need();
        lock (_map.WriterLock)
            _map.Set(new Gfn(frame), access);
        _view!.Apply();
    }

    private string ProtectionOf(ulong frame)
    {
        ulong address = (ulong)_view!.AddressOf(new Gfn(frame));
        foreach (string line in File.ReadLines("/proc/self/maps"))
        {
            string[] range = line.Split(' ')[0].Split('-');
            if (ulong.Parse(range[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture) <= address
                && address < ulong.Parse(range[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture))
            {
                return line.Split(' ')[1];
            }
        }

        return "unmapped";
    }
}
