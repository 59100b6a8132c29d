using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hyperscope.Compare.Guests;

/// <summary>Small kernels that live in the first-level cache: arithmetic, memory, a table, calls.</summary>
internal static class Loops
{
    /// <summary>Mixes three words with shifts, adds and two hard-to-guess branches.</summary>
    public static void Integers(Assembler a)
    {
        Label next = a.CreateLabel(), odd = a.CreateLabel(), joined = a.CreateLabel(), small = a.CreateLabel();
        a.mov(rax, 0x243F6A8885A308D3);
        a.mov(rbx, 0x13198A2E03707345);
        a.xor(edx, edx);
        a.Label(ref next);
        a.lea(rax, __[rax + rbx]);
        a.mov(r8, rax);
        a.shr(r8, 17);
        a.xor(rax, r8);
        a.test(al, 5);
        a.jne(odd);
        a.add(rdx, rax);
        a.jmp(joined);
        a.Label(ref odd);
        a.xor(rdx, r8);
        a.Label(ref joined);
        a.mov(r9, rdx);
        a.shl(r9, 5);
        a.cmp(r9, rax);
        a.ja(small);
        a.inc(r10);
        a.Label(ref small);
        a.dec(rcx);
        a.jne(next);
        a.ret();
    }

    /// <summary>Copies 16 KiB by words and sums them, each iteration.</summary>
    public static void Memory(Assembler a)
    {
        const int Bytes = 16 << 10;
        Label outer = a.CreateLabel(), copy = a.CreateLabel(), sum = a.CreateLabel();
        a.xor(edx, edx);
        a.Label(ref outer);
        a.xor(eax, eax);
        a.Label(ref copy);
        a.mov(rbx, __[rsi + rax]);
        a.mov(__[rdi + rax], rbx);
        a.add(rax, 8);
        a.cmp(rax, Bytes);
        a.jb(copy);
        a.mov(rax, Bytes - 8);
        a.Label(ref sum);
        a.add(rdx, __[rdi + rax]);
        a.sub(rax, 8);
        a.jae(sum);
        a.dec(rcx);
        a.jne(outer);
        a.ret();
    }

    /// <summary>A checksum by table over 4 KiB, each iteration. The table is whatever the source holds.</summary>
    public static void Checksum(Assembler a)
    {
        Label outer = a.CreateLabel(), next = a.CreateLabel();
        a.mov(eax, 0x12345678);
        a.Label(ref outer);
        a.xor(ebx, ebx);
        a.Label(ref next);
        a.movzx(edx, __byte_ptr[rdi + rbx]);
        a.xor(dl, al);
        a.movzx(edx, dl);
        a.shr(eax, 8);
        a.xor(eax, __dword_ptr[rsi + (rdx * 4)]);
        a.inc(ebx);
        a.cmp(ebx, 4096);
        a.jne(next);
        a.dec(rcx);
        a.jne(outer);
        a.ret();
    }

    /// <summary>fib(20) by recursion, each iteration.</summary>
    public static void Calls(Assembler a)
    {
        Label outer = a.CreateLabel(), fib = a.CreateLabel(), leaf = a.CreateLabel();
        a.Label(ref outer);
        a.mov(edi, 20);
        a.call(fib);
        a.dec(rcx);
        a.jne(outer);
        a.ret();
        a.Label(ref fib);
        a.mov(eax, edi);
        a.cmp(edi, 1);
        a.jbe(leaf);
        a.push(rbx);
        a.push(rbp);
        a.mov(ebx, edi);
        a.dec(edi);
        a.call(fib);
        a.mov(rbp, rax);
        a.lea(edi, __[rbx - 2]);
        a.call(fib);
        a.add(rax, rbp);
        a.pop(rbp);
        a.pop(rbx);
        a.Label(ref leaf);
        a.ret();
    }
}
