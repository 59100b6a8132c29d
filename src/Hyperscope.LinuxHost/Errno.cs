namespace Hyperscope.LinuxHost;

/// <summary>The error numbers that callers tell apart, as in errno.h.</summary>
public static class Errno
{
    /// <summary>Not allowed.</summary>
    public const int NotPermitted = 1;

    /// <summary>No such file or directory.</summary>
    public const int NoEntry = 2;

    /// <summary>A signal arrived first.</summary>
    public const int Interrupted = 4;

    /// <summary>It would block, or a queue is full.</summary>
    public const int Again = 11;

    /// <summary>Out of memory, or of something else that is counted.</summary>
    public const int NoMemory = 12;

    /// <summary>Not for this user.</summary>
    public const int AccessDenied = 13;

    /// <summary>An address that cannot be used.</summary>
    public const int Fault = 14;

    /// <summary>Bad argument.</summary>
    public const int Invalid = 22;

    /// <summary>The peer no longer reads.</summary>
    public const int BrokenPipe = 32;

    /// <summary>No such system call.</summary>
    public const int NoSystemCall = 38;

    /// <summary>Protocol error.</summary>
    public const int Protocol = 71;

    /// <summary>No such address family here.</summary>
    public const int AddressFamilyNotSupported = 97;

    /// <summary>Somebody listens there already.</summary>
    public const int AddressInUse = 98;

    /// <summary>No such address on this machine.</summary>
    public const int AddressNotAvailable = 99;

    /// <summary>The connection was given up before it was accepted.</summary>
    public const int ConnectionAborted = 103;

    /// <summary>The peer closed with data unread.</summary>
    public const int ConnectionReset = 104;

    /// <summary>Not connected.</summary>
    public const int NotConnected = 107;

    /// <summary>No answer in time.</summary>
    public const int TimedOut = 110;

    /// <summary>Nobody listens there.</summary>
    public const int ConnectionRefused = 111;

    /// <summary>The connection is being made.</summary>
    public const int InProgress = 115;
}
