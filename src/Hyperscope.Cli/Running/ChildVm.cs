using System.Diagnostics;
using System.Text;

namespace Hyperscope.Cli.Running;

/// <summary>A VM in a process of its own, started with this same command, and the folder of its sockets.</summary>
internal sealed class ChildVm : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(180); // an emulated host is slow

    private readonly Process _process;
    private readonly DirectoryInfo _folder;
    private readonly StringBuilder _talk = new();

    private ChildVm(Process process, DirectoryInfo folder)
    {
        _process = process;
        _folder = folder;
        _process.ErrorDataReceived += (_, line) =>
        {
            lock (_talk)
                _talk.AppendLine(line.Data);
        };
        _process.BeginErrorReadLine();
    }

    /// <summary>What the VM writes to its serial port.</summary>
    public StreamReader Serial => _process.StandardOutput;

    /// <summary>Types on the guest's serial console.</summary>
    public async Task TypeAsync(string text, CancellationToken cancellation)
    {
        await _process.StandardInput.WriteAsync(text.AsMemory(), cancellation).ConfigureAwait(false);
        await _process.StandardInput.FlushAsync(cancellation).ConfigureAwait(false);
    }

    /// <summary>What the VM's process said on its standard error.</summary>
    public string Talk
    {
        get
        {
            lock (_talk)
                return _talk.ToString();
        }
    }

    /// <summary>Completes when the process has ended.</summary>
    public Task Ended => _process.WaitForExitAsync();

    /// <summary>What it ended with, once it has.</summary>
    public int ProcessExitCode => _process.ExitCode;

    /// <summary>Makes the folder for the sockets; only this user can enter it.</summary>
    public static DirectoryInfo CreateFolder() => Directory.CreateTempSubdirectory("hyperscope-");

    /// <summary>A socket path in a folder.</summary>
    public static Endpoint Socket(DirectoryInfo folder, string name) => Endpoint.Unix(Path.Combine(folder.FullName, name));

    /// <summary>Starts <c>hyperscope vm run</c> with the given arguments.</summary>
    /// <exception cref="CliException">The process does not start.</exception>
    public static ChildVm Start(DirectoryInfo folder, params IReadOnlyList<string> arguments)
    {
        string self = Environment.ProcessPath ?? throw new CliException("the path of this program is not known");
        var start = new ProcessStartInfo(self)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
        };

        // Under the shared host ("dotnet hyperscope.dll") the program is the host and the assembly its first argument.
        string assembly = Path.Combine(AppContext.BaseDirectory, "hyperscope.dll");
        if (Path.GetFileNameWithoutExtension(self) == "dotnet" || !Path.GetFileName(self).StartsWith("hyperscope", StringComparison.Ordinal))
        {
            if (Path.GetFileNameWithoutExtension(self) != "dotnet")
                start.FileName = "dotnet";
            start.ArgumentList.Add(assembly);
        }

        foreach (string argument in (string[])["vm", "run", .. arguments])
            start.ArgumentList.Add(argument);
        Process process = Process.Start(start) ?? throw new CliException($"{self} cannot be started");
        return new ChildVm(process, folder);
    }

    /// <summary>Connects to a socket of the VM as soon as it listens.</summary>
    /// <exception cref="CliException">The VM ended or does not listen in time.</exception>
    public T ConnectWhenReady<T>(Func<T> connect)
    {
        long start = Stopwatch.GetTimestamp();
        while (true)
        {
            try
            {
                return connect();
            }
            catch (LinuxException)
            {
                // Another process's socket file: there is nothing to wait on but the process itself.
                if (_process.WaitForExit(TimeSpan.FromMilliseconds(20)))
                    throw new CliException($"the VM did not start: {Talk.Trim()}");
                if (Stopwatch.GetElapsedTime(start) > Patience)
                    throw new CliException($"the VM did not listen within {Patience.TotalSeconds} s {Talk.Trim()}".TrimEnd());
            }
        }
    }

    public void Dispose()
    {
        if (!_process.HasExited)
            _process.Kill();
        _process.WaitForExit();
        _process.Dispose();
        _folder.Delete(recursive: true);
    }
}
