namespace Hyperscope.Guard;

/// <summary>Evidence of a violation: one JSON line of docs/evidence.md.</summary>
public sealed record Violation
{
    /// <summary>When it was seen.</summary>
    public required DateTimeOffset Time { get; init; }

    /// <summary>The VM.</summary>
    public required string Vm { get; init; }

    /// <summary>The vCPU; null if none did it just now.</summary>
    public int? Vcpu { get; init; }

    /// <summary>The rule's name.</summary>
    public required string Rule { get; init; }

    /// <summary>The rule's kind.</summary>
    public required string Kind { get; init; }

    /// <summary>What became of it, by the policy.</summary>
    public required Verdict Verdict { get; init; }

    /// <summary>What was really done.</summary>
    public string Outcome { get; init; } = "";

    /// <summary>What happened, for people.</summary>
    public required string What { get; init; }

    /// <summary>What else the rule has to say.</summary>
    public string? Note { get; init; }

    /// <summary>What was guarded: a symbol or region.</summary>
    public string? Target { get; init; }

    /// <summary>Linear address of the access.</summary>
    public string? Gva { get; init; }

    /// <summary>Physical address of the access.</summary>
    public string? Gpa { get; init; }

    /// <summary><c>r</c>, <c>w</c> or <c>x</c>.</summary>
    public string? Access { get; init; }

    /// <summary>Bytes of the access.</summary>
    public int? Size { get; init; }

    /// <summary>What was in memory, in hex.</summary>
    public string? Before { get; init; }

    /// <summary>What was to be in memory, in hex.</summary>
    public string? After { get; init; }

    /// <summary>The register, its value and what it was to be.</summary>
    public RegisterChange? Register { get; init; }

    /// <summary>The instruction.</summary>
    public CodePlace? Instruction { get; init; }

    /// <summary>Who executed it.</summary>
    public ViolationProcess? Process { get; init; }

    /// <summary>How it got there.</summary>
    public CallStack? Stack { get; init; }

    /// <summary>General and control registers.</summary>
    public IReadOnlyDictionary<string, string>? Registers { get; init; }

    /// <summary>Where the guest's memory was saved before the verdict.</summary>
    public string? Core { get; init; }

    /// <summary>The same with something more to say.</summary>
    internal Violation WithNote(string note) => this with { Note = string.IsNullOrEmpty(Note) ? note : $"{Note}; {note}" };
}

/// <summary>A register that was to change.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Old">Its value.</param>
/// <param name="New">What it was to be.</param>
public sealed record RegisterChange(string Name, string Old, string New);

/// <summary>A place in code.</summary>
/// <param name="Address">Where.</param>
/// <param name="Symbol">The same by name: <c>name+0x12</c>, <c>name+0x12 [module]</c>.</param>
/// <param name="Bytes">The instruction in hex; null in call stacks.</param>
/// <param name="Text">The instruction in words; null in call stacks.</param>
/// <param name="IsGuess">Lies on the stack and follows a call, but may be left over from one that has ended; null where it is known.</param>
public sealed record CodePlace(string Address, string Symbol, string? Bytes = null, string? Text = null, bool? IsGuess = null);

/// <summary>The process that a vCPU executed.</summary>
/// <param name="Pid">The thread's number.</param>
/// <param name="Tgid">The process's number.</param>
/// <param name="Comm">Its name.</param>
/// <param name="Uid">Its user.</param>
/// <param name="Parent">Its parent's number.</param>
/// <param name="Task">Its <c>struct task_struct</c>.</param>
/// <param name="IsUserMode">The instruction is one of user mode.</param>
public sealed record ViolationProcess(int Pid, int Tgid, string Comm, uint Uid, int Parent, string Task, bool IsUserMode);

/// <summary>Who called whom.</summary>
/// <param name="Method">How it was found: <c>orc</c>, by the kernel's unwind tables; <c>scan</c>, values on the stack that follow a call
/// instruction; <c>orc+scan</c>, by the tables as far as they led.</param>
/// <param name="Frames">Return addresses, the innermost first.</param>
/// <param name="End">Why it ends there: <c>user mode</c>, <c>end of stack</c>, or why the tables led no further.</param>
public sealed record CallStack(string Method, IReadOnlyList<CodePlace> Frames, string End = "");
