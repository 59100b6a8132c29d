namespace Hyperscope.Machine;

/// <summary>A file to add to an initial RAM disk.</summary>
/// <param name="Path">Where the guest finds it.</param>
/// <param name="Contents">Its bytes.</param>
/// <param name="IsExecutable">Anyone in the guest may execute it.</param>
public sealed record InitramfsFile(string Path, ReadOnlyMemory<byte> Contents, bool IsExecutable)
{
    /// <summary>Reads a file, or every file below a directory, in the order of their names.</summary>
    /// <param name="source">A file or directory of the host's.</param>
    /// <param name="path">Where the guest finds it; null: below <c>/</c>, under the name that it has.</param>
    /// <exception cref="FileNotFoundException">There is neither.</exception>
    public static IReadOnlyList<InitramfsFile> From(string source, string? path = null)
    {
        string target = (path ?? "/" + System.IO.Path.GetFileName(System.IO.Path.GetFullPath(source).TrimEnd('/'))).TrimEnd('/');
        if (Directory.Exists(source))
        {
            return [.. Directory.EnumerateFiles(source, "*", SearchOption.AllDirectories)
                .Order(StringComparer.Ordinal)
                .Select(file => Read(file, $"{target}/{System.IO.Path.GetRelativePath(source, file)}"))];
        }

        if (!File.Exists(source))
            throw new FileNotFoundException($"there is no file or directory {source}", source);
        return [Read(source, target)];
    }

    private static InitramfsFile Read(string file, string path) =>
        new(path, File.ReadAllBytes(file), !OperatingSystem.IsWindows() && (File.GetUnixFileMode(file) & UnixFileMode.UserExecute) != 0);
}
