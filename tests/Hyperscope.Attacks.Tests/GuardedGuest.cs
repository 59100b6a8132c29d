using System.Runtime.CompilerServices;
using Hyperscope.Client;
using Hyperscope.Guard;
using Hyperscope.GuestLinux;
using Hyperscope.Introspection;

namespace Hyperscope.Attacks.Tests;

/// <summary>The guest of the lab under the policy that is shipped. Attached once for all tests of a class.</summary>
public sealed class GuardedGuest(LabGuest lab) : IAsyncDisposable
{
    private readonly List<Violation> _violations = [];
    private Introspector? _server;
    private IntrospectedVm? _tool;
    private GuardSession? _guard;

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

    internal async Task<GuardSession> ArmedAsync(CancellationToken cancellation)
    {
        if (_guard is not null)
            return _guard;
        (_server, _tool) = await lab.AttachAsync(cancellation);
        LinuxGuest guest = await LinuxGuest.AttachAsync(_tool, cancellation: cancellation);
        _guard = await GuardSession.CreateAsync(_tool, guest, GuardPolicy.Load(PolicyPath), new GuardOptions { Report = Add }, cancellation);
        await _guard.ArmAsync(cancellation);
        return _guard;
    }

    public async ValueTask DisposeAsync()
    {
        if (_guard is not null)
            await _guard.DisposeAsync();
        if (_tool is not null)
            await _tool.DisposeAsync();
        _server?.Dispose();
    }

    private void Add(Violation violation)
    {
        lock (_violations)
            _violations.Add(violation);
    }

    private static string SourceFolder([CallerFilePath] string path = "") => Path.GetDirectoryName(path)!;
}
