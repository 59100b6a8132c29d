using Hyperscope.Guard;

namespace Hyperscope.Attacks.Tests;

/// <summary>The other half of <see cref="UnguardedTests"/>: the guest is guarded, and no attack has its effect.</summary>
public sealed class GuardedTests(GuardedGuest guarded) : IClassFixture<GuardedGuest>
{
    /// <summary>Which kind of rule of the policy is behind each rule of the list.</summary>
    internal static readonly Dictionary<LabRule, string[]> Kinds = new()
    {
        [LabRule.KernelText] = ["kernel-text"],
        [LabRule.ReadOnlyData] = ["syscall-table", "kernel-rodata"],
        [LabRule.Idt] = ["idt"],
        [LabRule.Gdt] = ["gdt"],
        [LabRule.Credentials] = ["credentials"],
        [LabRule.ModprobePath] = ["bytes"],
        [LabRule.HiddenProcess] = ["hidden-process"],
        [LabRule.HiddenModule] = ["hidden-module"],
        [LabRule.ControlRegisters] = ["control-registers"],
        [LabRule.EntryPoints] = ["entry-points"],
        [LabRule.WriteXorExecute] = ["w-xor-x"],
    };

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public static TheoryData<string> Prevented() => [.. AttackLab.All
        .Where(static attack => attack.CaughtBy != LabRule.HiddenProcess)
        .Select(static attack => attack.Name)];

    [Theory]
    [MemberData(nameof(Prevented))]
    public Task Attack_has_no_effect_and_leaves_evidence(string name) => guarded.AssertPreventedAsync(AttackLab.Find(name), Cancel);

    [Fact]
    public async Task Hidden_process_is_found()
    {
        LabAttack attack = AttackLab.Find("hidden-process");
        GuardSession guard = await guarded.ArmedAsync(Cancel);
        Assert.Empty(await guard.CheckAsync(Cancel));
        guarded.Forget();
        string[] lines = await guarded.Lab.RunAsync(attack.LastingCommandLine);
        Assert.Contains(lines, line => line.StartsWith(attack.SuccessLine, StringComparison.Ordinal));
        Violation found = Assert.Single(await guard.CheckAsync(Cancel));
        Assert.Equal("hidden-process", found.Rule);
        string pid = lines.Single(line => line.StartsWith(attack.SuccessLine, StringComparison.Ordinal)).Split("pid ")[1].Split(' ')[0];
        Assert.Contains($"process {pid} (attack)", found.What, StringComparison.Ordinal);

        // The module holds one hidden process at a time: other tests want to hide theirs.
        await guarded.Lab.RunAsync($"echo -n 'undo hidden-process' >/proc/attack; kill -9 {pid}");
    }

    [Fact]
    public async Task Guest_has_nothing_to_complain_of_under_guard()
    {
        await guarded.ArmedAsync(Cancel);
        guarded.Forget();
        await guarded.Lab.RunAsync("ls -lR /proc/1 >/dev/null 2>&1; for i in 1 2 3 4 5; do sh -c 'echo $i | cat >/tmp/f'; done; rm /tmp/f");
        Assert.Empty(guarded.Violations);
        Assert.Empty(await guarded.Lab.ComplaintsAsync());
    }

    // Processes of a user are what the credentials rule watches: their ids, and the pointers that access() exchanges for a moment.
    [Fact]
    public async Task Honest_user_is_left_alone()
    {
        await guarded.ArmedAsync(Cancel);
        guarded.Forget();
        const string Work = "id -u; for i in 1 2 3; do test -w /tmp/u && echo $i | cat >/tmp/u; done; id -g";
        await guarded.Lab.RunAsync("mkdir -p /etc; echo user:x:1000:1000::/:/bin/sh >/etc/passwd; cp /bin/busybox /busybox; touch /tmp/u; chmod 666 /tmp/u");
        string[] lines = await guarded.Lab.RunAsync(
            $"start-stop-daemon -S -q -c 1000:1000 -x /busybox -- sh -c '{Work}'; cat /tmp/u; rm /etc/passwd /busybox /tmp/u");
        Assert.Equal(["1000", "1000", "3"], lines);
        Assert.Empty(guarded.Violations);
    }
}
