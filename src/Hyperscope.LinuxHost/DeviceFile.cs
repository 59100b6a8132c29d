using System.Runtime.InteropServices;

namespace Hyperscope.LinuxHost;

/// <summary>Opens device files.</summary>
public static partial class DeviceFile
{
    private const int ReadWrite = 2, CloseOnExec = 0x80000; // O_RDWR, O_CLOEXEC

    /// <summary>Opens a device for reading and writing.</summary>
    /// <exception cref="LinuxException">It is not there, or not for this user.</exception>
    public static FileDescriptorHandle Open(string path)
    {
        int descriptor = OpenFile(path, ReadWrite | CloseOnExec);
        return descriptor < 0 ? throw LinuxException.FromLastCall($"open {path}") : new FileDescriptorHandle(descriptor);
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenFile(string path, int flags);
}
