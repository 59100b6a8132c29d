using Hyperscope.TestKit;
using Hyperscope.Vm;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;
using static Iced.Intel.AssemblerRegisters;

namespace Hyperscope.X64.Tests.Vectors;

/// <summary>FXSAVE, XSAVE and their images, the checks of CR0 and CR4, and that a store which stops has no effect.</summary>
public class VectorStateTests
{
    private const ulong Data = 0x40_0000;

    private static byte[] Code(Action<Iced.Intel.Assembler> code) => TestMachine.AssembleBytes(CpuMode.Bits64, code);

    private static byte[] Image(int seed)
    {
        byte[] image = new byte[4096];
        new Random(seed).NextBytes(image.AsSpan(32, 384));
        for (int index = 0; index < 8; index++)
            image.AsSpan(32 + (index * 16) + 10, 6).Clear();
        image[0] = 0x7F;
        image[1] = 0x03;
        image[3] = 0x28;
        image[4] = 0xE1;
        image[24] = 0x80;
        image[25] = 0x1F;
        image[28] = image[29] = 0xFF;
        image[512] = 3;
        return image;
    }

    private static byte[] Xsave(TestMachine machine)
    {
        byte[] image = new byte[4096];
        machine.Vcpu.GetXsave(image);
        return image;
    }

    [Fact]
    public void An_image_that_was_set_is_what_is_read()
    {
        using var machine = new TestMachine();
        byte[] image = Image(1);
        Assert.True(machine.Vcpu.TrySetXsave(image));
        Assert.Equal(image, Xsave(machine));
    }

    [Theory]
    [InlineData(512, 7)] // a component that does not exist
    [InlineData(520, 1)] // XCOMP_BV
    [InlineData(527, 0x80)] // compacted
    [InlineData(26, 1)] // MXCSR bit 16
    public void An_image_with_a_bad_header_is_refused_without_effect(int offset, byte value)
    {
        using var machine = new TestMachine();
        Assert.True(machine.Vcpu.TrySetXsave(Image(1)));
        byte[] before = Xsave(machine), bad = Image(2);
        bad[offset] = value;
        Assert.False(machine.Vcpu.TrySetXsave(bad));
        Assert.Equal(before, Xsave(machine));
    }

    [Fact]
    public unsafe void A_short_image_counts_as_zero_behind_its_end()
    {
        using var machine = new TestMachine();
        Assert.True(machine.Vcpu.TrySetXsave(Image(1)));
        Assert.True(machine.Vcpu.TrySetXsave(default));
        Assert.Equal(0x37F, machine.Vcpu.State->X87Control);
        Assert.Equal(0x1F80u, machine.Vcpu.State->Mxcsr);
        Assert.Equal(0, machine.Vcpu.State->X87Tags);
        Assert.True(Xsave(machine).AsSpan(160, 256).IndexOfAnyExcept((byte)0) < 0);
    }

    [Fact]
    public void Fxsave_and_fxrstor_are_inverse()
    {
        using var machine = new TestMachine();
        byte[] image = Image(3);
        Assert.True(machine.Vcpu.TrySetXsave(image));
        Assert.Equal(StepKind.Completed, machine.Step(Code(a => a.fxsave64(__[Data]))).Kind);
        Assert.True(machine.Vcpu.TrySetXsave(Image(4)));
        Assert.Equal(StepKind.Completed, machine.Step(Code(a => a.fxrstor64(__[Data]))).Kind);
        Assert.Equal(image, Xsave(machine));
        Assert.Equal(image[..416], machine.Read(Data, 416));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public unsafe void Xsave_writes_what_was_asked_for_and_xrstor_loads_it(int components)
    {
        using var machine = new TestMachine();
        EnableXsave(machine);
        byte[] image = Image(5);
        Assert.True(machine.Vcpu.TrySetXsave(image));
        machine.Write(Data, Enumerable.Repeat((byte)0xCC, 512).ToArray());
        KvmRegs registers = machine.Registers;
        registers.Rax = (ulong)components;
        registers.Rdx = 0;
        machine.Registers = registers;
        Assert.Equal(StepKind.Completed, machine.Step(Code(a => a.xsave64(__[Data]))).Kind);
        byte[] written = machine.Read(Data, 576);
        bool x87 = (components & 1) != 0, sse = (components & 2) != 0;
        Assert.Equal(x87 ? image[0] : 0xCC, written[0]);
        Assert.Equal(x87 ? image[40] : 0xCC, written[40]);
        Assert.Equal(sse ? image[24] : 0xCC, written[24]);
        Assert.Equal(sse ? image[200] : 0xCC, written[200]);
        Assert.Equal(0xCC, written[450]);
        Assert.Equal(components, written[512]);

        Assert.True(machine.Vcpu.TrySetXsave(Image(6)));
        Assert.Equal(StepKind.Completed, machine.Step(Code(a => a.xrstor64(__[Data]))).Kind);
        byte[] after = Xsave(machine), other = Image(6);
        Assert.Equal((x87 ? image : other)[32..160], after[32..160]);
        Assert.Equal((sse ? image : other)[160..416], after[160..416]);
    }

    [Fact]
    public unsafe void Xsaveopt_leaves_out_what_is_in_its_initial_configuration()
    {
        foreach (int inUse in (int[])[0, 1, 2, 3])
        {
            using var machine = new TestMachine();
            EnableXsave(machine);
            byte[] image = Image(8);
            image[512] = (byte)inUse;
            Assert.True(machine.Vcpu.TrySetXsave(image));
            machine.Write(Data, Enumerable.Repeat((byte)0xCC, 512).ToArray());
            machine.Registers = machine.Registers with { Rax = 3, Rdx = 0 };
            Assert.Equal(StepKind.Completed, machine.Step(Code(a => a.xsaveopt64(__[Data]))).Kind);
            byte[] written = machine.Read(Data, 576), unwritten = Enumerable.Repeat((byte)0xCC, 256).ToArray();
            Assert.Equal(inUse, written[512]);
            Assert.Equal((inUse & 1) != 0 ? image[..24] : unwritten[..24], written[..24]);
            Assert.Equal((inUse & 1) != 0 ? image[32..160] : unwritten[..128], written[32..160]);
            Assert.Equal((inUse & 2) != 0 ? image[160..416] : unwritten, written[160..416]);
            Assert.Equal(machine.Vcpu.State->Mxcsr, BitConverter.ToUInt32(written, 24)); // belongs to no component's state of use
        }
    }

    [Fact]
    public unsafe void Xrstor_initializes_what_the_header_leaves_out_and_takes_MXCSR_from_memory()
    {
        using var machine = new TestMachine();
        EnableXsave(machine);
        Assert.True(machine.Vcpu.TrySetXsave(Image(9)));
        byte[] image = Image(10);
        image.AsSpan(512).Clear();
        BitConverter.TryWriteBytes(image.AsSpan(24), 0x9FC0u);
        machine.Write(Data, image);
        machine.Registers = machine.Registers with { Rax = 3, Rdx = 0 };
        Assert.Equal(StepKind.Completed, machine.Step(Code(a => a.xrstor64(__[Data]))).Kind);
        CpuState* c = machine.Vcpu.State;
        Assert.Equal((0x37F, 0, 0x9FC0u), (c->X87Control, c->X87Tags, c->Mxcsr));
        Assert.True(Xsave(machine).AsSpan(32, 384).IndexOfAnyExcept((byte)0) < 0);
    }

    [Theory]
    [InlineData(512, 4)]    // a component that XCR0 does not enable
    [InlineData(519, 0x80)]
    [InlineData(520, 1)]    // compacted form
    [InlineData(527, 0x80)]
    [InlineData(528, 1)]
    [InlineData(535, 0x80)]
    [InlineData(26, 1)]     // reserved bit of MXCSR
    public void Xrstor_refuses_a_bad_image_without_effect(int offset, byte value)
    {
        using var machine = new TestMachine();
        EnableXsave(machine);
        byte[] before = Image(11);
        Assert.True(machine.Vcpu.TrySetXsave(before));
        byte[] image = Image(12);
        image[offset] |= value;
        machine.Write(Data, image);
        machine.Registers = machine.Registers with { Rax = 3, Rdx = 0 };
        Assert.Equal(new StepResult(StepKind.Fault, 13), machine.Step(Code(a => a.xrstor64(__[Data]))));
        Assert.Equal(before, Xsave(machine));
    }

    [Fact]
    public void An_xsave_area_that_is_not_aligned_is_a_general_protection_fault()
    {
        using var machine = new TestMachine();
        EnableXsave(machine);
        machine.Registers = machine.Registers with { Rax = 3, Rdx = 0 };
        foreach (byte[] code in (byte[][])[Code(a => a.xsave(__[Data + 32])), Code(a => a.xsaveopt(__[Data + 32])), Code(a => a.xrstor(__[Data + 32])),
            Code(a => a.fxsave(__[Data + 8])), Code(a => a.fxrstor(__[Data + 8]))])
        {
            Assert.Equal(new StepResult(StepKind.Fault, 13), machine.Step(code));
        }
    }

    [Theory]
    [InlineData(0x2, 6)] // EM: #UD
    [InlineData(0x8, 7)] // TS: #NM
    public unsafe void Control_bits_keep_vector_instructions_out(int bits, byte vector)
    {
        using var machine = new TestMachine();
        machine.Vcpu.State->Cr0 |= bits switch { 2 => Cr0.Em, _ => Cr0.Ts };
        Assert.Equal(new StepResult(StepKind.Fault, vector), machine.Step(Code(a => a.addps(xmm1, xmm2))));
        Assert.Equal(new StepResult(StepKind.Fault, vector), machine.Step(Code(a => a.paddb(mm1, mm2))));
        Assert.Equal(new StepResult(StepKind.Fault, 7), machine.Step(Code(a => a.fld1())));
        Assert.Equal(new StepResult(StepKind.Fault, 7), machine.Step(Code(a => a.fninit())));
    }

    [Fact]
    public unsafe void Without_osfxsr_sse_is_invalid_and_mmx_is_not()
    {
        using var machine = new TestMachine();
        machine.Vcpu.State->Cr4 &= ~Cr4.OsFxsr;
        Assert.Equal(new StepResult(StepKind.Fault, 6), machine.Step(Code(a => a.movaps(xmm1, xmm2))));
        Assert.Equal(StepKind.Completed, machine.Step(Code(a => a.movq(mm1, mm2))).Kind);
    }

    [Fact]
    public void Xsave_without_osxsave_is_invalid()
    {
        using var machine = new TestMachine();
        Assert.Equal(new StepResult(StepKind.Fault, 6), machine.Step(Code(a => a.xsave(__[Data]))));
    }

    public static TheoryData<string> Stores => ["movups", "movdqu", "fxsave", "xsave", "fnsave", "fnstenv", "fstp", "maskmovdqu"];

    // The second page is missing (a fault) or restricted (an observer's business): neither page may change, nor any register.
    [Theory]
    [MemberData(nameof(Stores))]
    public unsafe void A_store_that_stops_on_its_second_page_has_no_effect(string name)
    {
        byte[] code = Code(a =>
        {
            switch (name)
            {
                case "movups": a.movups(__[Data + 0x1000 - 8], xmm3); break;
                case "movdqu": a.movdqu(__[Data + 0x1000 - 1], xmm3); break;
                case "fxsave": a.fxsave64(__[Data + 0x1000 - 0x100]); break;
                case "xsave": a.xsave64(__[Data + 0x1000 - 0x200]); break;
                case "fnsave": a.fnsave(__[Data + 0x1000 - 40]); break;
                case "fnstenv": a.fnstenv(__[Data + 0x1000 - 4]); break;
                case "fstp": a.fstp(__tbyte_ptr[Data + 0x1000 - 5]); break;
                default: a.maskmovdqu(xmm3, xmm4); break;
            }
        });
        foreach (bool isRestricted in (bool[])[false, true])
        {
            using var machine = new TestMachine();
            EnableXsave(machine);
            byte[] image = Image(7);
            Assert.True(machine.Vcpu.TrySetXsave(image));
            KvmRegs registers = machine.Registers;
            registers.Rax = 3;
            registers.Rdi = Data + 0x1000 - 3;
            machine.Registers = registers;
            byte[] before = Enumerable.Repeat((byte)0xA5, 0x2000).ToArray();
            machine.Write(Data, before);
            machine.Map(Data, Data, 0x1000);
            if (isRestricted)
                machine.Restrict(Data + 0x1000, PageAccess.Read);
            else
                machine.Map(Data + 0x1000, Data + 0x1000, 0x1000, 0);
            StepResult result = machine.Step(code);
            Assert.Equal(isRestricted ? StepKind.PageAccess : StepKind.Fault, result.Kind);
            Assert.Equal(before, machine.Read(Data, 0x2000));
            Assert.Equal(image, Xsave(machine));
            Assert.Equal(registers, machine.Registers);
        }
    }

    [Fact]
    public void Every_vector_and_x87_row_has_a_handler()
    {
        var missing = OpcodeMap.Instance.Rows.Where(row => row.Row.Feature.Length != 0 && row.Row.Select is null)
            .Select(row => row.Row.Name);
        Assert.Empty(missing);
    }

    private static unsafe void EnableXsave(TestMachine machine)
    {
        machine.Vcpu.State->Cr4 |= Cr4.OsXsave;
        machine.Vcpu.State->Xcr0 = 3;
    }
}
