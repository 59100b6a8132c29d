using System.Text.Json.Serialization.Metadata;
using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary>What the commands about Linux guests share: they find the kernel first.</summary>
internal abstract class LinuxCommand : ToolCommand
{
    private readonly Option<DirectoryInfo?> _profiles = new("--profiles")
    {
        Description = "Folder that remembers what was found, by build id of the kernel",
        HelpName = "folder",
    };

    /// <summary>Adds what all of them take.</summary>
    protected LinuxCommand(string name, string description, params Example[] examples)
        : base(name, description, examples) => Options.Add(_profiles);

    /// <summary>Does the work.</summary>
    /// <returns>One of <see cref="ExitCode"/>.</returns>
    protected abstract Task<int> RunAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation);

    /// <inheritdoc/>
    protected sealed override async Task<int> RunAsync(IntrospectedVm vm, ParseResult parsed, CancellationToken cancellation)
    {
        try
        {
            var options = new LinuxGuestOptions { ProfileDirectory = parsed.GetValue(_profiles)?.FullName };
            LinuxGuest guest = await LinuxGuest.AttachAsync(vm, options, cancellation).ConfigureAwait(false);
            return await RunAsync(guest, parsed, cancellation).ConfigureAwait(false);
        }
        catch (LinuxGuestException failure)
        {
            throw new CliException(failure.Message);
        }
    }

    /// <summary>Finds a process by its number.</summary>
    protected static async Task<LinuxProcess> ProcessAsync(LinuxGuest guest, int pid, CancellationToken cancellation)
    {
        GuestList<LinuxProcess> processes = await guest.ProcessesAsync(cancellation).ConfigureAwait(false);
        return processes.FirstOrDefault(process => process.Pid == pid)
            ?? throw new CliException($"there is no process {pid}; see: hyperscope linux ps");
    }

    /// <summary>Prints a list: as JSON, or as columns of which the last may be of any width.</summary>
    protected int Write<TItem, TRecord>(
        ParseResult parsed, IReadOnlyList<TItem> items, Truncation? truncation, Func<TItem, TRecord> record,
        JsonTypeInfo<LinuxListRecord<TRecord>> type, string headings, Func<TItem, string[]> cells)
    {
        if (IsJson(parsed))
        {
            Console.WriteJson(new LinuxListRecord<TRecord>([.. items.Select(record)], truncation?.ToString()), type);
            return ExitCode.Done;
        }

        WriteTable(items, truncation, headings, cells);
        return ExitCode.Done;
    }

    /// <summary>Prints a list as columns of which the last may be of any width.</summary>
    protected void WriteTable<TItem>(IReadOnlyList<TItem> items, Truncation? truncation, string headings, Func<TItem, string[]> cells)
    {
        var rows = new List<string[]>();
        if (headings.Length != 0)
            rows.Add(headings.Split(' '));
        rows.AddRange(items.Select(cells));
        int[] widths = rows.Count == 0 ? [] : [.. Enumerable.Range(0, rows[0].Length - 1).Select(column => rows.Max(row => row[column].Length))];
        foreach (string[] row in rows)
        {
            for (int column = 0; column < widths.Length; column++)
                Console.Out.Write($"{row[column].PadRight(widths[column])} ");
            Console.Out.WriteLine(row[^1]);
        }

        if (truncation is not null)
            Console.Error.WriteLine($"hyperscope: not all of it: {truncation}");
    }

    /// <summary>An address in hex.</summary>
    protected static string Hex(Gva gva) => $"0x{gva.Value:x}";

    /// <summary>The rights of a mapping, as Linux writes them.</summary>
    protected static string Rights(PageAccess access) =>
        $"{((access & PageAccess.Read) != 0 ? 'r' : '-')}{((access & PageAccess.Write) != 0 ? 'w' : '-')}{((access & PageAccess.Execute) != 0 ? 'x' : '-')}";
}
