using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hyperscope.Compare.Guests;

/// <summary>Code the way a kernel has it: many short functions, each run once per round, with loads, stores and unpredictable branches.</summary>
/// <remarks>Shares per instruction, roughly: 20 % loads, 10 % stores, 15 % conditional branches, the rest moves, arithmetic and address
/// computations. Deterministic: the same size gives the same code.</remarks>
internal static class KernelMix
{
    private const int BytesPerFunction = 123; // measured; only the size of the mix hangs on it

    private static readonly AssemblerRegister64[] Words = [rax, rdx, r8, r9, r10, r11, rbx, rbp];
    private static readonly AssemblerRegister32[] Doubles = [eax, edx, r8d, r9d, r10d, r11d, ebx, ebp];

    public static Action<Assembler> OfSize(int bytes) => a => Write(a, bytes / BytesPerFunction);

    private static void Write(Assembler a, int functions)
    {
        var random = new Random(11);
        Label round = a.CreateLabel();
        Label[] entries = [.. Enumerable.Range(0, functions).Select(_ => a.CreateLabel())];
        a.mov(eax, 0x2545F491);
        foreach (AssemblerRegister32 register in Doubles.AsSpan(1))
            a.mov(register, random.Next());
        a.Label(ref round);
        foreach (Label entry in entries)
            a.call(entry);
        a.dec(rcx);
        a.jne(round);
        a.ret();
        for (int i = 0; i < functions; i++)
        {
            a.Label(ref entries[i]);
            WriteFunction(a, random);
        }
    }

    private static void WriteFunction(Assembler a, Random random)
    {
        a.push(rbx);
        Stir(a); // so that branches on al differ from round to round
        int length = random.Next(10, 30);
        for (int i = 0; i < length; i++)
            WriteOne(a, random);
        a.pop(rbx);
        a.ret();
    }

    private static void Stir(Assembler a)
    {
        a.mov(r8, rax);
        a.shl(r8, 13);
        a.xor(rax, r8);
        a.mov(r8, rax);
        a.shr(r8, 7);
        a.xor(rax, r8);
    }

    // rax carries the random state: nothing but Stir writes to it.
    private static void WriteOne(Assembler a, Random random)
    {
        AssemblerRegister64 from = Words[random.Next(Words.Length)], other = Words[random.Next(Words.Length)];
        int target = random.Next(1, Words.Length);
        AssemblerRegister64 to = Words[target];
        switch (random.Next(100))
        {
            case < 18:
                a.mov(to, __[rsi + Offset(random)]);
                break;
            case < 28:
                a.mov(__[rdi + Offset(random)], from);
                break;
            case < 32:
                a.movzx(Doubles[target], __byte_ptr[rsi + Offset(random)]);
                break;
            case < 36:
                a.add(to, __[rsi + Offset(random)]);
                break;
            case < 46:
                a.mov(to, from);
                break;
            case < 54:
                a.add(to, from);
                break;
            case < 59:
                a.add(to, random.Next(1, 120));
                break;
            case < 64:
                a.sub(to, from);
                break;
            case < 69:
                a.xor(to, from);
                break;
            case < 75:
                a.lea(to, __[from + (other * (1 << random.Next(4))) + random.Next(1, 100)]);
                break;
            case < 79:
                a.shr(to, (byte)random.Next(1, 24));
                break;
            case < 92:
                Label rare = a.CreateLabel();
                a.test(al, (sbyte)(random.Next(5) == 0 ? 0x0E : 0x7C));
                a.je(rare);
                a.add(to, from);
                a.sub(to, other);
                a.Label(ref rare);
                a.nop();
                break;
            default:
                Label over = a.CreateLabel();
                a.cmp(from, other);
                if (random.Next(2) == 0)
                    a.jb(over);
                else
                    a.jne(over);
                a.mov(to, other);
                a.Label(ref over);
                a.nop();
                break;
        }
    }

    private static int Offset(Random random) => (random.Next(3) << 12) + (random.Next(511) * 8);
}
