using System.Runtime.CompilerServices;
using Hyperscope.Guard;

namespace Hyperscope.Attacks.Tests;

/// <summary>The guest of the lab under the policy that is shipped. Attached once for all tests of a class.</summary>
public class GuardedGuest(LabGuest lab) : IAsyncDisposable
{
    private readonly List<Violation> _violations = [];
    private ArmedTool? _armed;

    /// <summary>What was reported so far.</summary>
    public Violation[] Violations
    {
        get
        {
            lock (_violations)
                return [.. _violations];
        }
    }

    /// <summary>The shell in the guest.</summary>
    public LabGuest Lab => lab;

    internal static string PolicyPath => Path.GetFullPath(Path.Combine(SourceFolder(), "../../policies/kernel.yaml"));

    /// <summary>Forgets what was reported.</summary>
    public void Forget()
    {
        lock (_violations)
            _violations.Clear();
    }

    /// <summary>Strikes, and looks at both ends: there is no effect, and a rule of one of these kinds has seen it.</summary>
    internal async Task AssertPreventedAsync(LabAttack attack, CancellationToken cancellation)
    {
        await ArmedAsync(cancellation);
        Forget();
        string line = await lab.StrikeAsync(attack);
        Violation[] seen = Violations;
        TestContext.Current.TestOutputHelper?.WriteLine(string.Join('\n', seen.Select(static violation => $"{violation.Rule}: {violation.What}: {violation.Outcome}")));
        Assert.StartsWith(attack.BlockedLine, line, StringComparison.Ordinal);
        Assert.Contains(seen, violation => GuardedTests.Kinds[attack.CaughtBy].Contains(violation.Kind));
    }

    internal async Task<GuardSession> ArmedAsync(CancellationToken cancellation)
    {
        _armed ??= await ArmedTool.ArmAsync(lab, GuardPolicy.Load(PolicyPath), new GuardOptions { Report = Add }, cancellation);
        return _armed.Guard;
    }

    public virtual async ValueTask DisposeAsync()
    {
        if (_armed is not null)
            await _armed.DisposeAsync();
        GC.SuppressFinalize(this);
    }

    private void Add(Violation violation)
    {
        lock (_violations)
            _violations.Add(violation);
    }

    private static string SourceFolder([CallerFilePath] string path = "") => Path.GetDirectoryName(path)!;
}
