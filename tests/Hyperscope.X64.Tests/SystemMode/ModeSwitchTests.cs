using System.Buffers.Binary;
using Hyperscope.TestKit;
using Hyperscope.Vm;
using static Iced.Intel.AssemblerRegisters;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>Real mode, the way up to long mode and back, start-up signals.</summary>
public sealed class ModeSwitchTests : IDisposable
{
    private const ulong Gdt = 0x2_0000, Root = 0x70_0000, Results = 0x8000, Handler = 0x3_0010;

    private readonly TestMachine _machine = new(CpuMode.Bits16, vcpus: 2);

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void From_real_mode_to_long_mode_and_back()
    {
        ulong[] descriptors = [0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x00AF_9B00_0000_FFFF, 0x0000_9B01_0000_FFFF];
        for (int index = 0; index < descriptors.Length; index++)
            _machine.Write64(Gdt + ((ulong)index * 8), descriptors[index]);
        _machine.Write(0x600, [0x27, 0, 0, 0, 2, 0]);
        _machine.Write64(Root, (Root + 0x1000) | 3);
        _machine.Write64(Root + 0x1000, 0x83);

        // lgdt [600h]; CR0.PE = 1; jmp 8:50000h
        _machine.Write(0x1_0000, [0x0F, 0x01, 0x16, 0x00, 0x06, 0x0F, 0x20, 0xC0, 0x0C, 0x01, 0x0F, 0x22, 0xC0, 0x66, 0xEA, 0, 0, 5, 0, 8, 0]);
        byte[] up = TestMachine.AssembleBytes(
            CpuMode.Bits32,
            a =>
            {
                a.mov(eax, 0x10);
                a.mov(ds, ax);
                a.mov(ss, ax);
                a.mov(esp, 0x9000);
                a.mov(eax, cr4);
                a.or(eax, (int)Cr4.Pae);
                a.mov(cr4, eax);
                a.mov(eax, (uint)Root);
                a.mov(cr3, eax);
                a.mov(ecx, MsrIndex.Efer);
                a.rdmsr();
                a.or(eax, (int)Efer.Lme);
                a.wrmsr();
                a.mov(eax, cr0);
                a.bts(eax, 31);
                a.mov(cr0, eax);
            },
            0x5_0000);
        _machine.Write(0x5_0000, [.. up, 0xEA, 0, 0, 6, 0, 0x18, 0]); // jmp 18h:60000h
        _machine.Write(0x6_0000, TestMachine.AssembleBytes(
            CpuMode.Bits64,
            a =>
            {
                a.mov(rax, 0x1122_3344_5566_7788);
                a.mov(__qword_ptr[Results], rax);
                a.rdmsr();
                a.mov(__dword_ptr[Results + 8], eax);
                a.push(8);
                a.push(0x5_0800);
                a.db(0x48, 0xCB); // retfq
            },
            0x6_0000));
        byte[] down = TestMachine.AssembleBytes(
            CpuMode.Bits32,
            a =>
            {
                a.mov(eax, cr0);
                a.btr(eax, 31);
                a.mov(cr0, eax);
                a.rdmsr();
                a.mov(__dword_ptr[(uint)Results + 16], eax);
                a.btr(eax, 8);
                a.wrmsr();
            },
            0x5_0800);
        _machine.Write(0x5_0800, [.. down, 0xEA, 0, 0x10, 0, 0, 0x20, 0]);                                  // jmp 20h:1000h
        _machine.Write(0x1_1000, [0x0F, 0x20, 0xC0, 0x24, 0xFE, 0x0F, 0x22, 0xC0, 0xEA, 0, 0x11, 0, 0x10]); // CR0.PE = 0; jmp 1000h:1100h
        _machine.Write(0x1_1100, [0x31, 0xC0, 0x8E, 0xD8, 0xC7, 0x06, 0x18, 0x80, 0xEF, 0xBE, 0xF4]);       // ds = 0; mov [8018h], beefh; hlt
        Assert.Equal(RunOutcome.Halted, _machine.Vcpu.Run(1000, returnOnHalt: true));
        Assert.Equal((0x1122_3344_5566_7788UL, 0x500UL, 0x100UL, 0xBEEFUL),
            (_machine.Read64(Results), _machine.Read64(Results + 8), _machine.Read64(Results + 16), _machine.Read64(Results + 24)));
        Assert.Equal(CpuMode.Bits16, _machine.Vcpu.Mode);
        Assert.Equal((0x110BUL, 0x1_0000UL), (_machine.Registers.Rip, Special.Cs.Base));
        Assert.Equal(0UL, Special.Efer);
    }

    [Theory]
    [InlineData(new byte[] { 0xCD, 0x21 }, 0x21, 2)]
    [InlineData(new byte[] { 0xCC }, 3, 1)]
    [InlineData(new byte[] { 0xF6, 0xF4 }, 0, 0)]                    // div ah, with ah = 0
    [InlineData(new byte[] { 0x0F, 0x0B }, 6, 0)]
    [InlineData(new byte[] { 0xA1, 0xFF, 0xFF }, 13, 0)]             // mov ax, [ffffh]: behind the limit, no error code
    [InlineData(new byte[] { 0x0F, 0x00, 0xD8 }, 6, 0)]              // ltr does not exist here
    public void An_interrupt_in_real_mode_pushes_three_words(byte[] code, int vector, int returnOffset)
    {
        SetVector(vector);
        _machine.Write(0x1_0000, code);
        SetFlags(0x302 & ~0x100UL);
        Assert.Equal(RunOutcome.Halted, _machine.Vcpu.Run(100, returnOnHalt: true));
        KvmRegs registers = _machine.Registers;
        Assert.Equal((0x11UL, TestMachine.StackTop - 6, 2UL), (registers.Rip, registers.Rsp, registers.Rflags));
        Assert.Equal([(ushort)returnOffset, 0x1000, 0x202], Words(registers.Rsp, 3));
    }

    [Fact]
    public void IRET_in_real_mode_restores_IP_CS_and_flags()
    {
        SetVector(0x21);
        _machine.Write(Handler, [0xF9, 0xCF]); // stc; iret
        _machine.Write(0x1_0000, [0xCD, 0x21, 0xF4]);
        SetFlags(0x202);
        Assert.Equal(RunOutcome.Halted, _machine.Vcpu.Run(100, returnOnHalt: true));
        Assert.Equal((3UL, TestMachine.StackTop, 0x202UL), (_machine.Registers.Rip, _machine.Registers.Rsp, _machine.Registers.Rflags));
    }

    [Fact]
    public void The_interrupt_table_is_where_LIDT_puts_it()
    {
        _machine.Write(0x600, [0xFF, 3, 0, 0, 9, 0]); // limit 3ffh, base 90000h
        _machine.Write(0x9_0000 + (0x21 * 4), [0x10, 0, 0, 0x30]);
        _machine.Write(Handler, [0xF4]);
        _machine.Write(0x1_0000, [0x0F, 0x01, 0x1E, 0x00, 0x06, 0xCD, 0x21]);
        Assert.Equal(RunOutcome.Halted, _machine.Vcpu.Run(100, returnOnHalt: true));
        Assert.Equal(0x11UL, _machine.Registers.Rip);
    }

    [Fact]
    public void An_interrupt_table_that_is_too_short_shuts_the_processor_down()
    {
        _machine.Write(0x600, [0x0F, 0, 0, 0, 0, 0]);
        _machine.Write(0x1_0000, [0x0F, 0x01, 0x1E, 0x00, 0x06, 0xCD, 0x21]);
        Assert.Equal(RunOutcome.Shutdown, _machine.Vcpu.Run(100, returnOnHalt: true));
    }

    [Fact]
    public void A_frame_wraps_around_the_stack_segment()
    {
        SetVector(0x21);
        _machine.Write(0x1_0000, [0xCD, 0x21]);
        KvmRegs registers = _machine.Registers;
        registers.Rsp = 0xFFFF_0004; // bits behind SP stay
        registers.Rflags = 2;
        _machine.Registers = registers;
        KvmSregs sregs = Special;
        sregs.Ss.Base = 0x4_0000;
        sregs.Ss.Selector = 0x4000;
        _machine.Vcpu.SetSpecialRegisters(sregs);
        Assert.Equal(RunOutcome.Halted, _machine.Vcpu.Run(100, returnOnHalt: true));
        Assert.Equal(0xFFFF_FFFEUL, _machine.Registers.Rsp);
        Assert.Equal([0x1000, 2], Words(0x4_0000, 2));
        Assert.Equal([2], Words(0x4_FFFE, 1));
    }

    [Fact]
    public void INIT_and_SIPI_start_a_processor_in_real_mode()
    {
        SoftwareVcpu second = _machine.Group.Vcpus[1];
        Assert.True(second.SetMsr(MsrIndex.Lstar, 0x1234));
        second.GetSpecialRegisters(out KvmSregs before);
        before.Cr4 = Cr4.Pse;
        before.Cr0 |= Cr0.Pe;
        second.SetSpecialRegisters(before);
        _machine.Write(0x1_2000, [0xE6, (byte)TestBus.StopPort]);
        second.PostInit();
        second.PostStartup(0x12);
        Assert.Equal(RunOutcome.Stopped, second.Run(100));
        second.GetRegisters(out KvmRegs registers);
        second.GetSpecialRegisters(out KvmSregs sregs);
        Assert.Equal((2UL, (ushort)0x1200, 0x1_2000UL, 0UL, 0UL), (registers.Rip, sregs.Cs.Selector, sregs.Cs.Base, sregs.Cr4, sregs.Cr0 & Cr0.Pe));
        Assert.True(second.TryReadMsr(MsrIndex.Lstar, out ulong kept));
        Assert.Equal(0x1234UL, kept);

        // A start-up signal that nobody waits for changes nothing.
        second.PostStartup(0x55);
        Assert.Equal(RunOutcome.LimitReached, second.Run(1));
        second.GetSpecialRegisters(out sregs);
        Assert.Equal((ushort)0x1200, sregs.Cs.Selector);
    }

    [Fact]
    public void INIT_lets_the_first_processor_start_at_the_reset_vector()
    {
        _machine.Vcpu.PostInit();
        Assert.Equal(RunOutcome.LimitReached, _machine.Vcpu.Run(0));
        Assert.Equal(0xFFF0UL, Peek().Rip);

        KvmRegs Peek()
        {
            _machine.Vcpu.Events = new FakeEvents { Entry = vcpu => _machine.Vcpu.RequestStop() };
            _machine.Vcpu.Kick();
            Assert.Equal(RunOutcome.Stopped, _machine.Vcpu.Run(0));
            return _machine.Registers;
        }
    }

    private KvmSregs Special
    {
        get
        {
            _machine.Vcpu.GetSpecialRegisters(out KvmSregs sregs);
            return sregs;
        }
    }

    private void SetVector(int vector)
    {
        _machine.Write((ulong)vector * 4, [0x10, 0, 0, 0x30]);
        _machine.Write(Handler, [0xF4]);
    }

    private void SetFlags(ulong flags)
    {
        KvmRegs registers = _machine.Registers;
        registers.Rflags = flags;
        registers.Rax = 0;
        _machine.Registers = registers;
    }

    private ushort[] Words(ulong address, int count) =>
        [.. Enumerable.Range(0, count).Select(index => BinaryPrimitives.ReadUInt16LittleEndian(_machine.Read(address + ((ulong)index * 2), 2)))];
}
