using Hyperscope.TestKit;
using Hyperscope.Vm;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>A pending x87 exception: #MF with CR0.NE, else the error pin of a PC, the wait for its interrupt and IGNNE#.</summary>
public sealed unsafe class X87ErrorTests : IDisposable
{
    private const ulong Code = TestMachine.CodeAddress;
    private const ushort ZeroDivide = 4, ErrorSummary = 0x80;
    private static readonly byte[] _divideByZero = [0xD9, 0xE8, 0xD8, 0x35, 0x00, 0x00, 0x07, 0x00]; // fld1; fdiv dword [0x70000]

    private readonly ProtectedModeBench _bench = new();
    private readonly FakeInterrupts _interrupts = new();

    public X87ErrorTests()
    {
        _bench.Vcpu.Interrupts = _interrupts;
        _bench.Vcpu.State->X87Control = 0x37F & ~ZeroDivide;
        _bench.Vcpu.State->X87Tags = 0;
    }

    private ushort Status => _bench.Vcpu.State->X87Status;

    public void Dispose() => _bench.Dispose();

    public static TheoryData<string> Waiting => ["9B", "D9E8", "D92D00000700", "D92500000700", "DD2500000700", "D9D0", "DDC0", "D9F7", "0F77", "0FFCC1", "0F7EC0",
        "0FF7C1", "660F2AC1"];

    public static TheoryData<string> Silent => ["DBE2", "DBE3", "DFE0", "D93D00000700", "DD3D00000700", "D93500000700", "DD3500000700", "0FAE0500000700", "DBE4",
        "0F57C0", "660FFCC1"];

    [Theory]
    [MemberData(nameof(Waiting))]
    public void With_NE_the_next_waiting_instruction_raises_MF_in_front_of_itself(string instruction)
    {
        RunDivision(Convert.FromHexString(instruction));
        Assert.Equal(16, _bench.RunToHandler());
        Assert.Equal((uint)Code + 8, _bench.Stack(1)[0]);
        Assert.Equal(ZeroDivide | ErrorSummary, Status & (ZeroDivide | ErrorSummary));
    }

    [Theory]
    [MemberData(nameof(Silent))]
    public void Instructions_that_do_not_wait_execute_with_an_error_pending(string instruction)
    {
        RunDivision([.. Convert.FromHexString(instruction), 0xF4]);
        _bench.RunToHalt();
        Assert.Equal(Code + 8 + (ulong)(instruction.Length / 2) + 1, _bench.Machine.Registers.Rip);
    }

    [Theory]
    [MemberData(nameof(Waiting))]
    public void Without_NE_the_pin_is_driven_and_the_instruction_waits_for_an_interrupt(string instruction)
    {
        var line = new CountingLine();
        ClearNe(line);
        RunDivision(Convert.FromHexString(instruction), flags: 0x202);
        _bench.RunToHalt();
        Assert.Equal((Code + 8, 1), (_bench.Machine.Registers.Rip, line.Assertions));
        _interrupts.Raise(0x75);
        Assert.Equal(0x75, _bench.RunToHandler());
        Assert.Equal((uint)Code + 8, _bench.Stack(1)[0]);
        Assert.Equal(1, line.Assertions);
    }

    [Fact]
    public void Without_NE_an_interrupt_that_comes_by_the_pin_is_taken_at_once()
    {
        ClearNe(new CountingLine { OnAssert = () => _interrupts.Raise(0x75) });
        RunDivision([0x9B], flags: 0x202);
        Assert.Equal(0x75, _bench.RunToHandler());
        Assert.Equal((uint)Code + 8, _bench.Stack(1)[0]);
    }

    [Fact]
    public void An_interrupt_that_leaves_the_error_pending_brings_the_instruction_back_to_its_wait()
    {
        var line = new CountingLine();
        ClearNe(line);
        _bench.Machine.Write(ProtectedModeBench.Handler(0x20), [0xCF]); // iret
        RunDivision([0x9B], flags: 0x202);
        _bench.RunToHalt();
        _interrupts.Raise(0x20);
        _bench.RunToHalt();
        Assert.Equal((Code + 8, 2), (_bench.Machine.Registers.Rip, line.Assertions));
    }

    [Theory]
    [MemberData(nameof(Waiting))]
    public void While_errors_are_ignored_the_instruction_goes_on(string instruction)
    {
        var line = new CountingLine();
        ClearNe(line);
        RunDivision([.. Convert.FromHexString(instruction), 0xF4]);
        _bench.RunToHalt();
        Assert.Equal(Code + 8, _bench.Machine.Registers.Rip);
        _bench.Vcpu.IgnoreX87Error();
        _interrupts.HasNmi = true; // wakes it
        _bench.Machine.Write(ProtectedModeBench.Handler(2), [0xCF]);
        _bench.RunToHalt();
        Assert.Equal((Code + 8 + (ulong)(instruction.Length / 2) + 1, 1), (_bench.Machine.Registers.Rip, line.Assertions));
    }

    [Fact]
    public void After_the_error_was_cleared_the_next_one_is_reported_again()
    {
        var line = new CountingLine();
        ClearNe(line);
        _bench.Vcpu.IgnoreX87Error();
        byte[] program = [.. _divideByZero, 0xDB, 0xE2, .. _divideByZero, 0x9B]; // fnclex in between
        _bench.Machine.Write(Code, program);
        _bench.RunToHalt();
        Assert.Equal((Code + 18, 1), (_bench.Machine.Registers.Rip, line.Assertions));
    }

    [Fact]
    public void An_error_unmasked_by_a_control_word_or_loaded_with_an_environment_is_reported()
    {
        var line = new CountingLine();
        ClearNe(line);
        foreach (byte[] load in (byte[][])[[0xD9, 0x2D, 0, 0, 7, 0], [0xD9, 0x25, 0, 0, 7, 0]])
        {
            _bench.Vcpu.State->X87Control = 0x37F;
            _bench.Vcpu.State->X87Status = ZeroDivide;
            _bench.Vcpu.IgnoreX87Error(); // of an error before
            _bench.Machine.Write64(0x7_0000, 0x0000_0004_0000_037B);
            int before = line.Assertions;
            _bench.Machine.Registers = _bench.Machine.Registers with { Rip = Code };
            _bench.Machine.Write(Code, [.. load, 0x9B]);
            _interrupts.HasNmi = true; // wakes it where it waits already
            _bench.Machine.Write(ProtectedModeBench.Handler(2), [0xCF]);
            _bench.RunToHalt();
            Assert.Equal((Code + 6, before + 1), (_bench.Machine.Registers.Rip, line.Assertions));
        }
    }

    private void RunDivision(ReadOnlySpan<byte> then, ulong flags = 2)
    {
        _bench.Machine.Write(Code, [.. _divideByZero, .. then]);
        _bench.Machine.Registers = _bench.Machine.Registers with { Rflags = flags };
    }

    private void ClearNe(IInterruptLine line)
    {
        KvmSregs sregs = _bench.Special;
        sregs.Cr0 &= ~Cr0.Ne;
        _bench.Vcpu.SetSpecialRegisters(sregs);
        _bench.Vcpu.X87ErrorLine = line;
    }

    private sealed class CountingLine : IInterruptLine
    {
        public int Assertions { get; private set; }

        public Action? OnAssert { get; init; }

        public void Set(bool asserted)
        {
            Assert.True(asserted);
            Assertions++;
            OnAssert?.Invoke();
        }
    }
}
