namespace Hyperscope.Guard;

/// <summary>Ids and capabilities in <c>struct cred</c>, and the pointers of a task to it. The kernel never changes those of a running process: it
/// makes new ones and puts them in their place (commit_creds). So every write to what a task uses is a violation, and every write to the pointers but
/// by the functions whose business that is.</summary>
internal sealed class CredentialsRule : GuardRule
{
    private const string Fork = "wake_up_new_task";
    private const string End = "exit_creds"; // the task is about to be freed

    private const int Ids = 32, MaxLength = 1024; // bytes: of uid to fsgid; of what is watched in a structure

    private static readonly string[] Writers = ["commit_creds", "override_creds", "revert_creds", "copy_creds", "copy_process", End];

    private readonly Lock _gate = new();
    private readonly Dictionary<ulong, Watched> _watched = []; // by address of struct cred
    private readonly Dictionary<ulong, GuardedRange> _pointers = []; // by address of struct task_struct
    private readonly bool _all;
    private GuardSession _session = null!;
    private BtfStruct _cred = null!;
    private GuardHook _fork = null!;
    private bool _seesForks; // not before there are users: root's children are root
    private int _first, _length, _taskCred, _taskRealCred, _pointersFirst, _pointersLength;

    public CredentialsRule(RuleSettings settings)
        : base(settings) => _all = settings.OneOf("protect", "users", "all") == "all";

    public override async Task PlanAsync(GuardPlan plan, CancellationToken cancellation)
    {
        _session = plan.Session;
        BtfStruct task = plan.Guest.Btf.StructOf("task_struct");
        _cred = plan.Guest.Btf.StructOf("cred");
        _first = _cred.Offset("uid");
        _length = _cred.Offset("cap_ambient") + _cred.Member("cap_ambient").Size - _first;
        _taskCred = task.Offset("cred");
        _taskRealCred = task.Offset("real_cred");
        _pointersFirst = Math.Min(_taskCred, _taskRealCred);
        _pointersLength = Math.Max(_taskCred, _taskRealCred) + sizeof(ulong) - _pointersFirst;
        if (_length is < Ids or > MaxLength || _pointersLength > MaxLength)
        {
            throw new LinuxGuestException(
                $"BTF: ids and capabilities have {_length} bytes, the pointers to them {_pointersLength}; {Ids} to {MaxLength} are believed");
        }

        var ranges = new List<GuardedRange>();
        foreach (LinuxProcess process in await plan.Guest.ProcessesAsync(cancellation).ConfigureAwait(false))
        {
            bool isUser = process.Credentials is not { Uid: 0, EffectiveUid: 0 };
            if ((!_all && !isUser) || process.Cred.Value == 0)
                continue;
            GuestList<LinuxProcess> threads = await plan.Guest.ThreadsAsync(process, cancellation).ConfigureAwait(false);
            foreach (LinuxProcess thread in threads.Prepend(process))
                ranges.AddRange(NewRanges(thread.Cred, thread.Task));
        }

        plan.Add(ranges);

        plan.Hook("commit_creds", new GuardHook(this, OnCommitAsync, call => IsRoot(new Gva(call.Registers.Rdi))));
        _fork = new GuardHook(
            this, OnForkAsync, call => _session.Kernel.ReadPointer(new Gva(call.Registers.Rdi) + (ulong)_taskCred) is { } cred && IsRoot(cred));
        _seesForks = _all || ranges.Count != 0 || !plan.Guest.Symbols.TryAddressOf(Fork, out _);
        if (_seesForks)
            plan.Hook(Fork, _fork);
    }

    public override ValueTask<Judgement> JudgeAsync(GuardEvent access, CancellationToken cancellation)
    {
        ulong task = access.Range!.Gva.Value - (ulong)_pointersFirst;
        bool isPointer;
        lock (_gate)
            isPointer = ReferenceEquals(_pointers.GetValueOrDefault(task), access.Range);
        return isPointer ? JudgePointerAsync(access, task, cancellation) : JudgeContentAsync(access, cancellation);
    }

    public override string? Describe(GuardedRange range, ulong offset)
    {
        if (range.Length == (ulong)_pointersLength)
            return _pointersFirst + (int)(offset & ~7UL) == _taskCred ? "cred of a task" : "real_cred of a task";
        int at = _first + (int)Math.Min(offset, (ulong)_length);
        return _cred.Members.LastOrDefault(member => member.Offset <= at) is { } field ? $"{field.Name} of credentials" : null;
    }

    private async ValueTask<Judgement> JudgePointerAsync(GuardEvent access, ulong task, CancellationToken cancellation)
    {
        string writer = access.Guest.Layout.Text.Contains(new Gva(access.Registers.Rip))
            && access.Guest.Symbols.TryFind(new Gva(access.Registers.Rip), out SymbolOffset found) ? found.Symbol.Name : "";
        if (!Writers.Contains(writer))
            return Violation("the task is given other credentials");
        if (writer != End)
            return Legitimate();

        // The memory will serve something else.
        Gva inUse = await _session.Kernel.ReadPointerAsync(new Gva(task) + (ulong)_taskCred, cancellation).ConfigureAwait(false);
        Gva real = await _session.Kernel.ReadPointerAsync(new Gva(task) + (ulong)_taskRealCred, cancellation).ConfigureAwait(false);
        List<GuardedRange> ended = [access.Range!];
        lock (_gate)
        {
            _pointers.Remove(task);
            foreach (ulong cred in (ulong[])[inUse.Value, real.Value])
            {
                if (!_watched.TryGetValue(cred, out Watched? watched) || !watched.Tasks.Remove(task) || watched.Tasks.Count != 0)
                    continue;
                _watched.Remove(cred);
                ended.Add(watched.Range);
            }
        }

        await _session.ChangeAsync(ended, [], cancellation).ConfigureAwait(false);
        return Legitimate();
    }

    private async ValueTask<Judgement> JudgeContentAsync(GuardEvent access, CancellationToken cancellation)
    {
        ulong cred = access.Range!.Gva.Value - (ulong)_first;
        Watched? watched;
        ulong[] tasks = [];
        lock (_gate)
        {
            if (_watched.TryGetValue(cred, out watched))
                tasks = [.. watched.Tasks];
        }

        foreach (ulong task in tasks)
        {
            Gva inUse = await _session.Kernel.ReadPointerAsync(new Gva(task) + (ulong)_taskCred, cancellation).ConfigureAwait(false);
            Gva real = await _session.Kernel.ReadPointerAsync(new Gva(task) + (ulong)_taskRealCred, cancellation).ConfigureAwait(false);
            if (inUse.Value == cred || real.Value == cred)
                return Violation();
        }

        // All its tasks have others by now, or have ended: these were given back, and the memory serves something else.
        if (watched is null)
            return Legitimate();
        bool isOver;
        lock (_gate)
        {
            watched.Tasks.ExceptWith(tasks);
            isOver = watched.Tasks.Count == 0;
            if (isOver && ReferenceEquals(_watched.GetValueOrDefault(cred), watched))
                _watched.Remove(cred);
        }

        if (!isOver)
            return await JudgeContentAsync(access, cancellation).ConfigureAwait(false); // they have just been given to another
        await _session.ChangeAsync([watched.Range], [], cancellation).ConfigureAwait(false);
        return Legitimate();
    }

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

    private bool IsRoot(Gva cred) => !_all && _session.Kernel.Read(cred + (ulong)_first, Ids) is { } ids && !ids.AsSpan().ContainsAnyExcept((byte)0);

    private async ValueTask<bool> IsWorthItAsync(Gva cred, CancellationToken cancellation)
    {
        if (_all)
            return true;
        byte[] ids = await _session.Kernel.ReadAsync(cred + (ulong)_first, Ids, cancellation).ConfigureAwait(false);
        return ids.AsSpan().ContainsAnyExcept((byte)0);
    }

    private async ValueTask WatchAsync(Gva cred, Gva task, CancellationToken cancellation)
    {
        List<GuardedRange> added = NewRanges(cred, task);
        try
        {
            if (added.Count != 0)
                await _session.ChangeAsync([], added, cancellation).ConfigureAwait(false);
        }
        catch (KvmiException)
        {
            // A guest that makes more of them than the VM has room for does not make us remember them.
            Forget(cred, task, added);
            await _session.ChangeAsync(added, [], cancellation).ConfigureAwait(false);
            throw;
        }

        bool isFirst;
        lock (_gate)
        {
            isFirst = !_seesForks;
            _seesForks = true;
        }

        if (isFirst)
            await _session.HookAsync([(Fork, _fork)], cancellation).ConfigureAwait(false);
    }

    // What is not watched yet; threads share credentials. Both are in the direct map: what is not is nothing that the kernel made.
    private List<GuardedRange> NewRanges(Gva cred, Gva task)
    {
        var added = new List<GuardedRange>();
        lock (_gate)
        {
            if (_watched.TryGetValue(cred.Value, out Watched? shared))
            {
                shared.Tasks.Add(task.Value);
            }
            else if (RangeOf("credentials", cred + (ulong)_first, _length) is { } content)
            {
                _watched[cred.Value] = new Watched(content, [task.Value]);
                added.Add(content);
            }

            if (!_pointers.ContainsKey(task.Value) && RangeOf("credentials", task + (ulong)_pointersFirst, _pointersLength) is { } pointers)
            {
                _pointers[task.Value] = pointers;
                added.Add(pointers);
            }
        }

        return added;
    }

    private void Forget(Gva cred, Gva task, List<GuardedRange> ranges)
    {
        lock (_gate)
        {
            if (_watched.TryGetValue(cred.Value, out Watched? watched) && ranges.Contains(watched.Range))
                _watched.Remove(cred.Value);
            if (_pointers.TryGetValue(task.Value, out GuardedRange? pointers) && ranges.Contains(pointers))
                _pointers.Remove(task.Value);
        }
    }

    private GuardedRange? RangeOf(string label, Gva gva, int length) => _session.Guest.Layout.PhysicalOf(gva) is { } gpa
        ? new GuardedRange(this, label, gva, gpa, (ulong)length, PageAccess.Write, IsWatch: true)
        : null;

    /// <summary>Credentials that are guarded.</summary>
    /// <param name="Range">Their bytes.</param>
    /// <param name="Tasks">The tasks that were given them, by address; under the gate.</param>
    private sealed record Watched(GuardedRange Range, HashSet<ulong> Tasks);
}
