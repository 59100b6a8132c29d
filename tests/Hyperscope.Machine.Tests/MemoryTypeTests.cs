using Hyperscope.Vm;

namespace Hyperscope.Machine.Tests;

public sealed class MemoryTypeTests
{
    [Fact]
    public async Task A_loaded_program_finds_the_memory_types_that_firmware_leaves()
    {
        await using var vm = new VirtualMachine(new VirtualMachineOptions { MemoryBytes = 16 << 20, VcpuCount = 2 });
        vm.Load([(new Gpa(0x1000), new byte[] { 0xF4 })], static _ => (default, default));
        foreach (IVcpu vcpu in vm.Vcpus)
        {
            Assert.True(vcpu.TryReadMsr(0x2FF, out ulong type));
            Assert.Equal(0xC06UL, type);
            Assert.Equal(
                [MemoryType.WriteBack, MemoryType.WriteBack, MemoryType.Uncacheable, MemoryType.WriteProtected, MemoryType.WriteBack],
                new ulong[] { 0, 0x9_F000, 0xA_0000, 0xF_0000, 0x10_0000 }.Select(gpa => vcpu.GetMemoryType(new Gpa(gpa))));
        }
    }
}
