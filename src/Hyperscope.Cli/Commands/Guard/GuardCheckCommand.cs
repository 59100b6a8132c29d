using Hyperscope.Guard;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>guard check</c>.</summary>
internal sealed class GuardCheckCommand : GuardCommand
{
    /// <summary>Names it.</summary>
    public GuardCheckCommand()
        : base(
            "check",
            "Look once for what the guest hides, and whether the policy fits this guest. Nothing is restricted. Exit status 1 if something is found.",
            new Example("hyperscope guard check --policy policies/kernel.yaml --kvmi unix:/run/vm.sock", "Is there a hidden process or module?"))
    {
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(
        IntrospectedVm vm, LinuxGuest guest, GuardPolicy policy, ParseResult parsed, CancellationToken cancellation)
    {
        GuardSession guard = await GuardSession.CreateAsync(vm, guest, policy.With(Verdict.Log), null, cancellation).ConfigureAwait(false);
        await using (guard)
        {
            GuardPlan plan = await guard.PlanAsync(cancellation).ConfigureAwait(false);
            await Console.Error.WriteLineAsync($"Linux {guest.Release}, policy {policy.Name}: {(plan.Notes.Count == 0 ? "fits" : "does not fit in all")}").ConfigureAwait(false);
            Note(plan.Notes);
            IReadOnlyList<Violation> found = await guard.CheckAsync(cancellation).ConfigureAwait(false);
            foreach (Violation violation in found)
                await Console.Out.WriteLineAsync(IsJson(parsed) ? ViolationJson.ToLine(violation) : $"{violation.Rule}: {violation.What}").ConfigureAwait(false);
            if (found.Count == 0)
                await Console.Error.WriteLineAsync("nothing is hidden").ConfigureAwait(false);
            return found.Count == 0 ? ExitCode.Done : ExitCode.Failed;
        }
    }
}
