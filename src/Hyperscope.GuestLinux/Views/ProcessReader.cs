namespace Hyperscope.GuestLinux;

/// <summary>Reads tasks.</summary>
internal sealed class ProcessReader
{
    private const uint KernelThread = 0x00200000; // PF_KTHREAD
    private const uint ReportedStates = 0x7f, Idle = 0x402, LockWait = 0x1000, Frozen = 0x8000;

    private readonly GuestReader _reader;
    private readonly Walks _walks;
    private readonly KernelSymbols _symbols;
    private readonly BtfSlice _task, _cred, _proxy, _signal, _pid;
    private readonly BtfStruct _taskType;
    private readonly int _common; // ns_common.inum, inside the ns member of every namespace
    private readonly Btf _btf;
    private readonly Dictionary<(ulong Proxy, ulong User), LinuxNamespaces> _namespaces = [];

    public ProcessReader(LinuxGuest guest, GuestReader reader, Walks walks)
    {
        _reader = reader;
        _walks = walks;
        _symbols = guest.Symbols;
        _btf = guest.Btf;
        _taskType = _btf.StructOf("task_struct");
        _task = _taskType.Slice("__state", "flags", "pid", "tgid", "real_parent", "group_leader", "thread_pid", "comm", "cred", "mm", "files", "nsproxy",
            "signal", "exit_state", "start_boottime", "tasks");
        _cred = _btf.StructOf("cred").Slice("uid", "gid", "euid", "egid", "cap_effective", "user_ns");
        _proxy = _btf.StructOf("nsproxy").Slice("mnt_ns", "pid_ns_for_children", "net_ns", "uts_ns", "ipc_ns", "cgroup_ns");
        _signal = _btf.StructOf("signal_struct").Slice("nr_threads", "thread_head");
        BtfStruct pid = _btf.StructOf("pid");
        _pid = new BtfSlice(pid, 0, pid.Offset("numbers"));
        _common = _btf.StructOf("ns_common").Offset("inum");
    }

    /// <summary>All processes, by two ways.</summary>
    public async Task<List<LinuxProcess>> AllAsync(CancellationToken cancellation)
    {
        // The index first: it can be fetched in few round trips, and the list then runs through what is here already.
        HashSet<ulong> indexed = await IndexedLeadersAsync(cancellation).ConfigureAwait(false);
        Gva init = _symbols.AddressOf("init_task");
        int link = _taskType.Offset("tasks");
        List<Gva> listed = await _walks.ListAsync(init + (ulong)link, link, "tasks", cancellation).ConfigureAwait(false);
        var found = new Dictionary<ulong, FoundIn>();
        foreach (Gva task in listed)
            found[task.Value] = FoundIn.List;
        foreach (ulong task in indexed)
            found[task] = found.GetValueOrDefault(task) | FoundIn.Index;
        return await ReadAllAsync([.. found.Select(static pair => (new Gva(pair.Key), pair.Value))], cancellation).ConfigureAwait(false);
    }

    /// <summary>The threads of a process.</summary>
    public async Task<List<LinuxProcess>> ThreadsAsync(Gva task, CancellationToken cancellation)
    {
        StructView view = await _reader.ReadSliceAsync(_task, task, cancellation).ConfigureAwait(false);
        int link = _taskType.Offset("thread_node");
        Gva head = view.Pointer("signal") + (ulong)_signal.Type.Offset("thread_head");
        List<Gva> threads = await _walks.ListAsync(head, link, "threads", cancellation).ConfigureAwait(false);
        return await ReadAllAsync([.. threads.Select(static thread => (thread, FoundIn.Both))], cancellation).ConfigureAwait(false);
    }

    /// <summary>These tasks, with few round trips. Those that are not in memory are left out and noted.</summary>
    public async Task<List<LinuxProcess>> ReadAllAsync(IReadOnlyList<(Gva Task, FoundIn Found)> tasks, CancellationToken cancellation)
    {
        await _reader.PrefetchAsync(tasks.Select(item => (item.Task + (ulong)_task.Offset, _task.Length)), cancellation).ConfigureAwait(false);
        var views = new List<(StructView View, FoundIn Found)>(tasks.Count);
        foreach ((Gva task, FoundIn found) in tasks)
        {
            if (await _walks.TryReadAsync(_task, task, "a task", cancellation).ConfigureAwait(false) is { } view)
                views.Add((view, found));
        }

        await _reader.PrefetchAsync(
            views.SelectMany(item => new[]
            {
                (item.View.Pointer("cred") + (ulong)_cred.Offset, _cred.Length), (item.View.Pointer("nsproxy") + (ulong)_proxy.Offset, _proxy.Length),
                (item.View.Pointer("signal") + (ulong)_signal.Offset, _signal.Length), (item.View.Pointer("real_parent") + (ulong)_task.Offset, _task.Length),
                (item.View.Pointer("thread_pid"), _pid.Type.Size),
            }),
            cancellation).ConfigureAwait(false);
        var processes = new List<LinuxProcess>(views.Count);
        foreach ((StructView view, FoundIn found) in views)
        {
            try
            {
                processes.Add(await DecodeAsync(view, found, cancellation).ConfigureAwait(false));
            }
            catch (GuestAddressException missing)
            {
                _walks.CutOff($"a structure of task {view.Int32("pid")} has no memory", missing.Gva);
            }
        }

        processes.Sort(static (left, right) => left.Pid.CompareTo(right.Pid));
        return processes;
    }

    private static char StateOf(uint state, uint exitState)
    {
        // As the kernel tells it: who waits for a lock, or is frozen, waits.
        if ((state & (LockWait | Frozen)) != 0)
            return 'D';
        if ((state & Idle) == Idle)
            return 'I';
        uint reported = (state | exitState) & ReportedStates;
        return "RSDTtXZP"[32 - System.Numerics.BitOperations.LeadingZeroCount(reported)];
    }

    private async Task<HashSet<ulong>> IndexedLeadersAsync(CancellationToken cancellation)
    {
        var leaders = new HashSet<ulong>();
        BtfStruct space = _btf.StructOf("pid_namespace");
        Gva index = _symbols.AddressOf("init_pid_ns") + (ulong)space.Offset("idr.idr_rt");
        List<(ulong Index, Gva Entry)> pids = await _walks.XArrayAsync(index, "pids", cancellation).ConfigureAwait(false);
        await _reader.PrefetchAsync(pids.Select(item => (item.Entry, _pid.Length)), cancellation).ConfigureAwait(false);

        // The first list of a pid is that of its one thread; its link is the first pid_links of the task.
        int first = _pid.Type.Offset("tasks");
        int link = _taskType.Offset("pid_links");
        var tasks = new List<Gva>();
        foreach ((ulong _, Gva pid) in pids)
        {
            Gva node = await _walks.PointerAsync(pid + (ulong)first, "the index of pids", cancellation).ConfigureAwait(false);
            if (node.Value != 0) // a pid may outlive its process as the number of a group or session
                tasks.Add(new Gva(node.Value - (ulong)link));
        }

        await _reader.PrefetchAsync(tasks.Select(task => (task + (ulong)_task.Offset, _task.Length)), cancellation).ConfigureAwait(false);
        foreach (Gva task in tasks)
        {
            if (await _walks.TryReadAsync(_task, task, "a task", cancellation).ConfigureAwait(false) is { } view)
                leaders.Add(view.Pointer("group_leader").Value);
        }

        return leaders;
    }

    private async ValueTask<LinuxProcess> DecodeAsync(StructView task, FoundIn found, CancellationToken cancellation)
    {
        StructView cred = await _reader.ReadSliceAsync(_cred, task.Pointer("cred"), cancellation).ConfigureAwait(false);
        int threads = 1;
        if (Walks.IsPointer(task.Pointer("signal")))
            threads = (await _reader.ReadSliceAsync(_signal, task.Pointer("signal"), cancellation).ConfigureAwait(false)).Int32("nr_threads");
        int parent = 0;
        if (Walks.IsPointer(task.Pointer("real_parent")))
            parent = (await _reader.ReadSliceAsync(_task, task.Pointer("real_parent"), cancellation).ConfigureAwait(false)).Int32("tgid");
        uint exitState = task.UInt32("exit_state");
        return new LinuxProcess
        {
            Task = task.Address,
            Pid = task.Int32("pid"),
            Tgid = task.Int32("tgid"),
            ParentPid = parent,
            Comm = task.Text("comm"),
            State = StateOf(task.UInt32("__state"), exitState),
            IsKernelThread = (task.UInt32("flags") & KernelThread) != 0,
            Credentials = new LinuxCredentials(
                cred.UInt32("uid"), cred.UInt32("gid"), cred.UInt32("euid"), cred.UInt32("egid"), cred.Unsigned("cap_effective")),
            Cred = cred.Address,
            Mm = task.Pointer("mm"),
            Files = task.Pointer("files"),
            Namespaces = await NamespacesAsync(task, cred.Pointer("user_ns"), cancellation).ConfigureAwait(false),
            Threads = threads,
            StartTime = TimeSpan.FromTicks((long)(task.Unsigned("start_boottime") / 100)),
            Found = found,
        };
    }

    private async ValueTask<LinuxNamespaces> NamespacesAsync(StructView task, Gva user, CancellationToken cancellation)
    {
        Gva address = task.Pointer("nsproxy");
        if (!Walks.IsPointer(address))
            return default; // a zombie has left them
        if (_namespaces.TryGetValue((address.Value, user.Value), out LinuxNamespaces known))
            return known;
        StructView proxy = await _reader.ReadSliceAsync(_proxy, address, cancellation).ConfigureAwait(false);
        var result = new LinuxNamespaces(
            await NumberAsync("mnt_namespace", proxy.Pointer("mnt_ns")).ConfigureAwait(false),
            await NumberAsync("pid_namespace", proxy.Pointer("pid_ns_for_children")).ConfigureAwait(false),
            await NumberAsync("net", proxy.Pointer("net_ns")).ConfigureAwait(false),
            await NumberAsync("uts_namespace", proxy.Pointer("uts_ns")).ConfigureAwait(false),
            await NumberAsync("ipc_namespace", proxy.Pointer("ipc_ns")).ConfigureAwait(false),
            await NumberAsync("user_namespace", user).ConfigureAwait(false),
            proxy.Has("cgroup_ns") ? await NumberAsync("cgroup_namespace", proxy.Pointer("cgroup_ns")).ConfigureAwait(false) : 0);
        _namespaces[(address.Value, user.Value)] = result;
        return result;

        async ValueTask<uint> NumberAsync(string type, Gva space)
        {
            if (!Walks.IsPointer(space) || !_btf.TryStructOf(type, out BtfStruct? known) || !known.TryMember("ns", out BtfMember? common))
                return 0;
            return await _reader.ReadUInt32Async(space + (ulong)(common.Offset + _common), cancellation).ConfigureAwait(false);
        }
    }
}
