using Hyperscope.TestKit;
using Hyperscope.Vm;
using Bench = Hyperscope.X64.Tests.SystemMode.ProtectedModeBench;

namespace Hyperscope.X64.Tests.SystemMode;

public sealed class TaskSwitchTests : IDisposable
{
    private const uint BusyType = 0x8B00, FreeType = 0x8900;

    private readonly ProtectedModeBench _bench = new();

    public TaskSwitchTests()
    {
        _bench.PrepareTaskB();
        KvmRegs registers = _bench.Machine.Registers;
        registers.Rax = 0x1234_5678;
        registers.Rdi = 0x9ABC_DEF0;
        _bench.Machine.Registers = registers;
    }

    public void Dispose() => _bench.Dispose();

    [Fact]
    public void JMP_saves_the_old_task_and_loads_the_new_one()
    {
        _bench.Machine.Write(TestMachine.CodeAddress, Far(0xEA, Bench.SelectorB));
        _bench.RunToHalt();
        KvmRegs registers = _bench.Machine.Registers;
        Assert.Equal((Bench.CodeB + 1, Bench.StackB, 0xA0UL, 0xC1UL, 0xD7UL, 2UL),
            (registers.Rip, registers.Rsp, registers.Rax, registers.Rcx, registers.Rdi, registers.Rflags));
        KvmSregs sregs = _bench.Special;
        Assert.Equal((Bench.SelectorB, Bench.TaskB, (byte)0xB, Bench.Code, 0, 1), (sregs.Tr.Selector, sregs.Tr.Base, sregs.Tr.Type, sregs.Cs.Selector, sregs.Fs.Selector, sregs.Fs.Unusable));
        Assert.NotEqual(0UL, sregs.Cr0 & Cr0.Ts);
        Assert.Equal((FreeType, BusyType), (Type(Bench.SelectorA), Type(Bench.SelectorB)));
        Assert.Equal(((uint)TestMachine.CodeAddress + 7, 2u, 0x1234_5678u, (uint)TestMachine.StackTop, 0x9ABC_DEF0u),
            (_bench.Read32(Bench.TaskA + 0x20), _bench.Read32(Bench.TaskA + 0x24), _bench.Read32(Bench.TaskA + 0x28), _bench.Read32(Bench.TaskA + 0x38), _bench.Read32(Bench.TaskA + 0x44)));
        Assert.Equal(((uint)Bench.Code, (uint)Bench.Data, 0u), (_bench.Read32(Bench.TaskA + 0x4C), _bench.Read32(Bench.TaskA + 0x50), _bench.Read32(Bench.TaskB)));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void CALL_nests_and_IRET_comes_back(bool throughGate)
    {
        _bench.SetDescriptor(Bench.Gate, Bench.GateDescriptor(0xE5, Bench.SelectorB, 0));
        _bench.Machine.Write(TestMachine.CodeAddress, [.. Far(0x9A, throughGate ? Bench.Gate : Bench.SelectorB), 0xF4]);
        _bench.Machine.Write(Bench.CodeB, [0x9C, 0x5B, 0xCF, 0x90, 0xF4]); // pushf; pop ebx; iret; nop; hlt
        _bench.RunToHalt();
        KvmRegs registers = _bench.Machine.Registers;
        Assert.Equal((TestMachine.CodeAddress + 8, 0x1234_5678UL, 2UL), (registers.Rip, registers.Rax, registers.Rflags));
        Assert.Equal((BusyType, FreeType, Bench.SelectorA), (Type(Bench.SelectorA), Type(Bench.SelectorB), _bench.Special.Tr.Selector));
        Assert.Equal((0x4002u, (uint)Bench.CodeB + 3, 2u, (uint)Bench.SelectorA),
            (_bench.Read32(Bench.TaskB + 0x34), _bench.Read32(Bench.TaskB + 0x20), _bench.Read32(Bench.TaskB + 0x24), _bench.Read32(Bench.TaskB)));
    }

    [Fact]
    public void A_task_that_is_called_again_goes_on_behind_its_IRET()
    {
        _bench.Machine.Write(TestMachine.CodeAddress, [.. Far(0x9A, Bench.SelectorB), .. Far(0x9A, Bench.SelectorB)]);
        _bench.Machine.Write(Bench.CodeB, [0xCF, 0x90, 0xF4]);
        _bench.RunToHalt();
        Assert.Equal((Bench.CodeB + 3, 0x4002UL), (_bench.Machine.Registers.Rip, _bench.Machine.Registers.Rflags));
        Assert.Equal((uint)TestMachine.CodeAddress + 14, _bench.Read32(Bench.TaskA + 0x20));
    }

    [Fact]
    public void A_task_gate_in_the_IDT_takes_a_fault_with_its_error_code()
    {
        _bench.SetGate(13, 0x85, Bench.SelectorB);
        _bench.EnterUser();
        _bench.Machine.Write(Bench.UserCode, [0x66, 0xB8, 0x00, 0x10, 0x8E, 0xD8]);
        _bench.RunToHalt();
        Assert.Equal((Bench.StackB - 4, 0x1000u), (_bench.Machine.Registers.Rsp, _bench.Stack(1)[0]));
        Assert.Equal(((uint)Bench.UserCode + 4, 0x1_0202u, (uint)Bench.UserCodeSelector),
            (_bench.Read32(Bench.TaskA + 0x20), _bench.Read32(Bench.TaskA + 0x24), _bench.Read32(Bench.TaskA + 0x4C)));
        Assert.Equal(0x4002UL, _bench.Machine.Registers.Rflags);
    }

    [Theory]
    [InlineData(0x8B, 0x67, 13, 0x30)]  // busy
    [InlineData(0x09, 0x67, 11, 0x30)]  // not present
    [InlineData(0x89, 0x66, 10, 0x30)]  // too small
    [InlineData(0x82, 0x67, 13, 0x30)]  // not a task
    public void A_bad_task_faults_in_the_old_one(int access, int limit, int vector, int code)
    {
        _bench.SetDescriptor(Bench.SelectorB, Bench.Descriptor(Bench.TaskB, (uint)limit, access, 0));
        _bench.Machine.Write(TestMachine.CodeAddress, Far(0xEA, Bench.SelectorB));
        Assert.Equal(vector, _bench.RunToHandler());
        Assert.Equal([(uint)code, (uint)TestMachine.CodeAddress], _bench.Stack(2));
        Assert.Equal((Bench.SelectorA, BusyType), (_bench.Special.Tr.Selector, Type(Bench.SelectorA)));
    }

    [Fact]
    public void IRET_to_a_task_that_is_not_busy_is_an_invalid_TSS()
    {
        _bench.Write32(Bench.TaskA, Bench.SelectorB);
        KvmRegs registers = _bench.Machine.Registers;
        registers.Rflags |= Rflags.Nt;
        _bench.Machine.Registers = registers;
        _bench.Machine.Write(TestMachine.CodeAddress, [0xCF]);
        Assert.Equal(10, _bench.RunToHandler());
        Assert.Equal([(uint)Bench.SelectorB, (uint)TestMachine.CodeAddress], _bench.Stack(2));
    }

    [Theory]
    [InlineData(0x4C, Bench.Data, 10, 0x10)]            // CS is data
    [InlineData(0x4C, Bench.AbsentCode, 11, 0x60)]
    [InlineData(0x54, Bench.BeyondTable, 10, 0x100)]    // DS
    [InlineData(0x5C, Bench.SelectorA, 10, 0x28)]       // GS is a system descriptor
    [InlineData(0x60, Bench.Data, 10, 0x10)]            // LDT is none
    public void A_bad_segment_of_the_new_task_faults_there(int field, ushort selector, int vector, int code)
    {
        // A task gate takes the fault, for the new task may have no stack or code of its own.
        const ushort TaskC = Bench.Spare;
        const ulong SegmentC = 0x2_4000;
        _bench.Machine.Write(SegmentC, _bench.Machine.Read(Bench.TaskB, 0x68));
        _bench.SetDescriptor(TaskC, Bench.Descriptor(SegmentC, 0x67, 0x89, 0));
        _bench.SetGate(vector, 0x85, TaskC);
        _bench.Write32(Bench.TaskB + (ulong)field, selector);
        _bench.Machine.Write(TestMachine.CodeAddress, Far(0xEA, Bench.SelectorB));
        _bench.RunToHalt();
        Assert.Equal((TaskC, (uint)code, (uint)Bench.CodeB, (uint)Bench.SelectorB),
            (_bench.Special.Tr.Selector, _bench.Stack(1)[0], _bench.Read32(Bench.TaskB + 0x20), _bench.Read32(SegmentC)));
    }

    [Fact]
    public void The_T_flag_traps_in_front_of_the_first_instruction()
    {
        _bench.Write32(Bench.TaskB + 0x64, 1);
        _bench.Machine.Write(TestMachine.CodeAddress, Far(0xEA, Bench.SelectorB));
        Assert.Equal(1, _bench.RunToHandler());
        Assert.Equal((uint)Bench.CodeB, _bench.Stack(1)[0]);
    }

    [Fact]
    public void A_16_bit_task_loads_and_saves_words()
    {
        ushort[] image = [0, 0, 0, 0, 0, 0, 0, 0xE000, 2, 0xA0, 0xC1, 0xD2, 0xB3, 0x8000, 0xB5, 0x56, 0xD7, Bench.Data, Bench.Code16, Bench.Data16, Bench.Data, 0];
        _bench.Machine.Write(Bench.TaskB, System.Runtime.InteropServices.MemoryMarshal.AsBytes<ushort>(image));
        _bench.SetDescriptor(Bench.SelectorB, Bench.Descriptor(Bench.TaskB, 0x2B, 0x81, 0));
        _bench.Machine.Write(0xE000, [0xF4]);
        _bench.Machine.Write(TestMachine.CodeAddress, Far(0xEA, Bench.SelectorB));
        _bench.RunToHalt();
        KvmRegs registers = _bench.Machine.Registers;
        Assert.Equal((0xE001UL, 0xA0UL, 0x8000UL, 0xD7UL), (registers.Rip, registers.Rax, registers.Rsp, registers.Rdi));
        Assert.Equal((Bench.Code16, Bench.Data16, (byte)3), (_bench.Special.Cs.Selector, _bench.Special.Ss.Selector, _bench.Special.Tr.Type));
    }

    [Fact]
    public void A_task_has_its_own_page_tables()
    {
        const ulong Directory = 0x70_0000, TableA = 0x70_1000, DirectoryB = 0x70_2000, TableB = 0x70_3000;
        for (uint index = 0; index < 1024; index++)
        {
            _bench.Write32(TableA + (index * 4), (index << 12) | 3);
            _bench.Write32(TableB + (index * 4), (index << 12) | 3);
        }

        _bench.Write32(Directory, (uint)TableA | 3);
        _bench.Write32(DirectoryB, (uint)TableB | 3);
        _bench.Write32(TableB + (0xA0 * 4), 0xB_0003);
        _bench.Write32(0xA_0000, 0xAAAA);
        _bench.Write32(0xB_0000, 0xBBBB);
        _bench.Write32(Bench.TaskB + 0x1C, (uint)DirectoryB);
        KvmSregs sregs = _bench.Special;
        sregs.Cr3 = Directory;
        sregs.Cr0 |= Cr0.Pg;
        _bench.Vcpu.SetSpecialRegisters(sregs);
        _bench.Machine.Write(TestMachine.CodeAddress, [0xA1, 0, 0, 0x0A, 0, .. Far(0xEA, Bench.SelectorB)]); // mov eax, [a0000h]
        _bench.Machine.Write(Bench.CodeB, [0x8B, 0x1D, 0, 0, 0x0A, 0, 0xF4]);                                // mov ebx, [a0000h]
        _bench.RunToHalt();
        Assert.Equal((0xAAAAu, 0xBBBBUL, DirectoryB), (_bench.Read32(Bench.TaskA + 0x28), _bench.Machine.Registers.Rbx, _bench.Special.Cr3));
    }

    private static byte[] Far(byte opcode, ushort selector) => [opcode, 0, 0, 0, 0, (byte)selector, (byte)(selector >> 8)];

    private uint Type(ushort selector) => (uint)(_bench.GetDescriptor(selector) >> 32) & 0xFF00;
}
