using System.Diagnostics;

namespace Hyperscope.Compare;

/// <summary>Prints one small table, with what it takes to repeat it.</summary>
internal sealed class Report(string title, params string[] columns)
{
    private readonly List<string[]> _rows = [];

    public void Add(params string[] cells) => _rows.Add(cells);

    /// <summary>Prints the table and says whether every goal was met.</summary>
    public void Print(string goal, bool met)
    {
        Console.WriteLine($"## {title}");
        Console.WriteLine($"{Machine()}, commit {Commit()}");
        List<string[]> all = [columns, .. _rows];
        int[] widths = [.. columns.Select((_, column) => all.Max(row => row[column].Length))];
        foreach (string[] row in all)
            Console.WriteLine("| " + string.Join(" | ", row.Select((cell, column) => column == 0 ? cell.PadRight(widths[column]) : cell.PadLeft(widths[column]))) + " |");
        Console.WriteLine($"goal: {goal}: {(met ? "met" : "missed")}");
        Console.WriteLine();
    }

    private static string Machine()
    {
        string model = File.ReadLines("/proc/cpuinfo").FirstOrDefault(static line => line.StartsWith("model name", StringComparison.Ordinal)) ?? "?";
        string load = File.ReadAllText("/proc/loadavg").Split(' ')[0];
        return $"{model[(model.IndexOf(':', StringComparison.Ordinal) + 1)..].Trim()}, {Environment.ProcessorCount} cores, load {load}";
    }

    private static string Commit()
    {
        try
        {
            using Process git = Process.Start(new ProcessStartInfo("git", "describe --always --dirty") { RedirectStandardOutput = true, RedirectStandardError = true })!;
            string commit = git.StandardOutput.ReadToEnd().Trim();
            return commit.Length == 0 ? "unknown" : commit;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return "unknown";
        }
    }
}
