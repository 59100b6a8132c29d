using System.Buffers.Binary;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hyperscope.Compare.Guests;

/// <summary>A multiboot-1 image that enters long mode, runs one kernel and ends by the debug-exit port: the same file for every machine.</summary>
/// <remarks>64 MiB are mapped at their own addresses with 2 MiB pages. A kernel finds rdi = a destination, rsi = a source, rcx = how often
/// to do its work, and may use every register but rsp.</remarks>
internal static class MultibootImage
{
    public const ulong Destination = 0x180_0000, Source = 0x1A0_0000;

    private const uint Base = 0x10_0000, Entry32 = Base + 0x40, Gdt = Base + 0x200, Pml4 = Base + 0x1000, Pdpt = Base + 0x2000, Pd = Base + 0x3000;
    private const uint Entry64 = Base + 0x4000, Stack = 0x170_0000;
    private const uint Magic = 0x1BADB002, AddressFields = 1 << 16;

    public static byte[] Build(Action<Assembler> kernel, ulong iterations)
    {
        byte[] code = Assemble(64, Entry64, a =>
        {
            a.mov(ax, 0x10);
            a.mov(ds, ax);
            a.mov(es, ax);
            a.mov(ss, ax);
            a.mov(rsp, Stack);
            a.mov(rdi, Destination);
            a.mov(rsi, Source);
            a.mov(rcx, iterations);
            Label run = a.CreateLabel();
            a.call(run);
            a.xor(eax, eax);
            a.mov(dx, 0xF4);
            a.@out(dx, eax);
            Label stop = a.CreateLabel();
            a.Label(ref stop);
            a.hlt();
            a.jmp(stop);
            a.Label(ref run);
            a.nop(); // a kernel may begin with a label of its own
            kernel(a);
        });
        byte[] image = new byte[Entry64 - Base + code.Length];
        code.CopyTo(image, Entry64 - Base);
        Put(image, Base, Magic, AddressFields, unchecked(0 - (Magic + AddressFields)), Base, Base, Base + (uint)image.Length, 0x1C0_0000, Entry32);
        Assemble(32, Entry32, static a =>
        {
            a.cli();
            a.lgdt(__[Gdt + 0x18]);
            a.mov(eax, cr4);
            a.or(eax, (1 << 5) | (1 << 9)); // PAE, OSFXSR
            a.mov(cr4, eax);
            a.mov(eax, Pml4);
            a.mov(cr3, eax);
            a.mov(ecx, 0xC0000080); // EFER
            a.rdmsr();
            a.or(eax, 1 << 8); // LME
            a.wrmsr();
            a.mov(eax, cr0);
            a.or(eax, 0x80000001);
            a.mov(cr0, eax);
            a.db(0xEA); // jmp 8:Entry64
            a.dd(Entry64);
            a.dw(8);
        }).CopyTo(image, Entry32 - Base);
        PutQuads(image, Gdt, 0, 0x00AF9A000000FFFF, 0x00CF92000000FFFF);
        BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan((int)(Gdt + 0x18 - Base)), 23);
        Put(image, Gdt + 0x1A, Gdt);
        PutQuads(image, Pml4, Pdpt | 3);
        PutQuads(image, Pdpt, Pd | 3);
        for (uint page = 0; page < 32; page++)
            PutQuads(image, Pd + (page * 8), (page << 21) | 0x83);
        return image;
    }

    private static byte[] Assemble(int bits, ulong address, Action<Assembler> body)
    {
        var assembler = new Assembler(bits);
        body(assembler);
        using var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), address);
        return stream.ToArray();
    }

    private static void Put(byte[] image, uint address, params ReadOnlySpan<uint> values)
    {
        for (int i = 0; i < values.Length; i++)
            BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan((int)(address - Base) + (i * 4)), values[i]);
    }

    private static void PutQuads(byte[] image, uint address, params ReadOnlySpan<ulong> values)
    {
        for (int i = 0; i < values.Length; i++)
            BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan((int)(address - Base) + (i * 8)), values[i]);
    }
}
