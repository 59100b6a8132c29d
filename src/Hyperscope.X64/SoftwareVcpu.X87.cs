namespace Hyperscope.X64;

/// <summary>The pin that reports x87 errors where CR0.NE is clear.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    /// <summary>Called on the vCPU's thread for a pending x87 error with CR0.NE clear (FERR, IRQ 13 of a PC); null: #MF is raised instead.</summary>
    public Action? X87ErrorLine { get; set; }
}
