using Hyperscope.Client;
using Hyperscope.Guard;
using Hyperscope.GuestLinux;
using Hyperscope.Introspection;

namespace Hyperscope.Attacks.Tests;

/// <summary>What verdicts do to a guest, with one rule each; and what a server without extensions makes of them.</summary>
public sealed class VerdictTests(LabGuest lab)
{
    private readonly List<Violation> _seen = [];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("allow", true, 0)]
    [InlineData("log", true, 1)]
    [InlineData("discard", false, 1)]
    [InlineData("exception", false, 1)]
    public async Task Verdict_holds(string verdict, bool succeeds, int least)
    {
        string line = await StrikeAsync($"rules: [{{kind: kernel-text, verdict: {verdict}}}]", "kernel-text", new GuardOptions());
        LabAttack attack = AttackLab.Find("kernel-text");
        Assert.StartsWith(succeeds ? attack.SuccessLine : attack.BlockedLine, line, StringComparison.Ordinal);
        Assert.True(_seen.Count >= least && (least != 0 || _seen.Count == 0), $"{_seen.Count} violations");
        Assert.All(_seen, violation => Assert.Equal(verdict, violation.Verdict.ToText()));
    }

    [Fact]
    public async Task Paused_vcpu_waits_for_the_inspector_and_memory_can_be_saved_before()
    {
        var order = new List<string>();
        var options = new GuardOptions
        {
            BeforeVerdict = async (vm, violation, cancellation) =>
            {
                byte[] page = await vm.ReadPhysicalAsync(new Hyperscope.Vm.Gpa(Convert.ToUInt64(violation.Gpa, 16)), 8, cancellation);
                order.Add($"saved {Convert.ToHexStringLower(page)}");
            },
            Inspect = (violation, _) =>
            {
                order.Add("inspected");
                return new ValueTask<Verdict>(Verdict.Discard);
            },
        };
        string line = await StrikeAsync("rules: [{kind: kernel-text, verdict: pause}]", "kernel-text", options);
        Assert.StartsWith(AttackLab.Find("kernel-text").BlockedLine, line, StringComparison.Ordinal);
        Assert.Equal([$"saved {_seen[0].Before}", "inspected"], order);
        Assert.Equal(["", "discarded"], _seen.Select(static violation => violation.Outcome));
    }

    [Fact]
    public async Task The_kernels_own_patching_goes_through_and_is_logged_as_such()
    {
        await using Armed armed = await ArmAsync("rules: [{kind: kernel-text, verdict: crash, patching: log}]", new GuardOptions());
        string[] lines = await lab.RunAsync("for i in 1 0; do echo $i >/proc/sys/kernel/sched_schedstats && echo flipped; done");
        Assert.Equal(["flipped", "flipped"], lines);
        Assert.NotEmpty(_seen);
        Assert.All(_seen, static violation => Assert.Equal(("the kernel patches itself", "went through"), (violation.Note, violation.Outcome)));
    }

    [Theory]
    [InlineData("kernel-text")]
    [InlineData("modprobe-path")]
    [InlineData("idt-gate")]
    [InlineData("idt-base")]
    [InlineData("cr0-wp")]
    [InlineData("lstar")]
    public async Task Server_without_extensions_stops_it_too(string name)
    {
        const string Policy = "rules: [{kind: kernel-text}, {kind: idt}, {kind: control-registers}, {kind: entry-points}, "
            + "{kind: bytes, symbol: modprobe_path, length: 256}]";
        string line = await StrikeAsync(Policy, name, new GuardOptions { OnlyV9 = true });
        Assert.StartsWith(AttackLab.Find(name).BlockedLine, line, StringComparison.Ordinal);
        Assert.NotEmpty(_seen);
    }

    private async Task<string> StrikeAsync(string policy, string name, GuardOptions options)
    {
        await using Armed armed = await ArmAsync(policy, options);
        return await lab.StrikeAsync(AttackLab.Find(name));
    }

    private async Task<Armed> ArmAsync(string policy, GuardOptions options)
    {
        (Introspector server, IntrospectedVm tool) = await lab.AttachAsync(Cancel);
        LinuxGuest guest = await LinuxGuest.AttachAsync(tool, cancellation: Cancel);
        GuardSession guard = await GuardSession.CreateAsync(tool, guest, GuardPolicy.Parse(policy), options with { Report = _seen.Add }, Cancel);
        await guard.ArmAsync(Cancel);
        return new Armed(server, tool, guard);
    }

    private sealed record Armed(Introspector Server, IntrospectedVm Tool, GuardSession Guard) : IAsyncDisposable
    {
        public async ValueTask DisposeAsync()
        {
            await Guard.DisposeAsync();
            await Tool.DisposeAsync();
            Server.Dispose();
        }
    }
}
