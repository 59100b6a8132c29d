namespace Hyperscope.Client;

/// <summary>The VM refused a command.</summary>
/// <param name="command">The command.</param>
/// <param name="arguments">Its arguments, for people; may be empty.</param>
/// <param name="error">Why.</param>
public sealed class KvmiException(MessageId command, string arguments, KvmError error)
    : Exception($"{command}{(arguments.Length == 0 ? "" : $" ({arguments})")} was refused: {Explain(error)}")
{
    /// <summary>The command.</summary>
    public MessageId Command { get; } = command;

    /// <summary>Its arguments, for people.</summary>
    public string Arguments { get; } = arguments;

    /// <summary>Why it was refused. A number that the protocol does not define is kept.</summary>
    public KvmError Error { get; } = error;

    private static string Explain(KvmError error) => error switch
    {
        KvmError.NotPermitted => "EPERM, the owner of the VM does not allow it",
        KvmError.NotFound => "ENOENT, no such thing",
        KvmError.TryAgain => "EAGAIN, the vCPU has not been started yet",
        KvmError.OutOfMemory => "ENOMEM, the VM side is out of memory",
        KvmError.Busy => "EBUSY, in use already or too many pending",
        KvmError.InvalidArgument => "EINVAL, bad argument",
        KvmError.NotSupported => "EOPNOTSUPP, not supported here or not possible now",
        KvmError.UnknownCommand => "ENOSYS, the VM does not know this command",
        _ => $"error {(int)error}",
    };
}
