using Hyperscope.TestKit;
using Hyperscope.Vm;
using Hyperscope.X64.Execution;
using Bench = Hyperscope.X64.Tests.SystemMode.ProtectedModeBench;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>CR4.VME and CR4.PVI: virtual interrupts of virtual-8086 and level-3 code (SDM vol. 3, "8086 Emulation").</summary>
public sealed unsafe class VirtualInterruptTests : IDisposable
{
    private const ushort IoMap = 0x88; // the redirection bit map takes the 32 bytes below
    private const ulong Segment = 0x1_0000, Stack = 0x2_0000;
    private const int Vector = 0x80, Virtual = 1, Protected = 2, Refused = 13;

    private readonly ProtectedModeBench _bench = new();

    public void Dispose() => _bench.Dispose();

    [Theory]
    [InlineData(false, 3, false, Protected)]
    [InlineData(false, 3, true, Protected)]
    [InlineData(false, 0, false, Refused)]
    [InlineData(true, 0, true, Refused)]
    [InlineData(true, 2, true, Refused)]
    [InlineData(true, 3, true, Protected)]
    [InlineData(true, 3, false, Virtual)]
    [InlineData(true, 0, false, Virtual)]
    [InlineData(true, 2, false, Virtual)]
    public void INT_goes_where_VME_IOPL_and_its_bit_of_the_redirection_map_say(bool hasVme, int iopl, bool isBitSet, int where)
    {
        foreach (bool isEnabled in (bool[])[false, true])
        {
            using var self = new VirtualInterruptTests();
            self.Interrupt(hasVme, iopl, isBitSet, where, isEnabled);
        }
    }

    private void Interrupt(bool hasVme, int iopl, bool isBitSet, int where, bool isEnabled)
    {
        ulong interruptFlag = iopl == 3 ? Rflags.If : Rflags.Vif;
        Enter([0xCD, Vector], hasVme ? Cr4.Vme : 0, iopl, (isEnabled ? interruptFlag : 0) | Rflags.Nt | Rflags.Zf);
        _bench.Machine.Write(Bench.TaskA + IoMap - 32 + (Vector / 8), [(byte)(isBitSet ? 1 << (Vector % 8) : ~(1 << (Vector % 8)))]);
        _bench.SetGate(Vector, 0xEE);
        if (where != Virtual)
        {
            Assert.Equal(where == Protected ? Vector : Refused, _bench.RunToHandler());
            return;
        }

        _bench.Machine.Write(Vector * 4, [0x45, 0x23, 0x00, 0x10]); // 1000:2345
        Step();
        KvmRegs registers = _bench.Machine.Registers;
        Assert.Equal((0x2345UL, 0x1000, 0x7FAUL), (registers.Rip, _bench.Special.Cs.Selector, registers.Rsp));
        byte[] frame = _bench.Machine.Read(Stack + 0x7FA, 6);
        Assert.Equal((0x0012, 0x1000), (BitConverter.ToUInt16(frame), BitConverter.ToUInt16(frame, 2)));
        ulong pushed = 0x3000 | Rflags.Nt | Rflags.Zf | 2 | (isEnabled ? Rflags.If : 0);
        Assert.Equal(pushed, BitConverter.ToUInt16(frame, 4));
        Assert.Equal(0UL, registers.Rflags & (interruptFlag | Rflags.Tf));
        Assert.Equal((ulong)iopl, registers.Rflags >> 12 & 3);
    }

    [Theory]
    [InlineData(0xFA, 0UL, 0UL, 0UL)]                                  // cli
    [InlineData(0xFA, Rflags.Vif, 0UL, 0UL)]
    [InlineData(0xFA, Rflags.Vip, 0UL, Rflags.Vip)]
    [InlineData(0xFB, 0UL, 0UL, Rflags.Vif)]                           // sti
    [InlineData(0x9D, 0UL, Rflags.If, Rflags.Vif)]                     // popf
    [InlineData(0x9D, Rflags.Vif, 0UL, 0UL)]
    [InlineData(0x9D, Rflags.Vip, 0UL, Rflags.Vip)]
    [InlineData(0xCF, 0UL, Rflags.If, Rflags.Vif)]                     // iret
    [InlineData(0xCF, Rflags.Vif, 0UL, 0UL)]
    public void The_virtual_interrupt_flag_stands_for_IF_under_VME(int opcode, ulong before, ulong image, ulong after)
    {
        Enter([(byte)opcode], Cr4.Vme, iopl: 0, before);
        _bench.Machine.Write(Stack + 0x800, opcode == 0xCF ? [0x45, 0x23, 0x00, 0x10, .. BitConverter.GetBytes((ushort)image)] : BitConverter.GetBytes((ushort)image));
        Step();
        ulong flags = _bench.Machine.Registers.Rflags;
        Assert.Equal(after, flags & (Rflags.Vif | Rflags.Vip | Rflags.If));
        Assert.Equal(opcode == 0xCF ? 0x2345UL : 0x11, _bench.Machine.Registers.Rip);
    }

    [Theory]
    [InlineData(0xFB, Rflags.Vip, 0UL)]                                // sti with an interrupt pending
    [InlineData(0x9D, Rflags.Vip, Rflags.If)]                          // popf likewise
    [InlineData(0xCF, Rflags.Vip, Rflags.If)]                          // iret likewise
    [InlineData(0x9D, 0UL, Rflags.Tf)]
    [InlineData(0xCF, 0UL, Rflags.Tf)]
    public void What_the_monitor_must_see_is_a_general_protection_fault_under_VME(int opcode, ulong before, ulong image)
    {
        Enter([(byte)opcode], Cr4.Vme, iopl: 0, before);
        _bench.Machine.Write(Stack + 0x800, opcode == 0xCF ? [0x45, 0x23, 0x00, 0x10, .. BitConverter.GetBytes((ushort)image)] : BitConverter.GetBytes((ushort)image));
        Assert.Equal(13, _bench.RunToHandler());
    }

    [Theory]
    [InlineData(0x9C)]
    [InlineData(0x9D)]
    [InlineData(0xCF)]
    public void The_32_bit_forms_stay_sensitive_under_VME(int opcode)
    {
        Enter([0x66, (byte)opcode], Cr4.Vme, iopl: 0, 0);
        Assert.Equal(13, _bench.RunToHandler());
    }

    [Theory]
    [InlineData(0UL)]
    [InlineData(Rflags.Vif)]
    public void PUSHF_shows_the_virtual_flag_and_an_IOPL_of_3_under_VME(ulong virtualFlag)
    {
        Enter([0x9C], Cr4.Vme, iopl: 0, virtualFlag);
        Step();
        Assert.Equal(0x3002 | (virtualFlag != 0 ? Rflags.If : 0), (ulong)BitConverter.ToUInt16(_bench.Machine.Read(Stack + 0x7FE, 2)));
    }

    [Theory]
    [InlineData(0xFA, Cr4.Pvi, Rflags.Vif, 0UL)]                       // cli
    [InlineData(0xFB, Cr4.Pvi, 0UL, Rflags.Vif)]                       // sti
    [InlineData(0xFB, Cr4.Pvi, Rflags.Vip, ulong.MaxValue)]
    [InlineData(0xFA, 0UL, Rflags.Vif, ulong.MaxValue)]
    [InlineData(0xFB, Cr4.Vme, 0UL, ulong.MaxValue)]
    public void Level_3_code_has_virtual_interrupts_under_PVI(int opcode, ulong cr4, ulong before, ulong after)
    {
        _bench.EnterUser();
        SetCr4(cr4);
        _bench.Machine.Registers = _bench.Machine.Registers with { Rflags = 0x202 | before };
        _bench.Machine.Write(Bench.UserCode, [(byte)opcode]);
        if (after == ulong.MaxValue)
        {
            Assert.Equal(13, _bench.RunToHandler());
            return;
        }

        Step();
        Assert.Equal(Rflags.If | after, _bench.Machine.Registers.Rflags & (Rflags.If | Rflags.Vif | Rflags.Vip));
    }

    [Fact]
    public void CPUID_advertises_the_virtual_mode_extensions()
    {
        Assert.True(_bench.Vcpu.TryGetCpuid(1, 0, out CpuidResult result));
        Assert.Equal(1u, result.Edx >> 1 & 1);
    }

    private void Step() => Assert.Equal(StepKind.Completed, _bench.Machine.Step().Kind);

    // By IRET, the only way in: code at 1000:10, stack at 2000:800.
    private void Enter(byte[] code, ulong cr4, int iopl, ulong flags)
    {
        SetCr4(cr4);
        _bench.Machine.Write(Bench.TaskA + 0x66, BitConverter.GetBytes(IoMap));
        _bench.Machine.Write(Bench.TaskA + IoMap, [.. Enumerable.Repeat((byte)0xFF, 32)]);
        KvmSregs sregs = _bench.Special;
        sregs.Tr.Limit = 0x100;
        sregs.Cs = new KvmSegment { Limit = uint.MaxValue, Selector = Bench.Code, Type = 0xB, Present = 1, S = 1, Db = 1, G = 1 };
        sregs.Ss = new KvmSegment { Limit = uint.MaxValue, Selector = Bench.Data, Type = 3, Present = 1, S = 1, Db = 1, G = 1 };
        _bench.Vcpu.SetSpecialRegisters(sregs);
        uint[] frame = [0x10, 0x1000, (uint)(2 | Rflags.Vm | ((ulong)iopl << 12) | flags), 0x800, 0x2000, 0x2000, 0x2000, 0x2000, 0x2000];
        for (int index = 0; index < frame.Length; index++)
            _bench.Write32(0x9_0000 + ((ulong)index * 4), frame[index]);
        _bench.Machine.Registers = new KvmRegs { Rip = TestMachine.CodeAddress + 0x8000, Rsp = 0x9_0000, Rflags = 2 };
        _bench.Machine.Write(TestMachine.CodeAddress + 0x8000, [0xCF]);
        _bench.Machine.Write(Segment + 0x10, code);
        Step();
        Assert.Equal((3, 0x10UL), (_bench.Vcpu.State->Cpl, _bench.Machine.Registers.Rip));
    }

    private void SetCr4(ulong bits)
    {
        KvmSregs sregs = _bench.Special;
        sregs.Cr4 = (sregs.Cr4 & ~(Cr4.Vme | Cr4.Pvi)) | bits;
        _bench.Vcpu.SetSpecialRegisters(sregs);
    }
}
