using Hyperscope.TestKit;
using Hyperscope.Vm;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>Operands that system instructions accept and refuse.</summary>
public sealed unsafe class SystemInstructionTests : IDisposable
{
    private const ulong Data = 0x6_0000;

    private readonly LongModeBench _bench = new();

    private CpuState* State => _bench.Vcpu.State;

    public void Dispose() => _bench.Dispose();

    [Theory]
    [InlineData(0UL, 0UL, 0x1234_5000UL, false, true)]
    [InlineData(0UL, 0UL, 0x0000_8000_0000_0000UL, false, false)]       // address not canonical
    [InlineData(0UL, 1UL, 0x1000UL, false, false)]                      // a PCID without CR4.PCIDE
    [InlineData(0UL, 0xFFFUL, 0x1000UL, true, true)]
    [InlineData(0UL, 0x1000UL, 0x1000UL, true, false)]                  // reserved bits of the descriptor
    [InlineData(1UL, 0UL, 0UL, false, true)]
    [InlineData(1UL, 1UL, 0UL, false, false)]
    [InlineData(1UL, 1UL, ulong.MaxValue >> 1, true, true)]             // the address is not looked at
    [InlineData(1UL, 1UL << 63, 0UL, true, false)]
    [InlineData(2UL, 0UL, 0UL, false, true)]
    [InlineData(2UL, 5UL, 0UL, false, true)]
    [InlineData(3UL, 0UL, 0UL, false, true)]
    [InlineData(3UL, 0x1000UL, 0UL, true, false)]
    [InlineData(4UL, 0UL, 0UL, true, false)]
    [InlineData(0x1_0000_0000UL, 0UL, 0UL, true, false)]
    public void INVPCID_checks_its_type_and_descriptor(ulong type, ulong pcid, ulong address, bool hasPcid, bool isValid)
    {
        State->Cr4 |= hasPcid ? Cr4.Pcide : 0;
        _bench.Machine.Write64(Data, pcid);
        _bench.Machine.Write64(Data + 8, address);
        _bench.Machine.Registers = _bench.Machine.Registers with { Rax = type, Rbx = Data };
        StepResult expected = isValid ? new StepResult(StepKind.Completed) : new StepResult(StepKind.Fault, X64.Vector.GeneralProtection);
        Assert.Equal(expected, _bench.Machine.Step([0x66, 0x0F, 0x38, 0x82, 0x03]));
    }

    [Fact]
    public void RDTSCP_and_RDPID_give_TSC_AUX()
    {
        Assert.True(_bench.Vcpu.SetMsr(MsrIndex.TscAux, 0x1234_5678));
        _bench.Machine.Registers = _bench.Machine.Registers with { Rax = ulong.MaxValue, Rcx = ulong.MaxValue, Rdx = ulong.MaxValue };
        Assert.Equal(StepKind.Completed, _bench.Machine.Step([0x0F, 0x01, 0xF9]).Kind);
        KvmRegs registers = _bench.Machine.Registers;
        Assert.Equal(0x1234_5678UL, registers.Rcx);
        Assert.Equal((0UL, 0UL), (registers.Rax >> 32, registers.Rdx >> 32));
        Assert.Equal(StepKind.Completed, _bench.Machine.Step([0xF3, 0x0F, 0xC7, 0xFE]).Kind); // rdpid rsi
        Assert.Equal(0x1234_5678UL, _bench.Machine.Registers.Rsi);
    }

    [Theory]
    [InlineData(new byte[] { 0x0F, 0x31 }, true)]
    [InlineData(new byte[] { 0x0F, 0x01, 0xF9 }, true)]
    [InlineData(new byte[] { 0xF3, 0x0F, 0xC7, 0xF8 }, false)]
    public void TSD_keeps_the_counter_from_user_code(byte[] code, bool isKept)
    {
        foreach (ulong disabled in (ulong[])[0, Cr4.Tsd])
        {
            using var self = new SystemInstructionTests();
            self._bench.EnterUser();
            self.State->Cr4 |= disabled;
            self._bench.Machine.Write(LongModeBench.UserCode, [.. code, 0x0F, 0x0B]);
            Assert.Equal(isKept && disabled != 0 ? 13 : 6, self._bench.RunToHandler());
        }
    }

    [Fact]
    public void XGETBV_has_XCR0_only_and_wants_OSXSAVE()
    {
        byte[] code = [0x0F, 0x01, 0xD0];
        Assert.Equal(new StepResult(StepKind.Fault, X64.Vector.InvalidOpcode), _bench.Machine.Step(code));
        State->Cr4 |= Cr4.OsXsave;
        _bench.Machine.Registers = _bench.Machine.Registers with { Rcx = 1 }; // what is in use: leaf D, sub-leaf 1 does not offer it
        Assert.Equal(new StepResult(StepKind.Fault, X64.Vector.GeneralProtection), _bench.Machine.Step(code));
        Assert.True(_bench.Vcpu.TryGetCpuid(0xD, 1, out CpuidResult leaf));
        Assert.Equal(0u, leaf.Eax & 4);
        _bench.Machine.Registers = _bench.Machine.Registers with { Rcx = 0xFFFF_FFFF_0000_0000, Rdx = 7 };
        Assert.Equal(StepKind.Completed, _bench.Machine.Step(code).Kind);
        Assert.Equal((State->Xcr0, 0UL), (_bench.Machine.Registers.Rax, _bench.Machine.Registers.Rdx));
    }

    [Theory]
    [InlineData(new byte[] { 0x0F, 0x34 }, 0UL, false)]
    [InlineData(new byte[] { 0x0F, 0x34 }, 3UL, false)]                 // RPL does not count
    [InlineData(new byte[] { 0x0F, 0x34 }, 8UL, true)]
    [InlineData(new byte[] { 0x48, 0x0F, 0x35 }, 0UL, false)]
    [InlineData(new byte[] { 0x48, 0x0F, 0x35 }, 8UL, true)]
    public void SYSENTER_and_SYSEXIT_want_a_code_selector(byte[] code, ulong selector, bool isValid)
    {
        Assert.True(_bench.Vcpu.SetMsr(MsrIndex.SysenterCs, selector));
        Assert.True(_bench.Vcpu.SetMsr(MsrIndex.SysenterEip, 0x3_8000));
        Assert.True(_bench.Vcpu.SetMsr(MsrIndex.SysenterEsp, LongModeBench.KernelStack));
        if (code.Length == 2)
            _bench.EnterUser();
        _bench.Machine.Registers = _bench.Machine.Registers with { Rdx = LongModeBench.UserCode, Rcx = LongModeBench.UserStack };
        StepResult expected = isValid ? new StepResult(StepKind.Completed) : new StepResult(StepKind.Fault, X64.Vector.GeneralProtection);
        Assert.Equal(expected, _bench.Machine.Step(code));
        if (!isValid)
            return;
        _bench.Vcpu.GetSpecialRegisters(out KvmSregs sregs);
        bool isEntry = code.Length == 2;
        Assert.Equal(isEntry ? (8, 0x10, 0) : (8 + 32 + 3, 8 + 40 + 3, 3), (sregs.Cs.Selector, sregs.Ss.Selector, State->Cpl));
        Assert.Equal(isEntry ? (0x3_8000UL, LongModeBench.KernelStack) : (LongModeBench.UserCode, LongModeBench.UserStack),
            (_bench.Machine.Registers.Rip, _bench.Machine.Registers.Rsp));
        Assert.Equal(0UL, isEntry ? _bench.Machine.Registers.Rflags & Rflags.If : 0);
    }

    [Fact]
    public void SYSEXIT_is_for_level_0_and_canonical_targets()
    {
        byte[] code = [0x48, 0x0F, 0x35];
        Assert.True(_bench.Vcpu.SetMsr(MsrIndex.SysenterCs, 8));
        _bench.Machine.Registers = _bench.Machine.Registers with { Rdx = 1UL << 47, Rcx = LongModeBench.UserStack };
        Assert.Equal(X64.Vector.GeneralProtection, _bench.Machine.Step(code).Vector);
        _bench.Machine.Registers = _bench.Machine.Registers with { Rdx = LongModeBench.UserCode, Rcx = 1UL << 47 };
        Assert.Equal(X64.Vector.GeneralProtection, _bench.Machine.Step(code).Vector);
        _bench.EnterUser();
        Assert.Equal(X64.Vector.GeneralProtection, _bench.Machine.Step(code).Vector);
    }

    [Theory]
    [InlineData(0UL, true)]
    [InlineData(8UL, false)]
    [InlineData(1UL, false)]
    public void CMPXCHG16B_wants_an_aligned_operand(ulong offset, bool isValid)
    {
        _bench.Machine.Registers = _bench.Machine.Registers with { Rbx = Data + offset };
        StepResult result = _bench.Machine.Step([0x48, 0x0F, 0xC7, 0x0B]);
        Assert.Equal(isValid ? new StepResult(StepKind.Completed) : new StepResult(StepKind.Fault, X64.Vector.GeneralProtection), result);
        _bench.Machine.Registers = _bench.Machine.Registers with { Rbx = Data + offset };
        Assert.Equal(StepKind.Completed, _bench.Machine.Step([0x0F, 0xC7, 0x0B]).Kind); // eight bytes go anywhere
    }

    [Theory]
    [InlineData(new byte[] { 0x0F, 0x09 })]
    [InlineData(new byte[] { 0x0F, 0x08 })]
    [InlineData(new byte[] { 0xF2, 0x0F, 0x09 })]
    public void Cache_instructions_are_for_level_0(byte[] code)
    {
        Assert.Equal(StepKind.Completed, _bench.Machine.Step(code).Kind);
        _bench.EnterUser();
        Assert.Equal(X64.Vector.GeneralProtection, _bench.Machine.Step(code).Vector);
    }

    [Theory]
    [InlineData(new byte[] { 0xF3, 0x0F, 0x09 })]                       // wbnoinvd
    [InlineData(new byte[] { 0xF3, 0x0F, 0xAE, 0xF0 })]                 // umonitor
    [InlineData(new byte[] { 0x66, 0x0F, 0xAE, 0xF0 })]                 // tpause
    [InlineData(new byte[] { 0xF2, 0x0F, 0xAE, 0xF0 })]                 // umwait
    [InlineData(new byte[] { 0x66, 0x0F, 0xAE, 0x33 })]                 // clwb
    [InlineData(new byte[] { 0x0F, 0x01, 0xC8 })]                       // monitor
    [InlineData(new byte[] { 0x0F, 0x01, 0xC9 })]                       // mwait
    [InlineData(new byte[] { 0x0F, 0x01, 0xE8 })]                       // serialize
    [InlineData(new byte[] { 0x0F, 0x01, 0xEE })]                       // rdpkru
    [InlineData(new byte[] { 0x0F, 0x01, 0xD5 })]                       // xend
    [InlineData(new byte[] { 0x66, 0x0F, 0x01, 0xD0 })]                 // xgetbv with a prefix
    [InlineData(new byte[] { 0xF3, 0x0F, 0x01, 0xCB })]                 // stac with a prefix
    [InlineData(new byte[] { 0xF0, 0x0F, 0x01, 0xF9 })]                 // lock rdtscp
    [InlineData(new byte[] { 0xF2, 0x0F, 0xAE, 0xE8 })]                 // lfence with a prefix
    [InlineData(new byte[] { 0x66, 0x0F, 0xAE, 0xF8 })]                 // pcommit
    [InlineData(new byte[] { 0x0F, 0xC7, 0x23 })]                       // xsavec
    [InlineData(new byte[] { 0x0F, 0xC7, 0x2B })]                       // xsaves
    public void What_CPUID_does_not_advertise_is_an_invalid_opcode(byte[] code)
    {
        State->Cr4 |= Cr4.OsXsave;
        _bench.Machine.Registers = _bench.Machine.Registers with { Rbx = Data };
        Assert.Equal(new StepResult(StepKind.Fault, X64.Vector.InvalidOpcode), _bench.Machine.Step(code));
    }
}
