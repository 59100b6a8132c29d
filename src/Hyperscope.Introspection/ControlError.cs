namespace Hyperscope.Introspection;

/// <summary>What a control call of the device manager answers; errno numbers, not <see cref="KvmError"/>.</summary>
/// <remarks>Source: kvmi-abi.md 4.1.</remarks>
public enum ControlError
{
    /// <summary>Done.</summary>
    None = 0,

    /// <summary>EPERM: introspection is switched off, or the command can never be disallowed.</summary>
    NotPermitted = 1,

    /// <summary>ENOENT: the UNHOOK event is not enabled or could not be written.</summary>
    NotFound = 2,

    /// <summary>ENOMEM: no memory, or the receive thread cannot start.</summary>
    OutOfMemory = 12,

    /// <summary>EFAULT: not hooked.</summary>
    NotHooked = 14,

    /// <summary>EEXIST: already hooked, or a vCPU still owes its clean-up from an earlier hook.</summary>
    AlreadyHooked = 17,

    /// <summary>EINVAL: a bad id, a bad flag, or the socket is none.</summary>
    InvalidArgument = 22,
}
