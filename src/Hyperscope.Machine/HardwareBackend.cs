using Hyperscope.Kvm;

namespace Hyperscope.Machine;

/// <summary>Whether this machine has hardware virtualization that can run VMs.</summary>
public static class HardwareBackend
{
    /// <summary>Runs a small guest on the machine's KVM. Takes milliseconds where it works, seconds at most.</summary>
    /// <returns>Why <see cref="VmBackend.Kvm"/> cannot be used here, in one line; null: it can.</returns>
    public static string? FindObstacle() => KvmProbe.FindObstacle();

    /// <summary>Runs another on memory that userfaultfd protects.</summary>
    /// <returns>Why <see cref="ProtectionMethod.Userfaultfd"/> cannot be used here, in one line; null: it can.</returns>
    public static string? FindUserfaultObstacle() => KvmProbe.FindUserfaultObstacle();
}
