namespace Hyperscope.Compare;

/// <summary>A directory for sockets and images, gone at the end.</summary>
internal sealed class ScratchDirectory : IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("hyperscope-");

    public string Endpoint(string name) => $"unix:{File(name)}";

    public string File(string name) => Path.Combine(_directory.FullName, name);

    public void Dispose() => _directory.Delete(recursive: true);
}
