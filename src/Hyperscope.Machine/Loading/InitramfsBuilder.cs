using System.Buffers;
using System.Globalization;
using System.Text;

namespace Hyperscope.Machine;

/// <summary>Writes a cpio archive in the "newc" format, which Linux takes as its initial RAM disk.
/// Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst.</summary>
/// <remarks>Parent directories are added by themselves; owner is root, times are 0, so equal input gives equal bytes.</remarks>
public sealed class InitramfsBuilder
{
    private const uint Directory = 0x4000, CharacterDevice = 0x2000, RegularFile = 0x8000, SymbolicLink = 0xa000;

    private readonly ArrayBufferWriter<byte> _archive = new();
    private readonly HashSet<string> _names = [];
    private uint _inode = 1;
    private bool _finished;

    /// <summary>Adds a directory, mode in octal notation's value.</summary>
    public InitramfsBuilder AddDirectory(string path, int mode = 0x1ed)
    {
        string name = Normalize(path);
        if (_names.Contains(name))
            return this;
        AddParents(name);
        return Add(name, Directory | (uint)mode, [], 0, 0);
    }

    /// <summary>Adds a file.</summary>
    public InitramfsBuilder AddFile(string path, ReadOnlySpan<byte> contents, bool isExecutable = false)
    {
        string name = Normalize(path);
        AddParents(name);
        return Add(name, RegularFile | (isExecutable ? 0x1edu : 0x1a4u), contents, 0, 0);
    }

    /// <summary>Adds a file of text, UTF-8.</summary>
    public InitramfsBuilder AddText(string path, string contents, bool isExecutable = false) =>
        AddFile(path, Encoding.UTF8.GetBytes(contents), isExecutable);

    /// <summary>Adds a symbolic link.</summary>
    public InitramfsBuilder AddLink(string path, string target)
    {
        string name = Normalize(path);
        AddParents(name);
        return Add(name, SymbolicLink | 0x1ff, Encoding.UTF8.GetBytes(target), 0, 0);
    }

    /// <summary>Adds a character device.</summary>
    public InitramfsBuilder AddCharacterDevice(string path, uint major, uint minor)
    {
        string name = Normalize(path);
        AddParents(name);
        return Add(name, CharacterDevice | 0x180, [], major, minor);
    }

    /// <summary>Ends the archive; nothing can be added after.</summary>
    public byte[] Build()
    {
        if (!_finished)
        {
            _inode = 0;
            Write("TRAILER!!!", 0, [], 0, 0);
            Pad(512);
            _finished = true;
        }

        return _archive.WrittenSpan.ToArray();
    }

    private static string Normalize(string path)
    {
        string name = path.Trim('/');
        if (name.Length == 0 || name.Split('/').Any(part => part is "" or "." or "..") || name.Contains('\0', StringComparison.Ordinal))
            throw new ArgumentException($"path \"{path}\" is not a plain path inside the archive", nameof(path));
        return name;
    }

    private void AddParents(string name)
    {
        int slash = name.LastIndexOf('/');
        if (slash > 0)
            AddDirectory(name[..slash]);
    }

    private InitramfsBuilder Add(string name, uint mode, ReadOnlySpan<byte> contents, uint major, uint minor)
    {
        if (_finished)
            throw new InvalidOperationException("the archive is finished");
        if (!_names.Add(name))
            throw new ArgumentException($"path \"{name}\" is in the archive already", nameof(name));
        Write(name, mode, contents, major, minor);
        return this;
    }

    private void Write(string name, uint mode, ReadOnlySpan<byte> contents, uint major, uint minor)
    {
        byte[] encoded = Encoding.UTF8.GetBytes(name + '\0');
        var header = new StringBuilder("070701", 110);
        uint links = (mode & 0xf000) == Directory ? 2u : 1u;
        ReadOnlySpan<uint> fields = [_inode++, mode, 0, 0, links, 0, (uint)contents.Length, 0, 0, major, minor, (uint)encoded.Length, 0];
        foreach (uint field in fields)
            header.Append(field.ToString("x8", CultureInfo.InvariantCulture));
        _archive.Write(Encoding.ASCII.GetBytes(header.ToString()));
        _archive.Write(encoded);
        Pad(4);
        _archive.Write(contents);
        Pad(4);
    }

    private void Pad(int multiple)
    {
        int count = (multiple - (_archive.WrittenCount % multiple)) % multiple;
        _archive.GetSpan(count)[..count].Clear();
        _archive.Advance(count);
    }
}
