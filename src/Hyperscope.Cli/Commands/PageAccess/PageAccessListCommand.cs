using Hyperscope.Cli.Output;

namespace Hyperscope.Cli.Commands;

/// <summary><c>page-access list</c>. Not a tool: a VM has one tool at a time, and that is the command it asks about.</summary>
internal sealed class PageAccessListCommand : CliCommand
{
    private readonly Option<Endpoint> _kvmi = new("--kvmi")
    {
        Description = "The VM's endpoint, as given to the command that holds the rights",
        HelpName = "endpoint",
        Required = true,
        CustomParser = Values.Endpoint,
    };

    private readonly Option<bool> _json = new("--json") { Description = "Print JSON for programs instead of a table" };

    /// <summary>Adds its options.</summary>
    public PageAccessListCommand()
        : base(
            "list",
            "List the pages that a running hyperscope command of this user restricts. The protocol cannot ask a VM for its rights: "
            + "what other tools have set is not shown.",
            new Example("hyperscope page-access list --kvmi unix:/run/vm.sock", "What does the guard in the other terminal hold?"))
    {
        Options.Add(_kvmi);
        Options.Add(_json);
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        Endpoint endpoint = parsed.GetValue(_kvmi)!;
        PageListRecord note = HeldPages.Find(endpoint) ?? new PageListRecord($"{endpoint}", 0, []);
        if (parsed.GetValue(_json))
            Console.WriteJson(note, CliJson.Default.PageListRecord);
        else if (note.ProcessId == 0)
            await Console.Error.WriteLineAsync($"no running command of yours holds pages at {endpoint}").ConfigureAwait(false);
        else
            Console.WriteTable(
                ["page", "rights", "held by"],
                note.Pages.Select(page => (string[])[page.Gpa, page.Access, $"process {note.ProcessId}"]));
        return ExitCode.Done;
    }
}
