using System.Runtime.InteropServices;

namespace Hyperscope.Vm;

/// <summary>General registers, rip and rflags (C name <c>kvm_regs</c>).</summary>
/// <remarks>144 bytes, 18 little-endian u64. Source: kvmi-abi.md 3.1.</remarks>
[StructLayout(LayoutKind.Sequential)]
public struct KvmRegs : IEquatable<KvmRegs>
{
#pragma warning disable CS1591 // the register names say it
    public ulong Rax, Rbx, Rcx, Rdx, Rsi, Rdi, Rsp, Rbp, R8, R9, R10, R11, R12, R13, R14, R15;
    public ulong Rip, Rflags;
#pragma warning restore CS1591

    /// <summary>Number of u64 fields.</summary>
    public const int Count = 18;

    /// <summary>Their names, in wire order.</summary>
    public static IReadOnlyList<string> Names { get; } =
    [
        "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags",
    ];

    /// <summary>The registers as 18 values in wire order.</summary>
    public static Span<ulong> AsSpan(ref KvmRegs registers) => MemoryMarshal.Cast<KvmRegs, ulong>(MemoryMarshal.CreateSpan(ref registers, 1));

    /// <inheritdoc/>
    public readonly bool Equals(KvmRegs other)
    {
        KvmRegs left = this;
        return AsSpan(ref left).SequenceEqual(AsSpan(ref other));
    }

    /// <inheritdoc/>
    public override readonly bool Equals(object? obj) => obj is KvmRegs other && Equals(other);

    /// <inheritdoc/>
    public override readonly int GetHashCode() => HashCode.Combine(Rip, Rsp, Rax, Rflags);

    /// <summary>Field-wise equality.</summary>
    public static bool operator ==(KvmRegs left, KvmRegs right) => left.Equals(right);

    /// <summary>Field-wise inequality.</summary>
    public static bool operator !=(KvmRegs left, KvmRegs right) => !left.Equals(right);
}
