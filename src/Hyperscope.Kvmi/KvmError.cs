namespace Hyperscope.Kvmi;

/// <summary>Why a command was refused. Members have the values of <c>KVM_E*</c>; the wire carries them negated.</summary>
/// <remarks>Source: kvmi-abi.md 1.6.</remarks>
public enum KvmError
{
    /// <summary>No error.</summary>
    None = 0,

    /// <summary>KVM_EPERM: the device manager disallowed the command or event.</summary>
    NotPermitted = 1,

    /// <summary>KVM_ENOENT: unknown id in a check, no memory behind a page, no such CPUID leaf.</summary>
    NotFound = 2,

    /// <summary>KVM_E2BIG: defined by KVM, unused in v9.</summary>
    TooBig = 7,

    /// <summary>KVM_EAGAIN: the vCPU exists and cannot be introspected yet.</summary>
    TryAgain = 11,

    /// <summary>KVM_ENOMEM: no memory.</summary>
    OutOfMemory = 12,

    /// <summary>KVM_EFAULT: defined by KVM, unused in v9.</summary>
    BadAddress = 14,

    /// <summary>KVM_EBUSY: in use already, or too many pending.</summary>
    Busy = 16,

    /// <summary>KVM_EINVAL: bad argument, vCPU index or padding.</summary>
    InvalidArgument = 22,

    /// <summary>KVM_EOPNOTSUPP: not supported here, or not possible now.</summary>
    NotSupported = 95,

    /// <summary>KVM_ENOSYS: unknown message id.</summary>
    UnknownCommand = 1000,
}
