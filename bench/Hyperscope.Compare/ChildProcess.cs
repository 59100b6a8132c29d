using System.Diagnostics;

namespace Hyperscope.Compare;

/// <summary>This program again, in another role. It ends when its standard input does, so none is left behind.</summary>
internal sealed class ChildProcess : IDisposable
{
    private readonly Process _process;

    private ChildProcess(Process process) => _process = process;

    /// <summary>Starts a role and waits until it says "ready".</summary>
    public static ChildProcess Start(params string[] role)
    {
        string self = Environment.ProcessPath!;
        bool isHost = Path.GetFileName(self) == "dotnet";
        var start = new ProcessStartInfo(self) { RedirectStandardInput = true, RedirectStandardOutput = true };
        if (isHost)
            start.ArgumentList.Add(typeof(ChildProcess).Assembly.Location);
        start.ArgumentList.Add("child");
        foreach (string argument in role)
            start.ArgumentList.Add(argument);
        var child = new ChildProcess(Process.Start(start)!);
        string? first = child._process.StandardOutput.ReadLine();
        if (first != "ready")
            throw new InvalidOperationException($"the {role[0]} process said '{first}' instead of 'ready'");
        return child;
    }

    /// <summary>Sends a line and returns the line that answers it.</summary>
    public string Ask(string line)
    {
        _process.StandardInput.WriteLine(line);
        _process.StandardInput.Flush();
        return _process.StandardOutput.ReadLine() ?? throw new InvalidOperationException($"the child process ended instead of answering '{line}'");
    }

    public void Dispose()
    {
        _process.StandardInput.Close();
        if (!_process.WaitForExit(10_000))
            _process.Kill();
        _process.Dispose();
    }
}
