using Hyperscope.Vm;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hyperscope.Guests;

/// <summary>What a vCPU of the self-test guest does when its mailbox says so.</summary>
public enum SelftestAction
{
    /// <summary>Wait for the next action.</summary>
    Idle = 0,

    /// <summary>Nothing but the acknowledgement.</summary>
    Nop,

    /// <summary>VMCALL with rax 34, rdi 24, rsi 0. Result: rax.</summary>
    Hypercall,

    /// <summary>INT3.</summary>
    Breakpoint,

    /// <summary>CR4 = CR4 or argument 0. Result: CR4 afterwards.</summary>
    SetCr4Bits,

    /// <summary>Sets CR4.OSXSAVE, then XCR0 = XCR0 xor argument 0. Result: XCR0 afterwards.</summary>
    ToggleXcr0,

    /// <summary>SGDT, then LGDT of the same value.</summary>
    StoreAndLoadGdtr,

    /// <summary>MSR argument 0 = its value or argument 1. Result: its value afterwards.</summary>
    SetMsrBits,

    /// <summary>Byte store of argument 1 to address argument 0.</summary>
    StoreByte,

    /// <summary>8-byte store of argument 1 to address argument 0, in one instruction.</summary>
    StoreQuad,

    /// <summary>8-byte load from address argument 0. Result: what was there.</summary>
    LoadQuad,

    /// <summary>Call of address argument 0.</summary>
    Call,

    /// <summary>LOCK INC of 8 bytes at address argument 0.</summary>
    Increment,

    /// <summary>REP MOVSB from argument 1 to argument 0, argument 2 bytes.</summary>
    CopyBytes,

    /// <summary>PUSH of argument 1 with the stack pointer at argument 0.</summary>
    Push,

    /// <summary>Argument 2 increments of 8 bytes at address argument 0, one instruction each, counted in the result as they are done.</summary>
    Hammer,

    /// <summary>CR3 = CR3.</summary>
    ReloadCr3,

    /// <summary>CPUID leaf argument 0, sub-leaf argument 1. Result: eax.</summary>
    Cpuid,

    /// <summary>HLT with interrupts off, for ever.</summary>
    Halt,

    /// <summary>UD2.</summary>
    InvalidOpcode,

    /// <summary>Argument 0 to the debug-exit port: the VM ends.</summary>
    Exit,
}

/// <summary>The guest of the conformance suite: each vCPU polls a mailbox in memory, acts, and acknowledges.</summary>
/// <remarks>
/// <para>A tool steers it with VM_WRITE_PHYSICAL and VM_READ_PHYSICAL alone, so the suite needs nothing of a server but the protocol.</para>
/// <para>Every exception is noted in the mailbox and ends the action: the guest survives whatever is injected.</para>
/// </remarks>
public static class SelftestGuest
{
    /// <summary>Where vCPU 0's mailbox is; the others follow at <see cref="MailboxStride"/>.</summary>
    public static Gpa Mailboxes => new(0x2_0000);

    /// <summary>Bytes from one mailbox to the next: a page each, so that restricting one leaves the others alone.</summary>
    public const int MailboxStride = 0x1000;

    /// <summary>A page that nothing but actions touch.</summary>
    public static Gpa TestPage => new(0x10_0000);

    /// <summary>Where <see cref="TestPage"/> is mapped a second time, so that gva and gpa differ.</summary>
    public static Gva TestPageAlias => new(0x18_0000);

    /// <summary>First byte of the guest's code.</summary>
    public static Gpa Code => new(0x1_0000);

    /// <summary>Memory the guest needs.</summary>
    public const ulong MinimumMemory = 4UL << 20;

    /// <summary>Mailbox fields, by offset.</summary>
    public static class Mailbox
    {
#pragma warning disable CS1591 // the names say it
        public const int Action = 0, Argument0 = 8, Argument1 = 16, Argument2 = 24, Done = 32, Result = 40, FaultVector = 48, FaultError = 56,
            FaultRip = 64, FaultAddress = 72, Heartbeat = 80, StackTop = 88;
#pragma warning restore CS1591

        /// <summary><see cref="FaultVector"/> when the action ended without an exception.</summary>
        public const ulong NoFault = 0x100;
    }

    /// <summary>Most vCPUs the guest has mailboxes and stacks for.</summary>
    public const int MaxVcpus = 8;

    private const ulong Stacks = 0x8_0000;
    private const int Gates = 32;

    /// <summary>Assembles the guest for a number of vCPUs.</summary>
    public static GuestProgram Build(int vcpuCount)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(vcpuCount, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(vcpuCount, MaxVcpus);
        (byte[] code, ulong[] handlers) = Assemble();
        List<(Gpa, byte[])> pieces = [.. LongModeTables.Build(), (new Gpa(LongModeTables.Idt), LongModeTables.BuildIdt(handlers)), (Code, code)];

        // The alias: one entry of the page table of the first 2 MiB.
        pieces.Add((new Gpa(LongModeTables.PageTable + ((TestPageAlias.Value >> 12) * 8)), BitConverter.GetBytes(TestPage.Value | 3)));
        for (int index = 0; index < vcpuCount; index++)
            pieces.Add((Mailboxes + (ulong)(index * MailboxStride) + Mailbox.StackTop, BitConverter.GetBytes(StackTop(index))));
        return new GuestProgram("selftest", pieces, new Gva(Code.Value), MinimumMemory, static index => (
            new KvmRegs { Rip = Code.Value, Rsp = StackTop(index.Value), Rdi = index.Value, Rflags = 2 },
            LongModeTables.SpecialRegisters(Gates, Mailboxes.Value + ((ulong)index.Value * MailboxStride))));
    }

    private static ulong StackTop(int index) => Stacks + ((ulong)(index + 1) * 0x4000);

    private static (byte[] Code, ulong[] Handlers) Assemble()
    {
        var a = new Assembler(64);
        AssemblerMemoryOperand Field(int offset) => __qword_ptr.gs[offset];
        Label wait = a.CreateLabel("wait"), finish = a.CreateLabel("finish"), act = a.CreateLabel("act"), noted = a.CreateLabel("noted");
        Label[] actions = [.. Enum.GetValues<SelftestAction>().Select(action => a.CreateLabel(action.ToString()))];

        a.Label(ref wait);
        a.inc(Field(Mailbox.Heartbeat));
        a.mov(rax, Field(Mailbox.Action));
        a.test(rax, rax);
        a.jne(act);
        a.pause();
        a.jmp(wait);

        // Actions come here when they are done; exceptions come by way of the handlers.
        a.Label(ref finish);
        a.mov(Field(Mailbox.FaultVector), (int)Mailbox.NoFault);
        a.Label(ref noted);
        a.mov(rsp, Field(Mailbox.StackTop));
        a.cld();
        a.mov(Field(Mailbox.Action), 0);
        a.inc(Field(Mailbox.Done));
        a.jmp(wait);

        a.Label(ref act);
        for (int index = 1; index < actions.Length; index++)
        {
            a.cmp(eax, index);
            a.je(actions[index]);
        }

        a.jmp(finish);
        foreach (SelftestAction action in Enum.GetValues<SelftestAction>())
        {
            a.Label(ref actions[(int)action]);
            AssembleAction(a, action, Field);
            a.jmp(finish);
        }

        Label[] entries = new Label[Gates];
        Label common = a.CreateLabel("common");
        for (int vector = 0; vector < Gates; vector++)
        {
            entries[vector] = a.CreateLabel($"vector{vector}");
            a.Label(ref entries[vector]);
            if (vector is not (8 or 10 or 11 or 12 or 13 or 14 or 17))
                a.push(0);
            a.push(vector);
            a.jmp(common);
        }

        // Stack: vector, error code, rip, cs, rflags, rsp, ss. The action is over, so no register needs saving.
        a.Label(ref common);
        a.pop(rax);
        a.mov(Field(Mailbox.FaultVector), rax);
        a.pop(rax);
        a.mov(Field(Mailbox.FaultError), rax);
        a.mov(rax, __qword_ptr[rsp]);
        a.mov(Field(Mailbox.FaultRip), rax);
        a.mov(rax, cr2);
        a.mov(Field(Mailbox.FaultAddress), rax);
        a.lea(rax, __[noted]);
        a.mov(__qword_ptr[rsp], rax);
        a.iretq();

        using var stream = new MemoryStream();
        AssemblerResult result = a.Assemble(new StreamCodeWriter(stream), Code.Value, BlockEncoderOptions.ReturnNewInstructionOffsets);
        return (stream.ToArray(), [.. entries.Select(entry => result.GetLabelRIP(entry))]);
    }

    private static void AssembleAction(Assembler a, SelftestAction action, Func<int, AssemblerMemoryOperand> field)
    {
        a.mov(rbx, field(Mailbox.Argument0));
        a.mov(rdx, field(Mailbox.Argument1));
        a.mov(rcx, field(Mailbox.Argument2));
        switch (action)
        {
            case SelftestAction.Hypercall:
                a.mov(eax, 34);
                a.mov(edi, 24);
                a.xor(esi, esi);
                a.vmcall();
                a.mov(field(Mailbox.Result), rax);
                break;
            case SelftestAction.Breakpoint:
                a.int3();
                break;
            case SelftestAction.SetCr4Bits:
                a.mov(rax, cr4);
                a.or(rax, rbx);
                a.mov(cr4, rax);
                a.mov(rax, cr4);
                a.mov(field(Mailbox.Result), rax);
                break;
            case SelftestAction.ToggleXcr0:
                a.mov(rax, cr4);
                a.or(rax, 1 << 18);
                a.mov(cr4, rax);
                a.xor(ecx, ecx);
                a.xgetbv();
                a.xor(eax, ebx);
                a.xsetbv();
                a.xgetbv();
                a.mov(field(Mailbox.Result), rax);
                break;
            case SelftestAction.StoreAndLoadGdtr:
                a.sub(rsp, 16);
                a.sgdt(__[rsp]);
                a.lgdt(__[rsp]);
                break;
            case SelftestAction.SetMsrBits:
                a.mov(ecx, ebx);
                a.mov(rdi, rdx);
                a.rdmsr();
                a.or(eax, edi);
                a.wrmsr();
                a.rdmsr();
                a.shl(rdx, 32);
                a.or(rax, rdx);
                a.mov(field(Mailbox.Result), rax);
                break;
            case SelftestAction.StoreByte:
                a.mov(__[rbx], dl);
                break;
            case SelftestAction.StoreQuad:
                a.mov(__[rbx], rdx);
                break;
            case SelftestAction.LoadQuad:
                a.mov(rax, __[rbx]);
                a.mov(field(Mailbox.Result), rax);
                break;
            case SelftestAction.Call:
                a.call(rbx);
                break;
            case SelftestAction.Increment:
                a.@lock.inc(__qword_ptr[rbx]);
                break;
            case SelftestAction.CopyBytes:
                a.mov(rdi, rbx);
                a.mov(rsi, rdx);
                a.rep.movsb();
                break;
            case SelftestAction.Push:
                a.mov(rsp, rbx);
                a.push(rdx);
                break;
            case SelftestAction.Hammer:
                Label again = a.CreateLabel();
                a.mov(field(Mailbox.Result), 0);
                a.Label(ref again);
                a.inc(__qword_ptr[rbx]);
                a.inc(field(Mailbox.Result));
                a.dec(rcx);
                a.jne(again);
                break;
            case SelftestAction.ReloadCr3:
                a.mov(rax, cr3);
                a.mov(cr3, rax);
                break;
            case SelftestAction.Cpuid:
                a.mov(eax, ebx);
                a.mov(ecx, edx);
                a.cpuid();
                a.mov(field(Mailbox.Result), rax);
                break;
            case SelftestAction.Halt:
                Label halt = a.CreateLabel();
                a.Label(ref halt);
                a.cli();
                a.hlt();
                a.jmp(halt);
                break;
            case SelftestAction.InvalidOpcode:
                a.ud2();
                break;
            case SelftestAction.Exit:
                a.mov(eax, ebx);
                a.mov(edx, 0xF4);
                a.@out(dx, eax);
                break;
            default:
                break;
        }
    }
}
