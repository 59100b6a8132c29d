using System.CommandLine;
using System.Runtime.CompilerServices;

namespace Hyperscope.Cli.Tests;

/// <summary>Help is part of the product: each page is a golden file.</summary>
public sealed class HelpTests
{
    public static TheoryData<string> Pages =>
        [.. CommandTree.Walk(Tree).Select(PathOf).Prepend("").Order(StringComparer.Ordinal)];

    private static RootCommand Tree => CommandTree.Create(new CliConsole(TextWriter.Null, TextWriter.Null, Stream.Null));

    [Theory]
    [MemberData(nameof(Pages))]
    public async Task Help_is_as_recorded(string path)
    {
        CliResult result = await RunCli.RunAsync($"{path} --help".Trim());
        Assert.Equal(0, result.ExitCode);
        Assert.Empty(result.Error);

        string name = path.Length == 0 ? "hyperscope.txt" : $"{path.Replace(' ', '-')}.txt";
        if (Environment.GetEnvironmentVariable("HYPERSCOPE_UPDATE_GOLDEN") == "1")
            await File.WriteAllTextAsync(Path.Combine(SourceFolder(), "Golden", name), Normal(result.Output), RunCli.Cancel);
        string golden = Path.Combine(AppContext.BaseDirectory, "Golden", name);
        Assert.True(File.Exists(golden), $"no {name}: run the tests with HYPERSCOPE_UPDATE_GOLDEN=1 and look at what it writes");
        Assert.Equal(await File.ReadAllTextAsync(golden, RunCli.Cancel), Normal(result.Output));
    }

    [Fact]
    public void Each_command_has_examples_that_parse()
    {
        foreach (CliCommand command in CommandTree.Walk(Tree).OfType<CliCommand>())
        {
            Assert.NotEmpty(command.Examples);
            foreach (Example example in command.Examples)
            {
                string line = example.CommandLine.Split('|')[0].Trim();
                ParseResult parsed = Tree.Parse(line["hyperscope ".Length..]);
                Assert.Empty(parsed.Errors);
                Assert.Equal(command.Name, parsed.CommandResult.Command.Name);
            }
        }
    }

    [Fact]
    public void No_golden_file_is_left_over()
    {
        IEnumerable<string> expected =
            CommandTree.Walk(Tree).Select(PathOf).Select(static path => $"{path.Replace(' ', '-')}.txt").Append("hyperscope.txt");
        Assert.Equal(
            expected.Order(StringComparer.Ordinal),
            Directory.GetFiles(Path.Combine(SourceFolder(), "Golden")).Select(Path.GetFileName).Order(StringComparer.Ordinal)!);
    }

    private static string PathOf(Command command) => string.Join(
        ' ',
        command.Parents.OfType<Command>()
            .Where(static parent => parent is not RootCommand)
            .Select(static parent => parent.Name)
            .Append(command.Name));

    // Trailing blanks are the library's; the program's name is the test host's.
    private static string Normal(string text) => string.Join(
        '\n', text.ReplaceLineEndings("\n").Split('\n').Select(static line => line.TrimEnd())).Replace(
        RootCommand.ExecutableName, "hyperscope", StringComparison.Ordinal).TrimEnd() + "\n";

    private static string SourceFolder([CallerFilePath] string path = "") => Path.GetDirectoryName(path)!;
}
