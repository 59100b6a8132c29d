namespace Hyperscope.Kvm;

/// <summary>How the guest's view of memory gets its host protections.</summary>
public enum ProtectionMethod
{
    /// <summary><see cref="Userfaultfd"/> where a probe guest is stopped by it, else <see cref="Mprotect"/>.</summary>
    Auto,

    /// <summary>mprotect for all. Each place where protections differ takes one of the process's memory ranges.</summary>
    Mprotect,

    /// <summary>userfaultfd's write protection for what may not be written, which takes no memory range; mprotect for what may not be accessed.</summary>
    Userfaultfd,
}
