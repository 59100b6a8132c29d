using System.Runtime.InteropServices;

namespace Hyperscope.LinuxHost;

/// <summary>A memory file, the backing of guest memory: anonymous (memfd), or with a name in a file system.</summary>
/// <remarks>The descriptor can be mapped any number of times and passed to other processes; pages exist once touched, so a file may be as
/// large as its highest offset needs.</remarks>
public sealed partial class SharedMemory : IDisposable
{
    private const uint CloseOnExec = 1; // MFD_CLOEXEC
    private const int ReadWrite = 2, Create = 0x40, Truncate = 0x200, OpenCloseOnExec = 0x8_0000, OwnerOnly = 0x180; // O_*, S_*
    private const int KeepSize = 1, PunchHole = 2; // FALLOC_FL_*

    private readonly string? _path;

    /// <summary>Creates a memory file of <paramref name="size"/> zero bytes.</summary>
    /// <param name="name">Shown in /proc, for people only.</param>
    /// <param name="size">Bytes; a multiple of the page size.</param>
    /// <exception cref="LinuxException">memfd_create or ftruncate failed.</exception>
    public SharedMemory(string name, ulong size)
    {
        Handle = MemfdCreate(name, CloseOnExec);
        if (Handle.IsInvalid)
            throw LinuxException.FromLastCall("memfd_create");
        Start(size);
    }

    private SharedMemory(FileDescriptorHandle handle, string path, ulong size)
    {
        Handle = handle;
        _path = path;
        Start(size);
    }

    /// <summary>Makes a file of <paramref name="size"/> zero bytes that only its owner can open. What was there is lost.</summary>
    /// <exception cref="LinuxException">open, fchmod or ftruncate failed.</exception>
    public static SharedMemory CreateFile(string path, ulong size)
    {
        FileDescriptorHandle handle = Open(path, ReadWrite | Create | Truncate | OpenCloseOnExec, OwnerOnly);
        if (handle.IsInvalid)
            throw LinuxException.FromLastCall($"open of {path}");
        if (Fchmod(handle, OwnerOnly) < 0) // the mode of open is for new files only
        {
            LinuxException refused = LinuxException.FromLastCall($"fchmod of {path}");
            handle.Dispose();
            throw refused;
        }

        return new SharedMemory(handle, System.IO.Path.GetFullPath(path), size);
    }

    /// <summary>Where another process can open it: its name, or else a name below /proc.</summary>
    public string Path => _path ?? string.Create(
        System.Globalization.CultureInfo.InvariantCulture, $"/proc/{Environment.ProcessId}/fd/{Handle.DangerousGetHandle()}");

    /// <summary>The memory file's descriptor.</summary>
    public FileDescriptorHandle Handle { get; }

    /// <summary>Size in bytes.</summary>
    public ulong Size { get; private set; }

    /// <summary>Makes the file longer; the new bytes are zero.</summary>
    /// <exception cref="LinuxException">ftruncate failed.</exception>
    public void Grow(ulong size)
    {
        if (size <= Size)
            return;
        if (Ftruncate(Handle, checked((long)size)) < 0)
            throw LinuxException.FromLastCall($"ftruncate to {size} bytes");
        Size = size;
    }

    /// <summary>Makes a range zero and gives its memory back.</summary>
    /// <exception cref="LinuxException">fallocate failed.</exception>
    public void Discard(ulong offset, ulong length)
    {
        if (Fallocate(Handle, KeepSize | PunchHole, checked((long)offset), checked((long)length)) < 0)
            throw LinuxException.FromLastCall($"fallocate of {length} bytes at offset {offset}");
    }

    /// <summary>Maps a range of the file, shared, readable and writable.</summary>
    /// <exception cref="LinuxException">mmap failed.</exception>
    public MemoryMapping Map(ulong offset, ulong length) => MemoryMapping.Create(Handle, offset, length);

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();

    private void Start(ulong size)
    {
        try
        {
            Grow(size);
        }
        catch (LinuxException)
        {
            Handle.Dispose();
            throw;
        }
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial FileDescriptorHandle Open(string path, int flags, int mode);

    [LibraryImport("libc", EntryPoint = "fchmod", SetLastError = true)]
    private static partial int Fchmod(FileDescriptorHandle fd, int mode);

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    private static partial int Fallocate(FileDescriptorHandle fd, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "memfd_create", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial FileDescriptorHandle MemfdCreate(string name, uint flags);

    [LibraryImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
    private static partial int Ftruncate(FileDescriptorHandle fd, long length);
}

/// <summary>One mapping of memory into this process; unmapped when released.</summary>
public sealed partial class MemoryMapping : SafeHandle
{
    private const int ProtectionReadWrite = 3; // PROT_READ | PROT_WRITE
    private const int MapShared = 1;

    private MemoryMapping(nint address, ulong length)
        : base(invalidHandleValue: -1, ownsHandle: true)
    {
        SetHandle(address);
        Length = length;
    }

    /// <summary>Length in bytes.</summary>
    public ulong Length { get; }

    /// <summary>First byte. Valid while the handle is open or referenced.</summary>
    public nint Address => handle;

    /// <inheritdoc/>
    public override bool IsInvalid => handle == -1;

    /// <summary>Changes what may be done with a range of whole pages; others who map the same memory are not concerned.</summary>
    /// <param name="offset">First byte, page-aligned.</param>
    /// <param name="length">Bytes, whole pages.</param>
    /// <param name="protection">What is allowed from now on.</param>
    /// <exception cref="LinuxException">mprotect failed: ENOMEM means that the process has too many differing ranges.</exception>
    public void Protect(ulong offset, ulong length, MemoryProtection protection)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Length - offset);
        if (Mprotect(handle + checked((nint)offset), checked((nuint)length), (int)protection) < 0)
            throw LinuxException.FromLastCall($"mprotect of {length} bytes at offset {offset}");
    }

    /// <summary>Maps a descriptor, shared, readable and writable.</summary>
    /// <exception cref="LinuxException">mmap failed.</exception>
    public static MemoryMapping Create(FileDescriptorHandle fd, ulong offset, ulong length)
    {
        nint address = Mmap(0, checked((nuint)length), ProtectionReadWrite, MapShared, fd, checked((long)offset));
        if (address == -1)
            throw LinuxException.FromLastCall($"mmap of {length} bytes at offset {offset}");
        return new MemoryMapping(address, length);
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => Munmap(handle, checked((nuint)Length)) == 0;

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint Mmap(nint address, nuint length, int protection, int flags, FileDescriptorHandle fd, long offset);

    [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
    private static partial int Mprotect(nint address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int Munmap(nint address, nuint length);
}

/// <summary>What may be done with mapped memory (PROT_*).</summary>
[Flags]
public enum MemoryProtection
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>Reading.</summary>
    Read = 1,

    /// <summary>Reading and writing.</summary>
    ReadWrite = 3,
}
