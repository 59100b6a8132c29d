using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Hyperscope.LinuxHost;

/// <summary>Owns one file descriptor and closes it.</summary>
public sealed partial class FileDescriptorHandle : SafeHandleMinusOneIsInvalid
{
    /// <summary>For the marshaller.</summary>
    public FileDescriptorHandle()
        : base(ownsHandle: true)
    {
    }

    /// <summary>Takes over a descriptor.</summary>
    public FileDescriptorHandle(int fd)
        : base(ownsHandle: true) => SetHandle(fd);

    /// <summary>The number, for calls that take a raw descriptor. Valid while the handle is open.</summary>
    public int Number => (int)handle;

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => Close((int)handle) == 0;

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    private static partial int Close(int fd);
}
