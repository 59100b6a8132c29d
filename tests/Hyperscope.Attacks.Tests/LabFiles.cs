using System.Runtime.CompilerServices;
using Hyperscope.GuestLinux.Tests;

namespace Hyperscope.Attacks.Tests;

/// <summary>What eng/build-attacks made.</summary>
internal static class LabFiles
{
    /// <summary>A program with the ids of a user and one thread that has ended.</summary>
    public const string ThreadedProgram = "/threaded";

    /// <summary>Programs that execute what they have written, by ways of their own; their status is 42 then. What the kernel says of them is as of the
    /// lab's own.</summary>
    public const string WriterOfItself = "/self-writer/attack", UnpackerOfMuch = "/much/attack", PatientUnpacker = "/patient/attack";

    /// <summary>The lab's files, for a guest's initial RAM disk.</summary>
    public static IReadOnlyList<InitramfsFile> Read()
    {
        string folder = Path.Combine(Root, AttackLab.HostFolder);
        string? missing = AttackLab.FileNames.FirstOrDefault(name => !File.Exists(Path.Combine(folder, name)));
        Assert.SkipWhen(missing is not null, $"needs {AttackLab.HostFolder}/{missing}; run: eng/build-attacks");
        return
        [
            .. InitramfsFile.From(folder, AttackLab.GuestFolder),
            new InitramfsFile(ThreadedProgram, TinyProgram.UserWithAnEndedThread(), true),
            new InitramfsFile(WriterOfItself, TinyProgram.WriterOfItself(), true),
            new InitramfsFile(UnpackerOfMuch, TinyProgram.UnpackerOfMuch(), true),
            new InitramfsFile(PatientUnpacker, TinyProgram.PatientUnpacker(), true),
        ];
    }

    private static string Root => Path.GetFullPath(Path.Combine(SourceFolder(), "../.."));

    private static string SourceFolder([CallerFilePath] string path = "") => Path.GetDirectoryName(path)!;
}
