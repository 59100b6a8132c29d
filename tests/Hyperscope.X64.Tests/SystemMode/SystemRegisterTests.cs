using Hyperscope.TestKit;
using Hyperscope.Vm;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>What control, debug and model-specific registers accept; the paravirtual clock.</summary>
public sealed class SystemRegisterTests : IDisposable
{
    private const ulong Code = TestMachine.CodeAddress;

    private readonly LongModeBench _bench = new();

    public void Dispose() => _bench.Dispose();

    [Theory]
    [InlineData(0, 0x8001_0033UL, true)]
    [InlineData(0, 0x1_8001_0033UL, false)]         // upper half
    [InlineData(0, 0x8001_0032UL, false)]           // PG without PE
    [InlineData(0, 0xA001_0033UL, false)]           // NW without CD
    [InlineData(0, 0xE001_0033UL, true)]
    [InlineData(0, 0x0001_0033UL, false)]           // paging off in 64-bit code
    [InlineData(3, 0x1FF_FFFF_F000UL, false)]       // beyond MAXPHYADDR
    [InlineData(4, 0x0UL, false)]                   // PAE off in long mode
    [InlineData(4, 0x620UL, true)]
    [InlineData(4, 0x30_06A0UL, true)]              // SMEP, SMAP, PGE
    [InlineData(4, 0x1620UL, false)]                // LA57
    [InlineData(4, 0x2620UL, false)]                // VMXE
    [InlineData(4, 0x40_0620UL, false)]             // PKE
    [InlineData(4, 0x80_0620UL, false)]             // CET
    [InlineData(4, 0x1_0000_0620UL, false)]
    [InlineData(4, 0x2_0620UL, true)]               // PCIDE: the low bits of CR3 are clear
    [InlineData(8, 0xFUL, true)]
    [InlineData(8, 0x10UL, false)]
    [InlineData(2, 0xFFFF_FFFF_FFFF_FFFFUL, true)]
    public void A_control_register_accepts_what_the_manual_allows(int register, ulong value, bool isValid)
    {
        SetRax(value);
        byte[] code = register == 8 ? [0x44, 0x0F, 0x22, 0xC0] : [0x0F, 0x22, (byte)(0xC0 | (register << 3))];
        StepResult result = _bench.Machine.Step(code);
        Assert.Equal(isValid ? new StepResult(StepKind.Completed) : new StepResult(StepKind.Fault, 13), result);
        Assert.Equal(isValid, _bench.Machine.Registers.Rip != Code);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(5)]
    [InlineData(7)]
    public void Other_control_registers_do_not_exist(int register)
    {
        Assert.Equal(new StepResult(StepKind.Fault, 6), _bench.Machine.Step([0x0F, 0x20, (byte)(0xC0 | (register << 3))]));
        Assert.Equal(new StepResult(StepKind.Fault, 6), _bench.Machine.Step([0x0F, 0x22, (byte)(0xC0 | (register << 3))]));
    }

    [Theory]
    [InlineData(MsrIndex.Efer, 0xD01UL, true)]
    [InlineData(MsrIndex.Efer, 0xC01UL, false)]             // LME changes under paging
    [InlineData(MsrIndex.Efer, 0x2D01UL, false)]
    [InlineData(MsrIndex.Lstar, 0x8000_0000_0000_0000UL, false)]
    [InlineData(MsrIndex.Lstar, 0xFFFF_8000_0000_0000UL, true)]
    [InlineData(MsrIndex.FsBase, 0x0000_8000_0000_0000UL, false)]
    [InlineData(MsrIndex.GsBase, 0x0000_7FFF_FFFF_FFFFUL, true)]
    [InlineData(MsrIndex.KernelGsBase, 0x1234_0000_0000_0000UL, false)]
    [InlineData(MsrIndex.SysenterEip, 0x8000_0000_0000UL, false)]
    [InlineData(MsrIndex.Sfmask, 0x1_0000_0000UL, false)]
    [InlineData(MsrIndex.Pat, 0x0007_0406_0007_0406UL, true)]
    [InlineData(MsrIndex.Pat, 0x0007_0406_0007_0206UL, false)]
    [InlineData(MsrIndex.Pat, 0x0007_0406_0007_0806UL, false)]
    [InlineData(0x2FFu, 0xC06UL, true)]
    [InlineData(0x2FFu, 0xC02UL, false)]
    [InlineData(0x2FFu, 0x1C06UL, false)]
    [InlineData(0x250u, 0x0606_0606_0606_0606UL, true)]
    [InlineData(0x250u, 0x0606_0206_0606_0606UL, false)]
    [InlineData(0x1B0u, 0UL, false)]
    [InlineData(0xC001_0015u, 0UL, false)]
    [InlineData(0x4000_0000u, 0UL, false)]
    [InlineData(MsrIndex.ApicBase, 0xFEE0_0900UL, true)]
    [InlineData(MsrIndex.ApicBase, 0xFEE0_0500UL, false)]   // x2APIC without enable
    [InlineData(MsrIndex.ApicBase, 0xFEE0_0901UL, false)]
    public void An_MSR_accepts_what_the_manual_allows_and_reads_back(uint index, ulong value, bool isValid)
    {
        SetRax((uint)value, rcx: index, rdx: value >> 32);
        Assert.Equal(isValid ? new StepResult(StepKind.Completed) : new StepResult(StepKind.Fault, 13), _bench.Machine.Step([0x0F, 0x30]));
        if (!isValid)
            return;
        Assert.Equal(StepKind.Completed, _bench.Machine.Step([0x0F, 0x32]).Kind);
        KvmRegs registers = _bench.Machine.Registers;
        Assert.Equal(value, registers.Rax | (registers.Rdx << 32));
    }

    [Theory]
    [InlineData(new byte[] { 0x0F, 0x30 })]             // wrmsr
    [InlineData(new byte[] { 0x0F, 0x32 })]             // rdmsr
    [InlineData(new byte[] { 0x0F, 0x20, 0xC0 })]
    [InlineData(new byte[] { 0x0F, 0x22, 0xD8 })]
    [InlineData(new byte[] { 0x0F, 0x21, 0xC0 })]
    [InlineData(new byte[] { 0x0F, 0x01, 0x10 })]       // lgdt
    [InlineData(new byte[] { 0x0F, 0x01, 0x18 })]       // lidt
    [InlineData(new byte[] { 0x0F, 0x00, 0xD8 })]       // ltr
    [InlineData(new byte[] { 0x0F, 0x00, 0xD0 })]       // lldt
    [InlineData(new byte[] { 0x0F, 0x06 })]             // clts
    [InlineData(new byte[] { 0x0F, 0x08 })]             // invd
    [InlineData(new byte[] { 0x0F, 0x09 })]             // wbinvd
    [InlineData(new byte[] { 0x0F, 0x01, 0x38 })]       // invlpg
    [InlineData(new byte[] { 0x0F, 0x01, 0xF0 })]       // lmsw
    [InlineData(new byte[] { 0x0F, 0x01, 0xF8 })]       // swapgs
    [InlineData(new byte[] { 0x48, 0x0F, 0x07 })]       // sysret
    [InlineData(new byte[] { 0xF4 })]
    [InlineData(new byte[] { 0xFA })]
    [InlineData(new byte[] { 0xE4, 0x10 })]
    public void Privileged_instructions_fault_in_user_code(byte[] code)
    {
        Assert.True(_bench.Vcpu.SetMsr(MsrIndex.Efer, 0xD01));
        _bench.Machine.Write(LongModeBench.Tss + 0x66, [0x68, 0]); // no permission map for ports
        _bench.EnterUser();
        SetRax(LongModeBench.UserStack - 0x100);
        Assert.Equal(new StepResult(StepKind.Fault, 13), _bench.Machine.Step(code));
    }

    [Fact]
    public void XSETBV_wants_OSXSAVE_level_0_and_known_components()
    {
        SetRax(3);
        Assert.Equal(6, _bench.Machine.Step([0x0F, 0x01, 0xD1]).Vector);
        _bench.Vcpu.GetSpecialRegisters(out KvmSregs sregs);
        sregs.Cr4 |= Cr4.OsXsave;
        _bench.Vcpu.SetSpecialRegisters(sregs);
        foreach ((ulong value, ulong index, bool isValid) in (ReadOnlySpan<(ulong, ulong, bool)>)[(3, 0, true), (1, 0, true), (2, 0, false), (0, 0, false), (0x103, 0, false), (3, 1, false)])
        {
            SetRax(value, rcx: index);
            Assert.Equal(isValid ? StepKind.Completed : StepKind.Fault, _bench.Machine.Step([0x0F, 0x01, 0xD1]).Kind);
        }

        Assert.Equal(1UL, _bench.Vcpu.Xcr0);
        _bench.EnterUser();
        SetRax(3);
        Assert.Equal(13, _bench.Machine.Step([0x0F, 0x01, 0xD1]).Vector);
    }

    [Fact]
    public void DR4_and_DR5_stand_for_DR6_and_DR7_unless_DE_is_set()
    {
        SetRax(0x5555);
        Assert.Equal(StepKind.Completed, _bench.Machine.Step([0x0F, 0x23, 0xE8]).Kind); // mov dr5, rax
        Assert.Equal(StepKind.Completed, _bench.Machine.Step([0x0F, 0x21, 0xFB]).Kind); // mov rbx, dr7
        Assert.Equal(0x5555UL & 0xFFFF_2BFF | 0x400, _bench.Machine.Registers.Rbx);
        _bench.Vcpu.GetSpecialRegisters(out KvmSregs sregs);
        sregs.Cr4 |= Cr4.De;
        _bench.Vcpu.SetSpecialRegisters(sregs);
        Assert.Equal(6, _bench.Machine.Step([0x0F, 0x21, 0xE3]).Vector);
        SetRax(1UL << 32);
        Assert.Equal(13, _bench.Machine.Step([0x0F, 0x23, 0xF8]).Vector);
    }

    [Fact]
    public void General_detect_guards_the_debug_registers_and_is_cleared_for_the_handler()
    {
        SetRax(0x2400);
        _bench.Machine.Write(Code, [0x0F, 0x23, 0xF8, 0x0F, 0x21, 0xC3]); // mov dr7, rax; mov rbx, dr0
        _bench.Machine.Write(LongModeBench.Handler(1), [0x0F, 0x21, 0xF1, 0x0F, 0x21, 0xFA, 0xF4]); // mov rcx, dr6; mov rdx, dr7; hlt
        Assert.Equal(1, _bench.RunToHandler());
        Assert.Equal(Code + 3, _bench.Stack(1)[0]);
        Assert.Equal(Rflags.Rf, _bench.Stack(3)[2] & Rflags.Rf);
        Assert.Equal((0xFFFF_2FF0UL, 0x400UL), (_bench.Machine.Registers.Rcx, _bench.Machine.Registers.Rdx));
    }

    [Fact]
    public void An_instruction_breakpoint_hits_until_the_handler_sets_RF()
    {
        ulong target = Code + 9;
        SetRax(target);
        _bench.Machine.Write(Code, [0x0F, 0x23, 0xC0, 0x31, 0xC9, 0x0F, 0x23, 0xFB, 0x90, 0xFF, 0xC1, 0x0F, 0x0B]); // dr0 = rax; ecx = 0; dr7 = rbx; nop; inc ecx; ud2
        KvmRegs registers = _bench.Machine.Registers;
        registers.Rbx = 1;
        _bench.Machine.Registers = registers;
        _bench.Machine.Write(LongModeBench.Handler(1), [0xFF, 0xC6, 0x81, 0x4C, 0x24, 0x10, 0, 0, 1, 0, 0x48, 0xCF]); // inc esi; or dword [rsp + 10h], RF; iretq
        Assert.Equal(6, _bench.RunToHandler());
        Assert.Equal((1UL, 1UL), (_bench.Machine.Registers.Rcx, _bench.Machine.Registers.Rsi));
    }

    [Theory]
    [InlineData(1_000_000_000UL)]
    [InlineData(2_400_000_000UL)]
    [InlineData(3_999_999_999UL)]
    [InlineData(25_000_000UL)]
    [InlineData(999_999_937UL)]
    public void The_scale_of_the_paravirtual_clock_turns_ticks_into_nanoseconds(ulong frequency)
    {
        (uint multiplier, sbyte shift) = KvmClock.Scale(frequency);
        ulong ticks = frequency * 100; // 100 s
        UInt128 shifted = shift < 0 ? ticks >> -shift : (UInt128)ticks << shift;
        ulong nanoseconds = (ulong)((shifted * multiplier) >> 32);
        Assert.InRange(nanoseconds, 100_000_000_000UL - 100, 100_000_000_000UL);
        Assert.InRange(multiplier, 1u << 31, uint.MaxValue);
    }

    [Fact]
    public void The_paravirtual_clock_page_holds_time_and_scale()
    {
        const ulong Page = 0x6_0100;
        SetRax(Page | 1, rcx: KvmClock.SystemTime);
        Assert.Equal(StepKind.Completed, _bench.Machine.Step([0x0F, 0x30]).Kind);
        byte[] page = _bench.Machine.Read(Page, 32);
        (uint multiplier, sbyte shift) = KvmClock.Scale(_bench.Vcpu.TscFrequency);
        Assert.Equal((0u, multiplier, shift, KvmClock.IsStable),
            (BitConverter.ToUInt32(page, 0) & 1, BitConverter.ToUInt32(page, 24), (sbyte)page[28], page[29]));
        Assert.NotEqual(0u, BitConverter.ToUInt32(page, 0));
        Assert.InRange(BitConverter.ToUInt64(page, 8), 0UL, _bench.Vcpu.ReadTsc());
    }

    [Theory]
    [InlineData(0x6_0100UL)]            // not enabled
    [InlineData(0x30_0000_0001UL)]      // no memory there
    [InlineData(0xFFFF_FFFF_FFFF_FFFFUL)]
    public void A_clock_page_that_cannot_be_written_is_not(ulong value)
    {
        SetRax((uint)value, rcx: KvmClock.SystemTime, rdx: value >> 32);
        Assert.Equal(StepKind.Completed, _bench.Machine.Step([0x0F, 0x30]).Kind);
        Assert.Equal(new byte[32], _bench.Machine.Read(0x6_0100, 32));
    }

    [Fact]
    public void CPUID_and_XSETBV_ask_and_report_to_the_observer()
    {
        var events = new FakeEvents();
        _bench.Vcpu.Events = events;
        _bench.Vcpu.Intercepts = VcpuIntercepts.Cpuid | VcpuIntercepts.Xsetbv;
        _bench.Vcpu.GetSpecialRegisters(out KvmSregs sregs);
        sregs.Cr4 |= Cr4.OsXsave;
        _bench.Vcpu.SetSpecialRegisters(sregs);

        // xor eax, eax; xor ecx, ecx; cpuid; mov eax, 3; xor ecx, ecx; xor edx, edx; xsetbv; ud2
        _bench.Machine.Write(Code, [0x31, 0xC0, 0x31, 0xC9, 0x0F, 0xA2, 0xB8, 3, 0, 0, 0, 0x31, 0xC9, 0x31, 0xD2, 0x0F, 0x01, 0xD1, 0x0F, 0x0B]);
        Assert.Equal(6, _bench.RunToHandler());
        Assert.Equal([$"{Code + 4:x} cpuid 0 0", $"{Code + 15:x} xcr0 1 3 3"], events.Log);
    }

    private void SetRax(ulong rax, ulong rcx = 0, ulong rdx = 0)
    {
        KvmRegs registers = _bench.Machine.Registers;
        registers.Rax = rax;
        registers.Rcx = rcx;
        registers.Rdx = rdx;
        _bench.Machine.Registers = registers;
    }
}
