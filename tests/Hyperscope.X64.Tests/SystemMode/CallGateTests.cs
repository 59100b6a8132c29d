using Hyperscope.TestKit;
using Bench = Hyperscope.X64.Tests.SystemMode.ProtectedModeBench;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>Far transfers outside long mode: directly, through call gates, and back.</summary>
public sealed class CallGateTests : IDisposable
{
    private const ulong Target = 0x7_0000;

    private readonly ProtectedModeBench _bench = new();

    public CallGateTests() => _bench.Machine.Write(Target, [0xF4]);

    public void Dispose() => _bench.Dispose();

    [Fact]
    public void A_gate_to_an_inner_level_copies_its_parameters()
    {
        _bench.SetDescriptor(Bench.Gate, Bench.GateDescriptor(0xEC, Bench.Code, Target, parameters: 2));
        _bench.EnterUser();
        _bench.Machine.Write(Bench.UserCode, [0x6A, 0x11, 0x6A, 0x22, .. Far(0x9A, Bench.Gate)]);
        _bench.RunToHalt();
        Assert.Equal([(uint)Bench.UserCode + 11, 0x1B, 0x22, 0x11, (uint)Bench.UserStack - 8, 0x23], _bench.Stack(6));
        Assert.Equal((Target + 1, Bench.KernelStack - 24, (byte)0), (_bench.Machine.Registers.Rip, _bench.Machine.Registers.Rsp, _bench.Special.Ss.Dpl));
    }

    [Fact]
    public void A_far_return_to_the_outer_level_releases_parameters_on_both_stacks()
    {
        _bench.SetDescriptor(Bench.Gate, Bench.GateDescriptor(0xEC, Bench.Code, Target, parameters: 2));
        _bench.Machine.Write(Target, [0xCA, 8, 0]);
        _bench.EnterUser();
        _bench.Machine.Write(Bench.UserCode, [0x6A, 0x11, 0x6A, 0x22, .. Far(0x9A, Bench.Gate), 0x0F, 0x0B]);
        Assert.Equal(6, _bench.RunToHandler());
        Assert.Equal([(uint)Bench.UserCode + 11, 0x1B, 0x1_0202, (uint)Bench.UserStack, 0x23], _bench.Stack(5));
    }

    [Fact]
    public void A_16_bit_gate_pushes_words()
    {
        _bench.SetDescriptor(Bench.Gate, Bench.GateDescriptor(0xE4, Bench.Code, 0xE000, parameters: 1));
        _bench.Machine.Write(0xE000, [0xF4]);
        _bench.EnterUser();
        _bench.Machine.Write(Bench.UserCode, [0x68, 0x34, 0x12, 0, 0, .. Far(0x9A, Bench.Gate)]);
        _bench.RunToHalt();
        Assert.Equal([(uint)(Bench.UserCode + 12) & 0xFFFF, 0x1B, 0x1234, (uint)(Bench.UserStack - 4) & 0xFFFF, 0x23], _bench.Stack(5, width: 2));
    }

    [Theory]
    [InlineData(0xCC, Bench.Code, 13, 0x48)]                // gate of a level the caller may not use
    [InlineData(0x6C, Bench.Code, 11, 0x48)]                // gate absent
    [InlineData(0xEC, (ushort)0, 13, 0)]
    [InlineData(0xEC, Bench.Data, 13, 0x10)]
    [InlineData(0xEC, Bench.BeyondTable, 13, 0x100)]
    [InlineData(0xEC, Bench.AbsentCode, 11, 0x60)]
    public void A_bad_gate_faults_with_the_selector_at_fault(int access, ushort selector, int vector, int code)
    {
        _bench.SetDescriptor(Bench.Gate, Bench.GateDescriptor(access, selector, Target));
        _bench.EnterUser();
        _bench.Machine.Write(Bench.UserCode, Far(0x9A, Bench.Gate));
        Assert.Equal(vector, _bench.RunToHandler());
        Assert.Equal([(uint)code, (uint)Bench.UserCode], _bench.Stack(2));
    }

    [Theory]
    [InlineData((ushort)0, 13, 0)]
    [InlineData((ushort)3, 13, 0)]
    [InlineData(Bench.Code, 13, 8)]             // inner level
    [InlineData(Bench.UserData, 13, 0x20)]
    [InlineData(Bench.BeyondTable, 13, 0x100)]
    [InlineData((ushort)0x1F, 13, 0x1C)]        // no LDT
    [InlineData(Bench.SelectorA, 13, 0x28)]     // a busy task of an inner level
    public void A_direct_far_jump_to_a_bad_selector_faults_with_it(ushort selector, int vector, int code)
    {
        _bench.EnterUser();
        _bench.Machine.Write(Bench.UserCode, Far(0xEA, selector));
        Assert.Equal(vector, _bench.RunToHandler());
        Assert.Equal([(uint)code, (uint)Bench.UserCode], _bench.Stack(2));
    }

    [Fact]
    public void A_conforming_segment_keeps_the_level_of_its_caller()
    {
        _bench.EnterUser();
        _bench.Machine.Write(Target, [0x0F, 0x0B]);
        _bench.Machine.Write(Bench.UserCode, Far(0x9A, Bench.Conforming));
        Assert.Equal(6, _bench.RunToHandler());
        Assert.Equal([(uint)Target, Bench.Conforming | 3u, 0x1_0202, (uint)Bench.UserStack - 8, 0x23], _bench.Stack(5));
    }

    [Theory]
    [InlineData(0xD0, Bench.AbsentStack, 12, 0x68)]   // mov ss: #SS
    [InlineData(0xD8, Bench.AbsentStack, 11, 0x68)]   // mov ds: #NP
    [InlineData(0xD0, Bench.UserData, 13, 0x20)]      // mov ss, wrong level
    [InlineData(0xD0, (ushort)0, 13, 0)]
    [InlineData(0xC0, Bench.SelectorA, 13, 0x28)]     // mov es, a system descriptor
    public void A_bad_segment_load_faults_with_the_selector(int modrm, ushort selector, int vector, int code)
    {
        _bench.Machine.Write(TestMachine.CodeAddress, [0x66, 0xB8, (byte)selector, (byte)(selector >> 8), 0x8E, (byte)modrm]);
        Assert.Equal(vector, _bench.RunToHandler());
        Assert.Equal([(uint)code, (uint)TestMachine.CodeAddress + 4], _bench.Stack(2));
    }

    [Fact]
    public void A_far_jump_behind_the_limit_is_a_general_protection_fault()
    {
        _bench.Machine.Write(TestMachine.CodeAddress, [0xEA, 0, 0, 1, 0, (byte)Bench.Code16, 0]);
        Assert.Equal(13, _bench.RunToHandler());
        Assert.Equal([0, (uint)TestMachine.CodeAddress], _bench.Stack(2));
    }

    [Fact]
    public void A_segment_that_is_used_becomes_accessed()
    {
        _bench.SetDescriptor(Bench.Code16, Bench.Descriptor(0, 0xFFFF, 0x9A, 0));
        _bench.SetDescriptor(Bench.Data16, Bench.Descriptor(0, 0xFFFF, 0x92, 0));
        _bench.Machine.Write(0xE000, [0xB8, Bench.Data16 & 0xFF, 0, 0x8E, 0xD8, 0xF4]); // mov ax, 40h; mov ds, ax; hlt
        _bench.Machine.Write(TestMachine.CodeAddress, [0xEA, 0, 0xE0, 0, 0, (byte)Bench.Code16, 0]);
        _bench.RunToHalt();
        Assert.Equal((0x9BUL, 0x93UL), (_bench.GetDescriptor(Bench.Code16) >> 40 & 0xFF, _bench.GetDescriptor(Bench.Data16) >> 40 & 0xFF));
    }

    private static byte[] Far(byte opcode, ushort selector) =>
        [opcode, 0, 0, (byte)(Target >> 16), 0, (byte)selector, (byte)(selector >> 8)];
}
