using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Hyperscope.Cli.Output;

namespace Hyperscope.Cli;

/// <summary>A note, in the user's runtime directory, of the pages that a running command holds restricted.</summary>
/// <remarks>The protocol cannot be asked, and a VM has one tool at a time: so the command that sets rights writes them down for
/// <c>page-access list</c>, and takes the note away when it ends.</remarks>
internal sealed class HeldPages : IDisposable
{
    private readonly string _path;

    private HeldPages(string path) => _path = path;

    private static string Folder
    {
        get
        {
            string? runtime = Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR");
            return string.IsNullOrEmpty(runtime)
                ? Path.Combine(Path.GetTempPath(), $"hyperscope-{Environment.UserName}")
                : Path.Combine(runtime, "hyperscope");
        }
    }

    /// <summary>Notes what a connection holds.</summary>
    public static HeldPages Note(Endpoint endpoint, IntrospectedVm vm)
    {
        Directory.CreateDirectory(Folder);
        if (!OperatingSystem.IsWindows())
            File.SetUnixFileMode(Folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        string path = PathOf(endpoint);
        PageRecord[] pages = [.. vm.PageAccesses.Select(static page => new PageRecord($"{page.Key.Address}", page.Value.ToText()))];
        var note = new PageListRecord($"{endpoint}", Environment.ProcessId, pages);
        File.WriteAllText(path, JsonSerializer.Serialize(note, CliJson.Default.PageListRecord));
        return new HeldPages(path);
    }

    /// <summary>Reads what a running command holds; <see langword="null"/> if none does.</summary>
    public static PageListRecord? Find(Endpoint endpoint)
    {
        try
        {
            PageListRecord? note = JsonSerializer.Deserialize(File.ReadAllText(PathOf(endpoint)), CliJson.Default.PageListRecord);
            return note is not null && IsRunning(note.ProcessId) ? note : null;
        }
        catch (Exception missing) when (missing is FileNotFoundException or DirectoryNotFoundException or JsonException)
        {
            return null;
        }
    }

    public void Dispose() => File.Delete(_path);

    private static string PathOf(Endpoint endpoint) =>
        Path.Combine(Folder, $"{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes($"{endpoint}")).AsSpan(0, 8))}.json");

    private static bool IsRunning(int processId)
    {
        try
        {
            using Process process = Process.GetProcessById(processId);
            return !process.HasExited;
        }
        catch (ArgumentException)
        {
            return false;
        }
    }
}
