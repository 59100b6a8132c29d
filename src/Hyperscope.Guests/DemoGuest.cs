using System.Text;
using Hyperscope.Vm;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hyperscope.Guests;

/// <summary>A region of the demo guest and the rights it needs to do its honest work.</summary>
/// <param name="Name">code, rodata, data, heap or stack.</param>
/// <param name="Start">First address; mapped one to one.</param>
/// <param name="Pages">Length in pages.</param>
/// <param name="Needed">What the guest does there when nobody attacks it.</param>
public sealed record DemoRegion(string Name, Gpa Start, int Pages, PageAccess Needed);

/// <summary>The guest of <c>hyperscope demo</c>: it works, then attacks itself three times, and tells over the serial port how it went.</summary>
/// <remarks>It ends through the debug-exit port with the number of attacks that worked, so 0 where a guard held.</remarks>
public static class DemoGuest
{
    /// <summary>Memory the guest needs.</summary>
    public const ulong MinimumMemory = 4UL << 20;

    private const ulong Code = 0x1_0000, Victim = 0x1_2000, ReadOnlyData = 0x1_4000, Data = 0x1_5000, Heap = 0x1_6000, Stack = 0x1_8000;
    private const int CodePages = 3, StackPages = 2, Gates = 32;
    private const ushort SerialPort = 0x3F8, DebugExitPort = 0xF4;
    private const ulong Greeting = 0x2A, Untouched = 0x600D_600D_600D_600D;

    private static readonly string[] Messages =
    [
        "guest: working: 1000 rounds over data, heap and stack\n",
        "guest: attack 1: patch a function in the code page\n",
        "guest: attack 2: change a constant in rodata\n",
        "guest: attack 3: write code to the heap and call it\n",
        "guest:   it worked\n",
        "guest:   no effect\n",
    ];

    /// <summary>What the guest consists of.</summary>
    public static IReadOnlyList<DemoRegion> Regions { get; } =
    [
        new("code", new Gpa(Code), CodePages, PageAccess.Read | PageAccess.Execute),
        new("rodata", new Gpa(ReadOnlyData), 1, PageAccess.Read),
        new("data", new Gpa(Data), 1, PageAccess.Read | PageAccess.Write),
        new("heap", new Gpa(Heap), 1, PageAccess.Read | PageAccess.Write),
        new("stack", new Gpa(Stack), StackPages, PageAccess.Read | PageAccess.Write),
    ];

    /// <summary>Assembles the guest.</summary>
    public static GuestProgram Build()
    {
        byte[] text = new byte[4096];
        ulong[] addresses = new ulong[Messages.Length];
        BitConverter.TryWriteBytes(text, Untouched);
        int used = 8;
        for (int index = 0; index < Messages.Length; index++)
        {
            addresses[index] = ReadOnlyData + (ulong)used;
            used += Encoding.ASCII.GetBytes(Messages[index], text.AsSpan(used)) + 1;
        }

        (byte[] code, ulong fault) = Assemble(addresses);
        List<(Gpa, byte[])> pieces =
        [
            .. LongModeTables.Build(),
            (new Gpa(LongModeTables.Idt), LongModeTables.BuildIdt([.. Enumerable.Repeat(fault, Gates)])),
            (new Gpa(Code), code),
            (new Gpa(Victim), [0xB8, (byte)Greeting, 0, 0, 0, 0xC3]), // mov eax, 42; ret
            (new Gpa(ReadOnlyData), text),
        ];
        return new GuestProgram("demo", pieces, new Gva(Code), MinimumMemory, static _ => (
            new KvmRegs { Rip = Code, Rsp = Stack + (StackPages * 4096), Rflags = 2 },
            LongModeTables.SpecialRegisters(Gates)));
    }

    private static (byte[] Code, ulong Fault) Assemble(ulong[] messages)
    {
        var a = new Assembler(64);
        Label print = a.CreateLabel("print"), report = a.CreateLabel("report"), fault = a.CreateLabel("fault"), shellcode = a.CreateLabel("shellcode");
        a.xor(r15d, r15d); // attacks that worked

        Say(a, print, messages[0]);
        Label round = a.CreateLabel();
        a.mov(ecx, 1000);
        a.Label(ref round);
        a.push(rcx);
        a.inc(__qword_ptr[Data]);
        a.mov(rax, __qword_ptr[Data]);
        a.mov(__qword_ptr[Heap + 0x800], rax);
        a.pop(rcx);
        a.dec(ecx);
        a.jne(round);

        Say(a, print, messages[1]);
        a.mov(rbx, Victim + 1);
        a.mov(__byte_ptr[rbx], 0x63);
        a.mov(rbx, Victim);
        a.call(rbx);
        a.cmp(eax, (int)Greeting);
        a.call(report);

        Say(a, print, messages[2]);
        a.mov(rbx, ReadOnlyData);
        a.mov(__qword_ptr[rbx], 0);
        a.mov(rax, Untouched);
        a.cmp(__[rbx], rax);
        a.call(report);

        Say(a, print, messages[3]);
        a.lea(rsi, __[shellcode]);
        a.mov(rdi, Heap);
        a.mov(ecx, 6);
        a.rep.movsb();
        a.xor(eax, eax);
        a.mov(rbx, Heap);
        a.call(rbx);
        a.test(eax, eax);
        a.call(report);

        a.mov(eax, r15d);
        a.mov(edx, DebugExitPort);
        a.@out(dx, eax);
        Label stop = a.CreateLabel();
        a.Label(ref stop);
        a.hlt();
        a.jmp(stop);

        // ZF: nothing changed.
        Label failed = a.CreateLabel();
        a.Label(ref report);
        a.je(failed);
        a.inc(r15d);
        Say(a, print, messages[4]);
        a.ret();
        a.Label(ref failed);
        Say(a, print, messages[5]);
        a.ret();

        // rsi: a text that ends in a zero byte.
        Label next = a.CreateLabel(), done = a.CreateLabel();
        a.Label(ref print);
        a.mov(edx, SerialPort);
        a.Label(ref next);
        a.lodsb();
        a.test(al, al);
        a.je(done);
        a.@out(dx, al);
        a.jmp(next);
        a.Label(ref done);
        a.ret();

        // No exception is expected: it ends the run with a status no count of attacks has.
        a.Label(ref fault);
        a.mov(eax, 0x7F);
        a.mov(edx, DebugExitPort);
        a.@out(dx, eax);
        a.hlt();

        a.Label(ref shellcode);
        a.mov(eax, 1);
        a.ret();

        using var stream = new MemoryStream();
        AssemblerResult result = a.Assemble(new StreamCodeWriter(stream), Code, BlockEncoderOptions.ReturnNewInstructionOffsets);
        return (stream.ToArray(), result.GetLabelRIP(fault));
    }

    private static void Say(Assembler a, Label print, ulong text)
    {
        a.mov(rsi, text);
        a.call(print);
    }
}
