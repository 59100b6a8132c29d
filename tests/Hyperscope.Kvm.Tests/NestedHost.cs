using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Hyperscope.Kvm.Tests;

/// <summary>One boot of eng/nested-kvm, which ends it after five minutes.</summary>
/// <param name="Missing">Why it cannot be had here; null: it can.</param>
/// <param name="Unfinished">Why it did not come to the end of the commands: a busy machine, for an emulated processor with nested pages is slow,
/// or a mistake of the emulator that its own kernel does not survive. Null: it did.</param>
/// <param name="Talk">What the commands printed.</param>
internal sealed record NestedHost(string? Missing, string? Unfinished, string Talk)
{
    /// <summary>The collection of those who boot one: two at once would only slow each other down.</summary>
    public const string OneAtATime = "nested host";

    /// <summary>Boots and runs shell commands.</summary>
    /// <param name="commands">For the shell inside.</param>
    /// <param name="extra">Files and folders, from the root of the repository, to put into /extra.</param>
    public static NestedHost Run(string commands, string extra = "")
    {
        string script = Path.Combine(Root(), "eng", "nested-kvm");
        (int status, string talk) = Start(script, extra, "fetch");
        if (status != 0)
            return new NestedHost(talk.Trim().ReplaceLineEndings(" "), null, "");
        (status, talk) = Start(script, extra, "run", commands);
        const int OutOfTime = 124, Panicked = 125;
        string? unfinished = status switch
        {
            OutOfTime => "the emulated host ran out of time",
            Panicked => "the kernel of the emulated host panicked",
            _ => null,
        };
        return new NestedHost(null, unfinished, talk);
    }

    private static (int Status, string Talk) Start(string script, string extra, params string[] arguments)
    {
        var start = new ProcessStartInfo(script, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["NESTED_EXTRA"] = extra;
        if (NativeProgram() is { } native)
            start.Environment["NESTED_NATIVE"] = native;
#if DEBUG
        start.Environment["NESTED_CONFIGURATION"] = "Debug";
#endif
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + errors.Result);
    }

    // What eng/publish makes, if it is not older than the build: compiled code is what an emulated processor has most trouble to make.
    private static string? NativeProgram()
    {
        string native = Path.Combine(Root(), "artifacts", "publish", "hyperscope");
        string build = Path.Combine(Root(), "src", "Hyperscope.Cli", "bin", "Release", "net10.0", "hyperscope.dll");
        return File.Exists(native) && File.GetLastWriteTimeUtc(native) >= File.GetLastWriteTimeUtc(build) ? native : null;
    }

    private static string Root([CallerFilePath] string file = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(file)!, "..", ".."));
}
