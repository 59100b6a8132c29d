using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hyperscope.Vm.Tests;

public sealed class RegisterLayoutTests
{
    [Fact]
    public void Structs_have_the_sizes_of_the_kernel()
    {
        Assert.Equal(144, Unsafe.SizeOf<KvmRegs>());
        Assert.Equal(24, Unsafe.SizeOf<KvmSegment>());
        Assert.Equal(16, Unsafe.SizeOf<KvmDtable>());
        Assert.Equal(312, Unsafe.SizeOf<KvmSregs>());
        Assert.Equal(16, Unsafe.SizeOf<KvmMsrEntry>());
        Assert.Equal(16, Unsafe.SizeOf<CpuidResult>());
    }

    [Theory]
    [InlineData(nameof(KvmSregs.Ds), 24)]
    [InlineData(nameof(KvmSregs.Tr), 144)]
    [InlineData(nameof(KvmSregs.Gdt), 192)]
    [InlineData(nameof(KvmSregs.Cr0), 224)]
    [InlineData(nameof(KvmSregs.Efer), 264)]
    [InlineData(nameof(KvmSregs.InterruptBitmap), 280)]
    public void Special_registers_are_where_the_kernel_has_them(string field, int offset) =>
        Assert.Equal(offset, (int)Marshal.OffsetOf<KvmSregs>(field));

    [Fact]
    public void Registers_are_eighteen_words_in_wire_order()
    {
        KvmRegs registers = default;
        Span<ulong> words = KvmRegs.AsSpan(ref registers);
        Assert.Equal(KvmRegs.Count, words.Length);
        for (int index = 0; index < words.Length; index++)
            words[index] = (ulong)index;
        Assert.Equal((0UL, 1UL, 6UL, 15UL, 16UL, 17UL),
            (registers.Rax, registers.Rbx, registers.Rsp, registers.R15, registers.Rip, registers.Rflags));
        KvmRegs other = registers;
        Assert.True(registers == other);
        other.R9++;
        Assert.True(registers != other);
    }

    [Theory]
    [InlineData(0x1FFFUL, 1UL, 0xFFF)]
    [InlineData(0xFFFF_FFFF_FFFF_F000UL, 0xF_FFFF_FFFF_FFFFUL, 0)]
    public void An_address_splits_into_frame_and_offset(ulong address, ulong frame, int offset)
    {
        var gpa = new Gpa(address);
        Assert.Equal((frame, offset), (gpa.Frame.Value, gpa.PageOffset));
        Assert.Equal(address, (gpa.Frame.Address + (ulong)offset).Value);
    }
}
