using System.Text;
using Spectre.Console;

namespace Hyperscope.Cli;

/// <summary>Where a command writes: data to <see cref="Out"/>, talk to <see cref="Error"/>.</summary>
internal sealed class CliConsole
{
    /// <summary>Columns assumed when nobody looks at a terminal.</summary>
    public const int DefaultWidth = 80;

    private readonly IAnsiConsole _tables;

    /// <summary>Writes to the given writers, without colour.</summary>
    public CliConsole(TextWriter output, TextWriter error, Stream binary)
        : this(output, error, binary, isTerminal: false)
    {
    }

    private CliConsole(TextWriter output, TextWriter error, Stream binary, bool isTerminal)
    {
        Out = output;
        Error = error;
        Binary = binary;
        _tables = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = isTerminal ? AnsiSupport.Detect : AnsiSupport.No,
            ColorSystem = isTerminal ? ColorSystemSupport.Detect : ColorSystemSupport.NoColors,
            Interactive = isTerminal ? InteractionSupport.Yes : InteractionSupport.No, // what is shown while something is done
            Out = new AnsiConsoleOutput(output),
        });
        if (!isTerminal)
            _tables.Profile.Width = DefaultWidth;
    }

    /// <summary>Data.</summary>
    public TextWriter Out { get; }

    /// <summary>Talk.</summary>
    public TextWriter Error { get; }

    /// <summary>Data that is no text.</summary>
    public Stream Binary { get; }

    /// <summary>The console of this process; no colour when it is piped.</summary>
    public static CliConsole OfProcess()
    {
        Console.OutputEncoding = Encoding.UTF8;
        return new CliConsole(Console.Out, Console.Error, Console.OpenStandardOutput(), isTerminal: !Console.IsOutputRedirected);
    }

    /// <summary>Shows what is being done while it is done, on a terminal; elsewhere nothing is shown.</summary>
    public async Task<T> WithStatusAsync<T>(string first, Func<Action<string>, Task<T>> work)
    {
        if (!_tables.Profile.Capabilities.Ansi || !_tables.Profile.Capabilities.Interactive)
            return await work(static _ => { }).ConfigureAwait(false);
        return await _tables.Status().StartAsync(Fit(first), context => work(text => context.Status(Fit(text)))).ConfigureAwait(false);
    }

    /// <summary>Writes a line that stays, above what <see cref="WithStatusAsync"/> shows.</summary>
    /// <remarks>Long ones are broken here: what a terminal breaks leaves rests of the status behind.</remarks>
    public void WriteLine(string line)
    {
        int width = _tables.Profile.Width - 1;
        while (line.Length > width)
        {
            int at = line.LastIndexOf(' ', width);
            if (at <= 0)
                break;
            _tables.WriteLine(line[..at]);
            line = line[(at + 1)..];
        }

        _tables.WriteLine(line);
    }

    private string Fit(string text)
    {
        int width = Math.Max(_tables.Profile.Width - 4, 20);
        string plain = new([.. text.Where(static character => !char.IsControl(character))]);
        return Markup.Escape(plain.Length > width ? plain[..width] : plain);
    }

    /// <summary>Writes rows under headings.</summary>
    public void WriteTable(IReadOnlyList<string> headings, IEnumerable<IReadOnlyList<string>> rows)
    {
        var table = new Table { Border = TableBorder.Simple, ShowHeaders = headings.Any(static heading => heading.Length > 0) };
        foreach (string heading in headings)
            table.AddColumn(new TableColumn(new Text(heading)).NoWrap());
        foreach (IReadOnlyList<string> row in rows)
            table.AddRow(row.Select(static cell => new Text(cell)));
        _tables.Write(table);
    }
}
