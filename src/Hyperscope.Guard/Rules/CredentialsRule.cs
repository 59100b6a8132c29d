namespace Hyperscope.Guard;

/// <summary>Ids and capabilities in <c>struct cred</c>. The kernel never changes those of a running process: it makes new ones and puts them in
/// their place (commit_creds), so every write to what a task uses is a violation.</summary>
internal sealed class CredentialsRule : GuardRule
{
    private readonly Lock _gate = new();
    private readonly Dictionary<ulong, Watched> _watched = []; // by address of struct cred
    private readonly bool _all;
    private GuardSession _session = null!;
    private int _first, _length, _taskCred, _taskRealCred;

    public CredentialsRule(RuleSettings settings)
        : base(settings) => _all = settings.OneOf("protect", "users", "all") == "all";

    public override async Task PlanAsync(GuardPlan plan, CancellationToken cancellation)
    {
        _session = plan.Session;
        BtfStruct cred = plan.Guest.Btf.StructOf("cred"), task = plan.Guest.Btf.StructOf("task_struct");
        _first = cred.Offset("uid");
        _length = cred.Offset("cap_ambient") + cred.Member("cap_ambient").Size - _first;
        _taskCred = task.Offset("cred");
        _taskRealCred = task.Offset("real_cred");
        foreach (LinuxProcess process in await plan.Guest.ProcessesAsync(cancellation).ConfigureAwait(false))
        {
            bool isUser = process.Credentials is not { Uid: 0, EffectiveUid: 0 };
            if ((_all || isUser) && process.Cred.Value != 0 && !_watched.ContainsKey(process.Cred.Value))
            {
                KernelRange range = RangeOf(process.Cred);
                int before = plan.Ranges.Count;
                await plan.WatchAsync(this, "credentials", range, PageAccess.Write, cancellation).ConfigureAwait(false);
                if (plan.Ranges.Count > before)
                    _watched[process.Cred.Value] = new Watched(plan.Ranges[^1], process.Task);
            }
        }

        plan.Hook(this, "commit_creds", OnCommitAsync);
        plan.Hook(this, "wake_up_new_task", OnForkAsync);
    }

    public override async ValueTask<Judgement> JudgeAsync(GuardEvent access, CancellationToken cancellation)
    {
        ulong cred = access.Range!.Gva.Value - (ulong)_first;
        Watched? watched;
        lock (_gate)
            watched = _watched.GetValueOrDefault(cred);
        if (watched is null)
            return Legitimate();
        Gva inUse = await _session.Kernel.ReadPointerAsync(watched.Task + (ulong)_taskCred, cancellation).ConfigureAwait(false);
        Gva real = await _session.Kernel.ReadPointerAsync(watched.Task + (ulong)_taskRealCred, cancellation).ConfigureAwait(false);
        if (inUse.Value == cred || real.Value == cred)
            return Violation();

        // The task has others by now, or has ended: these were given back, and the memory serves something else.
        lock (_gate)
            _watched.Remove(cred);
        await _session.ChangeAsync([watched.Range], [], cancellation).ConfigureAwait(false);
        return Legitimate();
    }

    private KernelRange RangeOf(Gva cred) => new(cred + (ulong)_first, cred + (ulong)(_first + _length));

    private async ValueTask OnCommitAsync(HookCall call, CancellationToken cancellation)
    {
        var cred = new Gva(call.Registers.Rdi);
        if (await IsWorthItAsync(cred, cancellation).ConfigureAwait(false))
            await WatchAsync(cred, await call.CurrentTaskAsync(cancellation).ConfigureAwait(false), cancellation).ConfigureAwait(false);
    }

    private async ValueTask OnForkAsync(HookCall call, CancellationToken cancellation)
    {
        var task = new Gva(call.Registers.Rdi);
        Gva cred = await _session.Kernel.ReadPointerAsync(task + (ulong)_taskCred, cancellation).ConfigureAwait(false);
        if (await IsWorthItAsync(cred, cancellation).ConfigureAwait(false))
            await WatchAsync(cred, task, cancellation).ConfigureAwait(false);
    }

    private async ValueTask<bool> IsWorthItAsync(Gva cred, CancellationToken cancellation)
    {
        if (_all)
            return true;
        byte[] ids = await _session.Kernel.ReadAsync(cred + (ulong)_first, 32, cancellation).ConfigureAwait(false);
        return ids.AsSpan().ContainsAnyExcept((byte)0);
    }

    private async ValueTask WatchAsync(Gva cred, Gva task, CancellationToken cancellation)
    {
        if (_session.Guest.Layout.PhysicalOf(cred) is not { } start)
            return;
        var range = new GuardedRange(this, "credentials", RangeOf(cred).Start, start + (ulong)_first, (ulong)_length, PageAccess.Write, IsWatch: true);
        Watched? old;
        lock (_gate)
        {
            old = _watched.GetValueOrDefault(cred.Value);
            _watched[cred.Value] = new Watched(range, task);
        }

        await _session.ChangeAsync(old is null ? [] : [old.Range], [range], cancellation).ConfigureAwait(false);
    }

    private sealed record Watched(GuardedRange Range, Gva Task);
}
