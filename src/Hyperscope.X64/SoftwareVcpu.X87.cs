using Hyperscope.Vm;

namespace Hyperscope.X64;

/// <summary>The pins of a PC that report x87 errors where CR0.NE is clear.</summary>
/// <remarks>Source: SDM vol. 1, "Guidelines for Writing x87 FPU Exception Handlers". The error pin is driven when the next waiting
/// instruction finds the error, and that instruction stays in front until an interrupt comes.</remarks>
public sealed unsafe partial class SoftwareVcpu
{
    private volatile bool _ignoresX87Error;

    /// <summary>FERR#, driven on the vCPU's thread outside guest mode; null: #MF is raised instead.</summary>
    public IInterruptLine? X87ErrorLine { get; set; }

    /// <summary>True while instructions go on in spite of the pending error.</summary>
    internal bool IgnoresX87Error => _ignoresX87Error;

    /// <summary>IGNNE#: the error that is pending now stops no instruction any more; the next error does. Any thread.</summary>
    public void IgnoreX87Error() => _ignoresX87Error = true;

    internal void ForgetIgnoredX87Error() => _ignoresX87Error = false;
}
