using Hyperscope.TestKit;
using Hyperscope.Vm;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hyperscope.Machine.Tests;

/// <summary>x87 errors the way of a PC: the processor's error pin, IRQ 13 by the 8259, port 0xF0.</summary>
public sealed class NumericErrorTests
{
    private const ulong Address = 0x8000, Handler = 0x9000;
    private const int Vector = 0x75, Count = 0x600, Control = 0x604, Zero = 0x608;

    [Fact]
    public async Task Each_x87_error_interrupts_a_real_mode_program_at_IRQ_13_once()
    {
        byte[] image = new byte[0x2000];
        TestMachine.AssembleBytes(CpuMode.Bits16, Program, Address).CopyTo(image, 0);
        TestMachine.AssembleBytes(CpuMode.Bits16, HandleError, Handler).CopyTo(image, (int)(Handler - Address));
        await using var vm = new VirtualMachine(new VirtualMachineOptions { MemoryBytes = 16 << 20, VcpuCount = 1 });
        vm.Load(FlatImageLoader.Load(image, new Gpa(Address), new Gpa(Address), EntryMode.Real, vm.MemoryMap));
        vm.Start();
        VmExit exit = await vm.Completion.WaitAsync(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken);
        Assert.Equal((VmExitKind.GuestExit, (3 << 1) | 1), (exit.Kind, exit.Code));
    }

    private static void Program(Assembler a)
    {
        Label loop = a.CreateLabel();
        a.xor(ax, ax);
        a.mov(ss, ax);
        a.mov(sp, 0x7000);
        a.mov(__word_ptr[Count], ax);
        a.mov(__dword_ptr[Zero], 0);
        a.mov(__word_ptr[Control], 0x37b); // division by zero unmasked
        a.mov(__word_ptr[Vector * 4], (ushort)Handler);
        a.mov(__word_ptr[(Vector * 4) + 2], 0);
        foreach ((byte port, byte value) in ((byte, byte)[])[(0x20, 0x11), (0x21, 8), (0x21, 4), (0x21, 1), (0x21, 0xfb),
            (0xa0, 0x11), (0xa1, 0x70), (0xa1, 2), (0xa1, 1), (0xa1, 0xdf)])
        {
            a.mov(al, value);
            a.@out(unchecked((sbyte)port), al);
        }

        a.fninit();
        a.fldcw(__word_ptr[Control]);
        a.sti();
        a.mov(cx, 3);
        a.Label(ref loop);
        a.fld1();
        a.fdiv(__dword_ptr[Zero]);
        a.wait();
        a.fstp(st0);
        a.loop(loop);
        a.mov(al, __byte_ptr[Count]);
        a.@out(unchecked((sbyte)0xf4), al);
    }

    private static void HandleError(Assembler a)
    {
        a.push(ax);
        a.mov(al, 0);
        a.@out(unchecked((sbyte)0xf0), al);
        a.fnop(); // waits for nothing now: the error is ignored until it is cleared
        a.fnclex();
        a.inc(__word_ptr[Count]);
        a.mov(al, 0x20);
        a.@out(unchecked((sbyte)0xa0), al);
        a.@out(0x20, al);
        a.pop(ax);
        a.iret();
    }
}
