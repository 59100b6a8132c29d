using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hyperscope.LinuxHost;

/// <summary>Which way an ioctl's argument goes.</summary>
public enum IoctlDirection
{
    /// <summary>No structure: the argument is a number or nothing.</summary>
    None = 0,

    /// <summary>The kernel reads the structure.</summary>
    Write = 1,

    /// <summary>The kernel fills the structure.</summary>
    Read = 2,

    /// <summary>Both.</summary>
    ReadWrite = 3,
}

/// <summary>An ioctl request whose argument is a number or nothing.</summary>
/// <param name="type">The driver's letter.</param>
/// <param name="number">The request's number, 0 to 255.</param>
public readonly struct IoctlRequest(byte type, byte number)
{
    /// <summary>What the kernel is given.</summary>
    public uint Code => (uint)((type << 8) | number);
}

/// <summary>An ioctl request with a structure as its argument; the code holds the structure's size.</summary>
/// <typeparam name="T">The structure; for one with a variable tail, its fixed part.</typeparam>
/// <param name="direction">Who reads and who writes it.</param>
/// <param name="type">The driver's letter.</param>
/// <param name="number">The request's number, 0 to 255.</param>
public readonly struct IoctlRequest<T>(IoctlDirection direction, byte type, byte number)
    where T : unmanaged
{
    /// <summary>What the kernel is given.</summary>
    public uint Code => ((uint)direction << 30) | ((uint)Unsafe.SizeOf<T>() << 16) | (uint)((type << 8) | number);
}

/// <summary>The ioctl call.</summary>
public static unsafe partial class Ioctl
{
    /// <summary>Calls with a number.</summary>
    /// <returns>What the kernel returned, 0 or more.</returns>
    /// <exception cref="LinuxException">It refused.</exception>
    public static int Call(FileDescriptorHandle fd, IoctlRequest request, nuint argument = 0, [CallerArgumentExpression(nameof(request))] string name = "")
    {
        int result = IoctlNumber(fd, request.Code, argument);
        return result >= 0 ? result : throw LinuxException.FromLastCall($"ioctl {name}");
    }

    /// <summary>Calls with a structure.</summary>
    /// <inheritdoc cref="Call(FileDescriptorHandle, IoctlRequest, nuint, string)"/>
    public static int Call<T>(
        FileDescriptorHandle fd, IoctlRequest<T> request, ref T argument, [CallerArgumentExpression(nameof(request))] string name = "")
        where T : unmanaged
    {
        int result = TryCall(fd, request, ref argument);
        return result >= 0 ? result : throw LinuxException.FromLastCall($"ioctl {name}");
    }

    /// <summary>Calls with a structure; -1 if the kernel refused, with the error number as the thread's last P/Invoke error.</summary>
    public static int TryCall<T>(FileDescriptorHandle fd, IoctlRequest<T> request, ref T argument)
        where T : unmanaged
    {
        // Sound: pinned for the call, and the kernel touches no more than the size that is part of the code.
        fixed (T* pointer = &argument)
            return IoctlPointer(fd, request.Code, pointer);
    }

    /// <summary>Calls with a structure followed by a variable tail.</summary>
    /// <param name="fd">The descriptor.</param>
    /// <param name="request">The request; its size is that of the fixed part.</param>
    /// <param name="bytes">Fixed part and tail; the fixed part bounds what the kernel touches.</param>
    /// <param name="name">For messages.</param>
    /// <inheritdoc cref="Call(FileDescriptorHandle, IoctlRequest, nuint, string)"/>
    public static int Call<T>(
        FileDescriptorHandle fd, IoctlRequest<T> request, Span<byte> bytes, [CallerArgumentExpression(nameof(request))] string name = "")
        where T : unmanaged
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(bytes.Length, sizeof(T));
        fixed (byte* pointer = bytes)
        {
            int result = IoctlPointer(fd, request.Code, pointer);
            return result >= 0 ? result : throw LinuxException.FromLastCall($"ioctl {name}");
        }
    }

    /// <summary>A call that gives a new descriptor.</summary>
    /// <inheritdoc cref="Call(FileDescriptorHandle, IoctlRequest, nuint, string)"/>
    public static FileDescriptorHandle Open(
        FileDescriptorHandle fd, IoctlRequest request, nuint argument = 0, [CallerArgumentExpression(nameof(request))] string name = "") =>
        new(Call(fd, request, argument, name));

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int IoctlNumber(FileDescriptorHandle fd, nuint request, nuint argument);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int IoctlPointer(FileDescriptorHandle fd, nuint request, void* argument);
}
