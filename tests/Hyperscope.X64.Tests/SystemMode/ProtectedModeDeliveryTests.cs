using Hyperscope.TestKit;
using Hyperscope.Vm;
using Bench = Hyperscope.X64.Tests.SystemMode.ProtectedModeBench;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>Gates, frames, stack switches and virtual-8086 mode outside long mode.</summary>
public sealed class ProtectedModeDeliveryTests : IDisposable
{
    private readonly ProtectedModeBench _bench = new();

    public void Dispose() => _bench.Dispose();

    [Fact]
    public void A_fault_through_a_32_bit_gate_pushes_doublewords_and_its_error_code()
    {
        _bench.Machine.Write(TestMachine.CodeAddress, [0x66, 0xB8, 0x03, 0x10, 0x8E, 0xD8]); // mov ax, 1003h; mov ds, ax
        Assert.Equal(13, _bench.RunToHandler());
        Assert.Equal([0x1000, (uint)TestMachine.CodeAddress + 4, 8, 0x1_0002], _bench.Stack(4));
        Assert.Equal(TestMachine.StackTop - 16, _bench.Machine.Registers.Rsp);
    }

    [Fact]
    public void A_fault_through_a_16_bit_gate_pushes_words()
    {
        _bench.SetGate(13, access: 0x86, target: 0xE000);
        _bench.Machine.Write(0xE000, [0xF4]);
        _bench.Machine.Write(TestMachine.CodeAddress, [0x66, 0xB8, 0x03, 0x10, 0x8E, 0xD8]);
        _bench.RunToHalt();
        Assert.Equal(0xE001UL, _bench.Machine.Registers.Rip);
        Assert.Equal([0x1000, (uint)(TestMachine.CodeAddress + 4) & 0xFFFF, 8, 2], _bench.Stack(4, width: 2));
        Assert.Equal(TestMachine.StackTop - 8, _bench.Machine.Registers.Rsp);
    }

    [Theory]
    [InlineData(0xEE, 4)]
    [InlineData(0xE6, 2)]
    public void From_user_code_the_old_stack_is_pushed_on_the_one_of_the_TSS(int access, int width)
    {
        _bench.SetGate(0x80, access, target: 0xE000);
        _bench.Machine.Write(0xE000, [0xF4]);
        _bench.EnterUser();
        _bench.Machine.Write(Bench.UserCode, [0xCD, 0x80]);
        _bench.RunToHalt();
        uint mask = width == 4 ? uint.MaxValue : 0xFFFF;
        Assert.Equal([(uint)(Bench.UserCode + 2) & mask, 0x1B, 0x202, (uint)Bench.UserStack & mask, 0x23], _bench.Stack(5, width));
        Assert.Equal((Bench.KernelStack - (ulong)(5 * width), Bench.Data, Bench.Code),
            (_bench.Machine.Registers.Rsp, _bench.Special.Ss.Selector, _bench.Special.Cs.Selector));
    }

    [Fact]
    public void The_inner_stack_comes_from_a_16_bit_TSS_too()
    {
        KvmSregs sregs = _bench.Special;
        sregs.Tr.Type = 3;
        sregs.Tr.Limit = 0x2B;
        _bench.Machine.Write(Bench.TaskA, [0, 0, 0x00, 0x80, 0x10, 0]);
        _bench.Vcpu.SetSpecialRegisters(sregs);
        _bench.EnterUser();
        _bench.SetGate(0x80, 0xEE);
        _bench.Machine.Write(Bench.UserCode, [0xCD, 0x80]);
        Assert.Equal(0x80, _bench.RunToHandler());
        Assert.Equal(0x8000UL - 20, _bench.Machine.Registers.Rsp);
    }

    [Theory]
    [InlineData(0x0E, Bench.Code, 11, 0x80 * 8 + 2)]
    [InlineData(0xEC, Bench.Code, 13, 0x80 * 8 + 2)]             // a call gate
    [InlineData(0x8E, Bench.Code, 13, 0x80 * 8 + 2)]             // of an inner level
    [InlineData(0xEE, (ushort)0, 13, 0)]
    [InlineData(0xEE, Bench.Data, 13, 0x10)]
    [InlineData(0xEE, Bench.BeyondTable, 13, 0x100)]
    [InlineData(0xEE, Bench.AbsentCode, 11, 0x60)]
    public void A_bad_gate_gives_the_fault_of_its_kind_without_EXT_for_INT(int access, ushort selector, int vector, int code)
    {
        _bench.EnterUser();
        _bench.SetGate(0x80, access | (access == 0x0E ? 0x60 : 0), selector);
        _bench.Machine.Write(Bench.UserCode, [0xCD, 0x80]);
        Assert.Equal(vector, _bench.RunToHandler());
        Assert.Equal([(uint)code, (uint)Bench.UserCode], _bench.Stack(2));
    }

    [Theory]
    [InlineData((ushort)0, 10, 0)]
    [InlineData(Bench.UserData, 10, 0x20)]
    [InlineData((ushort)0x13, 10, 0x10)]
    [InlineData(Bench.Code, 10, 8)]
    [InlineData(Bench.AbsentStack, 12, 0x68)]
    [InlineData(Bench.BeyondTable, 10, 0x100)]
    public void A_bad_inner_stack_selector_is_reported_with_it(ushort selector, int vector, int code)
    {
        // The handlers of these faults run at level 3, so that they need no inner stack themselves.
        _bench.Write32(Bench.TaskA + 8, selector);
        _bench.SetGate(vector, 0xEE, Bench.UserCodeSelector);
        _bench.Machine.Write(Bench.Handler(vector), [0x0F, 0x0B]);
        _bench.SetGate(6, 0x85, Bench.SelectorB);
        _bench.PrepareTaskB();
        _bench.EnterUser();
        _bench.SetGate(0x80, 0xEE);
        _bench.Machine.Write(Bench.UserCode, [0xCD, 0x80]);
        _bench.RunToHalt();
        ulong stack = _bench.Read32(Bench.TaskA + 0x38);
        Assert.Equal(Bench.Handler(vector), _bench.Read32(Bench.TaskA + 0x20));
        Assert.Equal([(uint)code, (uint)Bench.UserCode], [_bench.Read32(stack), _bench.Read32(stack + 4)]);
    }

    [Fact]
    public void IRET_returns_to_user_code_and_drops_kernel_data_segments()
    {
        _bench.EnterUser();
        _bench.SetGate(0x80, 0xEE);
        _bench.Machine.Write(Bench.Handler(0x80), [0x66, 0xB8, 0x10, 0, 0x8E, 0xD8, 0x8E, 0xE0, 0xCF]); // ds = fs = 10h; iret
        _bench.Machine.Write(Bench.UserCode, [0xCD, 0x80, 0x0F, 0x0B]);
        Assert.Equal(6, _bench.RunToHandler());
        Assert.Equal([(uint)(Bench.UserCode + 2), 0x1B, 0x1_0202, (uint)Bench.UserStack, 0x23], _bench.Stack(5));
        KvmSregs sregs = _bench.Special;
        Assert.Equal((0, 1, 0, 0x23), (sregs.Ds.Selector, sregs.Ds.Unusable, sregs.Fs.Selector, sregs.Es.Selector));
    }

    [Fact]
    public void User_code_cannot_change_IF_or_IOPL_with_IRET_or_POPF()
    {
        _bench.EnterUser();
        _bench.Machine.Write(Bench.UserCode, [0x68, 0, 0x30, 0, 0, 0x9D, 0x9C, 0x58, 0x0F, 0x0B]); // push 3000h; popf; pushf; pop eax; ud2
        Assert.Equal(6, _bench.RunToHandler());
        Assert.Equal(0x202UL, _bench.Machine.Registers.Rax);
    }

    [Fact]
    public void A_virtual_8086_task_is_entered_by_IRET_and_left_by_an_interrupt()
    {
        uint[] frame = [0x10, 0x1000, 0x2_0202 | 0x3000, 0x800, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000]; // ip cs flags sp ss es ds fs gs
        EnterVirtual(frame);
        _bench.Machine.Write(0x1_0010, [0x8C, 0xD8, 0xA3, 0x02, 0, 0x8E, 0xC0, 0xCD, 0x80]); // mov ax, ds; mov [2], ax; mov es, ax; int 80h
        _bench.SetGate(0x80, 0xEE);
        Assert.Equal(0x80, _bench.RunToHandler());
        Assert.Equal([0x19, 0x1000, 0x2_3202, 0x800, 0x2000, 0x4000, 0x4000, 0x5000, 0x6000], _bench.Stack(9));
        Assert.Equal(0x4000u, _bench.Read32(0x4_0002) & 0xFFFF);
        KvmSregs sregs = _bench.Special;
        Assert.Equal((1, 1, 1, 1), (sregs.Ds.Unusable, sregs.Es.Unusable, sregs.Fs.Unusable, sregs.Gs.Unusable));
        Assert.Equal(0UL, _bench.Machine.Registers.Rflags & Rflags.Vm);
    }

    [Theory]
    [InlineData(new byte[] { 0xFA }, 6)]        // cli
    [InlineData(new byte[] { 0xFB }, 6)]        // sti
    [InlineData(new byte[] { 0x9C }, 6)]        // pushf
    [InlineData(new byte[] { 0x9D }, 6)]        // popf
    [InlineData(new byte[] { 0xCD, 0x80 }, 0x80)]
    [InlineData(new byte[] { 0xCF }, 6)]        // iret, to 0:0
    [InlineData(new byte[] { 0xF4 }, 13)]       // hlt
    [InlineData(new byte[] { 0x0F, 0x20, 0xC0 }, 13)]
    [InlineData(new byte[] { 0x0F, 0x01, 0xF0 }, 13)]
    public void Sensitive_instructions_of_virtual_8086_code_fault_by_IOPL(byte[] code, int vectorAtLevel3)
    {
        foreach (uint iopl in (uint[])[0, 3])
        {
            using var self = new ProtectedModeDeliveryTests();
            self.EnterVirtual([0x10, 0x1000, 0x2_0202 | (iopl << 12), 0x800, 0x2000, 0, 0, 0, 0]);
            self._bench.Machine.Write(0x2_0800, new byte[16]);
            self._bench.Machine.Write(0x1_0010, [.. code, 0x0F, 0x0B]);
            self._bench.Machine.Write(0, [0x0F, 0x0B]);
            self._bench.SetGate(0x80, 0xEE);
            Assert.Equal(iopl == 0 ? 13 : vectorAtLevel3, self._bench.RunToHandler());
        }
    }

    [Theory]
    [InlineData(new byte[] { 0x0F, 0x00, 0xC8 })]   // str
    [InlineData(new byte[] { 0x0F, 0x00, 0xD8 })]   // ltr
    [InlineData(new byte[] { 0x0F, 0x02, 0xC0 })]   // lar
    [InlineData(new byte[] { 0x0F, 0x00, 0xE0 })]   // verr
    [InlineData(new byte[] { 0x63, 0xC0 })]         // arpl
    public void Descriptor_instructions_do_not_exist_in_virtual_8086_code(byte[] code)
    {
        EnterVirtual([0x10, 0x1000, 0x2_3202, 0x800, 0x2000, 0, 0, 0, 0]);
        _bench.Machine.Write(0x1_0010, code);
        Assert.Equal(6, _bench.RunToHandler());
    }

    private void EnterVirtual(uint[] frame)
    {
        ulong stack = 0x9_0000;
        for (int index = 0; index < frame.Length; index++)
            _bench.Write32(stack + ((ulong)index * 4), frame[index]);
        KvmRegs registers = _bench.Machine.Registers;
        KvmSregs sregs = _bench.Special;
        sregs.Cs = new KvmSegment { Limit = uint.MaxValue, Selector = Bench.Code, Type = 0xB, Present = 1, S = 1, Db = 1, G = 1 };
        sregs.Ss = new KvmSegment { Limit = uint.MaxValue, Selector = Bench.Data, Type = 3, Present = 1, S = 1, Db = 1, G = 1 };
        _bench.Vcpu.SetSpecialRegisters(sregs);
        registers.Rip = TestMachine.CodeAddress + 0x8000;
        registers.Rsp = stack;
        registers.Rflags = 2;
        _bench.Machine.Registers = registers;
        _bench.Machine.Write(TestMachine.CodeAddress + 0x8000, [0xCF]);
    }
}
