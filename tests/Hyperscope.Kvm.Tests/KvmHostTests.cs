using Hyperscope.LinuxHost;
using Hyperscope.Vm;

namespace Hyperscope.Kvm.Tests;

public sealed class KvmHostTests
{
    [Fact]
    public void Device_that_is_not_there_is_refused_with_its_name()
    {
        LinuxException refused = Assert.Throws<LinuxException>(static () => new KvmDevice("/dev/hyperscope-none"));
        Assert.Equal(Errno.NoEntry, refused.Errno);
        Assert.Contains("/dev/hyperscope-none", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Probe_answers_in_one_line()
    {
        string? obstacle = KvmProbe.FindObstacle();
        Assert.DoesNotContain('\n', obstacle ?? "");
    }

    [Fact]
    public void Filter_takes_msrs_that_fit_its_ranges_and_refuses_more()
    {
        using KvmDevice device = Open();
        using KvmVm vm = device.CreateVm();
        vm.Enable(KvmCapability.X86UserSpaceMsr, 4);
        vm.SetMsrFilter([0x1B, 0x140, 0xC000_0082]);
        vm.SetMsrFilter([]);
        uint[] spread = [.. Enumerable.Range(0, KvmMsrFilter.MaxRanges + 1).Select(static index => (uint)index * 0x10_0000)];
        Assert.Throws<NotSupportedException>(() => vm.SetMsrFilter(spread));
    }

    [Fact]
    public void Slot_of_a_vm_can_be_deleted_and_made_again()
    {
        using KvmDevice device = Open();
        using KvmVm vm = device.CreateVm();
        using var memory = new SharedMemory("hyperscope-test", 4 * Gfn.PageSize);
        using MemoryMapping mapping = memory.Map(0, memory.Size);
        vm.SetMemory(0, new Gpa(0x10_0000), memory.Size, mapping.Address, isReadOnly: false);
        vm.SetMemory(0, new Gpa(0x10_0000), 0, 0, isReadOnly: false);
        vm.SetMemory(0, new Gpa(0x10_0000), memory.Size, mapping.Address, isReadOnly: true);
    }

    private static KvmDevice Open()
    {
        try
        {
            return new KvmDevice();
        }
        catch (LinuxException refused)
        {
            Assert.Skip($"needs {KvmDevice.DefaultPath}: {refused.Message}");
            throw;
        }
    }
}
