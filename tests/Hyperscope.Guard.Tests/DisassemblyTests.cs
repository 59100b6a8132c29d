using Hyperscope.Vm;

namespace Hyperscope.Guard.Tests;

public sealed class DisassemblyTests
{
    [Theory]
    [InlineData("0f0118", 0x1_fffffff0, 3)] // lidt [rax]
    [InlineData("670f0118", 0xfffffff0, 4)] // lidt [eax]
    [InlineData("670f015c4808", 0x8, 6)] // lidt [eax+ecx*2+8]
    [InlineData("0f011510000000", 0x1017, 7)] // lgdt [rip+16]
    [InlineData("410f0110", 0x77, 4)] // lgdt [r8]
    [InlineData("650f0118", 0x2_fffffff0, 4)] // lidt [gs:rax]
    public void Operand_of_a_table_is_where_the_processor_reads_it(string code, ulong address, int length)
    {
        var registers = new KvmRegs { Rip = 0x1000, Rax = 0x1_fffffff0, Rcx = 8, R8 = 0x77 };
        KvmSregs system = default;
        system.Gs.Base = 0x1_00000000;
        Assert.Equal((new Gva(address), length), Disassembly.TableOperand(Convert.FromHexString(code), registers, system));
    }

    [Theory]
    [InlineData("0f0108")] // sidt [rax]
    [InlineData("90")]
    [InlineData("")]
    public void Other_instructions_have_none(string code) => Assert.Null(Disassembly.TableOperand(Convert.FromHexString(code), default, default));
}
