using Hyperscope.Cli.Running;
using Hyperscope.Guests;

namespace Hyperscope.Cli.Commands;

/// <summary><c>demo</c>.</summary>
internal sealed class DemoCommand : CliCommand
{
    private readonly Option<bool> _small = new("--small") { Description = "A small guest that is bundled, instead of Debian" };

    private readonly Option<bool> _noGuard = new("--no-guard") { Description = "Let the attacks happen, to see them work" };

    private readonly Option<DirectoryInfo> _attacks = new("--attacks")
    {
        Description = "Where eng/build-attacks left the attacks",
        HelpName = "folder",
        DefaultValueFactory = static _ => new DirectoryInfo(AttackLab.HostFolder),
    };

    private readonly Option<FileInfo> _policy = new("--policy")
    {
        Description = "The policy",
        HelpName = "file",
        DefaultValueFactory = static _ => new FileInfo("policies/kernel.yaml"),
    };

    private readonly Option<FileInfo?> _evidence = new("--evidence") { Description = "Write each violation to this file, as a JSON line", HelpName = "file" };

    /// <summary>Adds its options.</summary>
    public DemoCommand()
        : base(
            "demo",
            "Boot Debian, guard its kernel from outside, and attack it from inside: what happened, and what became of it.",
            new("hyperscope demo", "A VM and its guard, in two processes"),
            new("hyperscope demo --no-guard", "The same guest with nobody watching"),
            new("hyperscope demo --small", "A guest of a few pages that attacks itself, in a second"))
    {
        Options.Add(_small);
        Options.Add(_noGuard);
        Options.Add(_attacks);
        Options.Add(_policy);
        Options.Add(_evidence);
    }

    /// <inheritdoc/>
    protected override Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        bool isGuarded = !parsed.GetValue(_noGuard);
        return parsed.GetValue(_small)
            ? new SmallDemo(Console).RunAsync(isGuarded, cancellation)
            : new DebianDemo(Console, parsed.GetValue(_attacks)!, parsed.GetValue(_policy)!, parsed.GetValue(_evidence)).RunAsync(isGuarded, cancellation);
    }
}
