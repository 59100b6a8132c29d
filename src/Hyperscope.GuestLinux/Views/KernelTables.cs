namespace Hyperscope.GuestLinux;

/// <summary>An entry of the system call table.</summary>
/// <param name="Number">The number user mode passes.</param>
/// <param name="Name">What the kernel calls it, without the prefix of its architecture; empty if the target has no symbol.</param>
/// <param name="Target">Where it leads.</param>
/// <param name="Symbol">The target as <c>name+0x12</c>.</param>
/// <param name="IsInKernelText">It leads to the start of a function in the kernel's own text.</param>
public sealed record SyscallEntry(int Number, string Name, Gva Target, string Symbol, bool IsInKernelText);

/// <summary>A gate of the interrupt descriptor table.</summary>
/// <param name="Vector">Its number.</param>
/// <param name="Target">Where it leads.</param>
/// <param name="Symbol">The target as <c>name+0x12</c>.</param>
/// <param name="Selector">The code segment.</param>
/// <param name="Type">14 interrupt gate, 15 trap gate.</param>
/// <param name="Dpl">The least privilege that may use it by <c>int</c>.</param>
/// <param name="Ist">Which stack, 0 for none of its own.</param>
/// <param name="IsInKernelText">It leads into the kernel's own text.</param>
public sealed record IdtEntry(int Vector, Gva Target, string Symbol, ushort Selector, int Type, int Dpl, int Ist, bool IsInKernelText)
{
    /// <summary>It is left from the early boot, for a vector that is not used; its handler has been freed since.</summary>
    public bool IsEarly => Symbol.StartsWith("early_idt_handler_array", StringComparison.Ordinal);
}

/// <summary>A loaded BPF program.</summary>
/// <param name="Id">Its number.</param>
/// <param name="Name">Its name; may be empty.</param>
/// <param name="Type">What it is attached to, such as <c>KPROBE</c>.</param>
/// <param name="Tag">Hash of its instructions, in hex.</param>
/// <param name="Code">Where its machine code is; 0 if it is interpreted.</param>
/// <param name="CodeLength">Bytes of machine code.</param>
/// <param name="Uid">Who loaded it.</param>
public sealed record BpfProgram(uint Id, string Name, string Type, string Tag, Gva Code, uint CodeLength, uint Uid);

/// <summary>A line of the kernel's log.</summary>
/// <param name="Sequence">Its number.</param>
/// <param name="Time">Since the guest's boot.</param>
/// <param name="Level">0 emergency to 7 debug.</param>
/// <param name="Facility">0 kernel.</param>
/// <param name="Text">The text, made printable; lines of one message are separated by a line feed.</param>
public sealed record KernelLogLine(ulong Sequence, TimeSpan Time, int Level, int Facility, string Text);
