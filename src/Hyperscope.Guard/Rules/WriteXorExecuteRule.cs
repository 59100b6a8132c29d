using System.Diagnostics.CodeAnalysis;
using System.IO.Enumeration;

namespace Hyperscope.Guard;

/// <summary>What a program has written it does not execute. Pages of memory that belong to no file lose x when the program makes them
/// executable after writing, or when they come where it may execute.</summary>
/// <remarks>Programs are told by the path they are executed by; a relative path counts as one that matches. Processes are told by what they are at
/// arming, and stay guarded whatever they execute. Children are guarded as their parents are.</remarks>
[SuppressMessage("Design", "CA1001", Justification = "a semaphore whose wait handle nobody asks for holds nothing to dispose of")]
internal sealed class WriteXorExecuteRule : GuardRule
{
    private const ulong VmExec = 4;
    private const int MaxPages = 1 << 18, MaxPath = 4096, HugeFrames = 512;
    private const int MaxStructure = 1 << 20, MaxPageStructure = 256; // bytes
    private const ulong MaxFrame = 1UL << 40; // 52 bits of address

    private static readonly string[] FaultHooks = ["lru_cache_add_inactive_or_unevictable", "folio_add_lru_vma"];

    private readonly IReadOnlyList<string> _images, _processes;
    private readonly SemaphoreSlim _gate = new(1);
    private readonly Dictionary<ulong, bool> _spaces = []; // guarded mm_structs; true: so is what their process executes next
    private volatile bool _followsProcesses;
    private readonly Dictionary<ulong, GuardedRange> _pages = []; // by first frame
    private GuardSession _session = null!;
    private BtfStruct _vma = null!, _mm = null!, _page = null!, _task = null!, _program = null!;
    private string? _faultHook;

    public WriteXorExecuteRule(RuleSettings settings)
        : base(settings)
    {
        _images = settings.List("images");
        _processes = settings.List("processes");
        if (_images.Count + _processes.Count == 0)
            throw settings.Wrong("images", "", "a list of paths such as [/tmp/*], or processes: a list of names and pids,");
    }

    // Needed only while a guarded program runs, and none of them is cheap.
    private IReadOnlyList<(string Symbol, GuardHook Hook)> HooksWhileRunning =>
    [
        ("wake_up_new_task", new(this, OnForkAsync)), ("security_file_mprotect", new(this, OnProtectAsync)), ("exit_mmap", new(this, OnExitAsync)),
        .. _faultHook is null ? Array.Empty<(string, GuardHook)>() : [(_faultHook, new(this, OnFaultAsync))],
    ];

    public override Task PlanAsync(GuardPlan plan, CancellationToken cancellation)
    {
        _session = plan.Session;
        Btf btf = plan.Guest.Btf;
        (_vma, _mm, _page) = (btf.StructOf("vm_area_struct"), btf.StructOf("mm_struct"), btf.StructOf("page"));
        (_task, _program) = (btf.StructOf("task_struct"), btf.StructOf("linux_binprm"));
        foreach ((BtfStruct type, string member) in new[]
        {
            (_task, "mm"), (_mm, "pgd"), (_mm, "exe_file"), (_program, "mm"), (_program, "filename"), (_page, "compound_head"), (_page, "mapping"),
        })
        {
            if (type.Offset(member) + sizeof(ulong) > Math.Min(type.Size, MaxStructure))
                throw new LinuxGuestException($"BTF: {member} of struct {type.Name} lies at {type.Offset(member)} of {type.Size} bytes");
        }

        if (_page.Size > MaxPageStructure)
            throw new LinuxGuestException($"BTF: struct page has {_page.Size} bytes, {MaxPageStructure} are the most");
        _faultHook = FaultHooks.FirstOrDefault(name => plan.Guest.Symbols.TryAddressOf(name, out _));
        if (_faultHook is null)
            plan.Note($"rule {Name}: this kernel has no {string.Join(" or ", FaultHooks)}: pages that are writable and executable at once go unnoticed");
        plan.Hook("begin_new_exec", new GuardHook(this, OnExecAsync, IsOtherProgram));
        return Task.CompletedTask;
    }

    // The hooks are on: what a program does while it is looked at is seen as well.
    public override async Task ArmedAsync(GuardPlan plan, CancellationToken cancellation)
    {
        if (!_session.HasExtensions)
            return;
        var missing = new HashSet<string>(_processes);
        foreach (LinuxProcess process in await plan.Guest.ProcessesAsync(cancellation).ConfigureAwait(false))
        {
            if (process.Mm.Value == 0)
                continue;
            string pid = process.Pid.ToString(CultureInfo.InvariantCulture);
            bool isNamed = _processes.Contains(pid) || _processes.Contains(process.Comm);
            missing.Remove(pid);
            missing.Remove(process.Comm);
            try
            {
                if (isNamed || (_images.Count != 0 && await plan.Guest.ProgramAsync(process, cancellation).ConfigureAwait(false) is { } path && IsGuarded(path)))
                    await AddRunningAsync(plan.Guest, process, isNamed, cancellation).ConfigureAwait(false);
            }
            catch (LinuxGuestException gone)
            {
                plan.Note($"rule {Name}: process {pid} ({process.Comm}) is not guarded: {gone.Message}");
            }
        }

        foreach (string name in missing)
            plan.Note($"rule {Name}: there is no process {name}");
    }

    public override async ValueTask<Judgement> JudgeAsync(GuardEvent access, CancellationToken cancellation)
    {
        Gva task = await _session.Kernel.CurrentTaskAsync(access.KernelGs, cancellation).ConfigureAwait(false);
        ulong mm = await _session.Kernel.ReadUInt64Async(task + (ulong)_task.Offset("mm"), cancellation).ConfigureAwait(false);
        bool isOurs = (await PageOfAsync(access.Gpa.Frame.Value, cancellation).ConfigureAwait(false)).IsAnonymous;
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            if (isOurs && _spaces.ContainsKey(mm))
                return Violation("executes what it has written");
            if (_pages.Remove(access.Range!.First.Value, out GuardedRange? stale))
                await _session.ChangeAsync([stale], [], cancellation).ConfigureAwait(false);
            return Legitimate();
        }
        finally
        {
            _gate.Release();
        }
    }

    private bool IsGuarded(string path) => (_images.Count != 0 && !path.StartsWith('/')) || _images.Any(pattern => FileSystemName.MatchesSimpleExpression(pattern, path, ignoreCase: false));

    private bool IsOtherProgram(HookCall call) => !_followsProcesses
        && _session.Kernel.ReadPointer(new Gva(call.Registers.Rdi) + (ulong)_program.Offset("filename")) is { } name
        && _session.Kernel.ReadString(name) is { } path && !IsGuarded(path);

    // The new program's memory is made; it becomes the process's in this function.
    private async ValueTask OnExecAsync(HookCall call, CancellationToken cancellation)
    {
        var program = new Gva(call.Registers.Rdi);
        Gva name = await _session.Kernel.ReadPointerAsync(program + (ulong)_program.Offset("filename"), cancellation).ConfigureAwait(false);
        Gva task = await call.CurrentTaskAsync(cancellation).ConfigureAwait(false);
        ulong before = await _session.Kernel.ReadUInt64Async(task + (ulong)_task.Offset("mm"), cancellation).ConfigureAwait(false);
        bool isFollowed = await FindAsync(before, cancellation).ConfigureAwait(false) == true;
        if (!isFollowed && !IsGuarded(await _session.Kernel.ReadStringAsync(name, MaxPath, cancellation).ConfigureAwait(false)))
            return;
        ulong mm = await _session.Kernel.ReadUInt64Async(program + (ulong)_program.Offset("mm"), cancellation).ConfigureAwait(false);
        await AddAsync(mm, isFollowed, cancellation).ConfigureAwait(false);
    }

    private async Task AddRunningAsync(LinuxGuest guest, LinuxProcess process, bool isFollowed, CancellationToken cancellation)
    {
        await AddAsync(process.Mm.Value, isFollowed, cancellation).ConfigureAwait(false);
        foreach (LinuxMapping mapping in await guest.MapsAsync(process, cancellation).ConfigureAwait(false))
        {
            if ((mapping.Access & PageAccess.Execute) != 0)
                await RestrictWrittenAsync(process.Mm.Value, mapping.Start, mapping.End, cancellation).ConfigureAwait(false);
        }
    }

    private async ValueTask AddAsync(ulong mm, bool isFollowed, CancellationToken cancellation)
    {
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            bool isFirst = _spaces.Count == 0;
            _spaces[mm] = isFollowed;
            _followsProcesses |= isFollowed;
            if (!isFirst)
                return;
            try
            {
                await _session.HookAsync(HooksWhileRunning, cancellation).ConfigureAwait(false);
            }
            catch
            {
                _spaces.Remove(mm); // so that the next one is the first
                throw;
            }
        }
        finally
        {
            _gate.Release();
        }
    }

    private async ValueTask OnForkAsync(HookCall call, CancellationToken cancellation)
    {
        ulong offset = (ulong)_task.Offset("mm");
        Gva parent = await call.CurrentTaskAsync(cancellation).ConfigureAwait(false);
        ulong from = await _session.Kernel.ReadUInt64Async(parent + offset, cancellation).ConfigureAwait(false);
        if (await FindAsync(from, cancellation).ConfigureAwait(false) is not { } isFollowed)
            return;
        ulong mm = await _session.Kernel.ReadUInt64Async(new Gva(call.Registers.Rdi) + offset, cancellation).ConfigureAwait(false);
        await AddAsync(mm, isFollowed, cancellation).ConfigureAwait(false);
    }

    // security_file_mprotect(vma, reqprot, prot): what was written there so far is not to be executed.
    private async ValueTask OnProtectAsync(HookCall call, CancellationToken cancellation)
    {
        if ((call.Registers.Rdx & VmExec) == 0)
            return;
        StructView vma = await _session.Guest.OpenMemory().ReadSliceAsync(
            _vma.Slice("vm_start", "vm_end", "vm_mm"), new Gva(call.Registers.Rdi), cancellation).ConfigureAwait(false);
        ulong mm = vma.Unsigned("vm_mm");
        if (await FindAsync(mm, cancellation).ConfigureAwait(false) is not null)
            await RestrictWrittenAsync(mm, vma.Pointer("vm_start"), vma.Pointer("vm_end"), cancellation).ConfigureAwait(false);
    }

    private async ValueTask RestrictWrittenAsync(ulong mm, Gva start, Gva end, CancellationToken cancellation)
    {
        GuestReader memory = _session.Guest.OpenMemory();
        Gva table = await memory.ReadPointerAsync(new Gva(mm) + (ulong)_mm.Offset("pgd"), cancellation).ConfigureAwait(false);
        if (await memory.TranslateAsync(table, cancellation).ConfigureAwait(false) is not { } root)
            return;
        IReadOnlyList<MappedRange> mapped = await memory.WithRoot(root).MappingsAsync(start, end, MaxPages, cancellation).ConfigureAwait(false);
        foreach (MappedRange range in mapped)
        {
            for (ulong done = 0; done < range.Length;)
                done += await RestrictAsync((range.Gpa + done).Frame.Value, range.Start + done, range.Length - done, cancellation).ConfigureAwait(false);
        }
    }

    // A new page of a mapping, before it is mapped: (page, vma). What the program cannot write itself it may write by /proc/self/mem.
    private async ValueTask OnFaultAsync(HookCall call, CancellationToken cancellation)
    {
        StructView vma = await _session.Guest.OpenMemory().ReadSliceAsync(_vma.Slice("vm_start", "vm_mm", "vm_flags"), new Gva(call.Registers.Rsi), cancellation)
            .ConfigureAwait(false);
        if ((vma.Unsigned("vm_flags") & VmExec) == 0 || await FindAsync(vma.Unsigned("vm_mm"), cancellation).ConfigureAwait(false) is null)
            return;
        ulong frame = (call.Registers.Rdi - _session.Guest.Layout.Vmemmap.Value) / (ulong)_page.Size;
        if (frame >= MaxFrame)
            throw new LinuxGuestException($"struct page at 0x{call.Registers.Rdi:x} is none");
        await RestrictAsync(frame, vma.Pointer("vm_start"), HugeFrames * Gfn.PageSize, cancellation, isNew: true).ConfigureAwait(false);
    }

    private async ValueTask OnExitAsync(HookCall call, CancellationToken cancellation)
    {
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            if (!_spaces.Remove(call.Registers.Rdi))
                return;
            _followsProcesses = _spaces.ContainsValue(true);
            if (_spaces.Count != 0)
                return;
            await _session.ChangeAsync([.. _pages.Values], [], cancellation).ConfigureAwait(false);
            _pages.Clear();
            await _session.UnhookAsync(HooksWhileRunning, cancellation).ConfigureAwait(false);
        }
        finally
        {
            _gate.Release();
        }
    }

    // Null: it is not guarded; true: so is what its process executes next.
    private async ValueTask<bool?> FindAsync(ulong mm, CancellationToken cancellation)
    {
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        bool? found = _spaces.TryGetValue(mm, out bool isFollowed) ? isFollowed : null;
        _gate.Release();
        return found;
    }

    // Of the page that a frame belongs to, what begins there and is mapped: its length, in bytes.
    private async ValueTask<ulong> RestrictAsync(ulong frame, Gva gva, ulong mapped, CancellationToken cancellation, bool isNew = false)
    {
        UserPage page = await PageOfAsync(frame, cancellation).ConfigureAwait(false);
        ulong length = Math.Min(mapped, (page.First + (ulong)page.Frames - frame) * Gfn.PageSize);
        if (!isNew && !page.IsAnonymous)
            return length;
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            if (_pages.GetValueOrDefault(frame) is { } present && present.Length >= length)
                return length;
            if (_pages.Count >= MaxPages)
                throw new LinuxGuestException($"{MaxPages} pages that were written are guarded already; gpa {new Gfn(frame).Address} is not");
            var range = new GuardedRange(this, "written memory", gva, new Gfn(frame).Address, length, PageAccess.Execute, IsWatch: false);
            GuardedRange[] replaced = _pages.Remove(frame, out GuardedRange? smaller) ? [smaller] : [];
            _pages[frame] = range;
            await _session.ChangeAsync(replaced, [range], cancellation).ConfigureAwait(false);
            return length;
        }
        finally
        {
            _gate.Release();
        }
    }

    // A huge page is several struct pages: those behind the first point to it, with bit 0 set. Bit 0 of mapping: it belongs to no file.
    private async ValueTask<UserPage> PageOfAsync(ulong frame, CancellationToken cancellation)
    {
        int size = _page.Size, link = _page.Offset("compound_head"), mapping = _page.Offset("mapping");
        Gva table = _session.Guest.Layout.Vmemmap;
        byte[] two = await _session.Kernel.ReadAsync(table + (frame * (ulong)size), 2 * size, cancellation).ConfigureAwait(false);
        ulong head = BinaryPrimitives.ReadUInt64LittleEndian(two.AsSpan(link)), first = frame;
        if ((head & 1) != 0)
        {
            first = (head - 1 - table.Value) / (ulong)size;
            if (first >= frame || frame - first >= HugeFrames)
                throw new LinuxGuestException($"struct page of frame 0x{frame:x} points to frame 0x{first:x}");
            two = await _session.Kernel.ReadAsync(table + (first * (ulong)size), 2 * size, cancellation).ConfigureAwait(false);
        }

        bool isAnonymous = (BinaryPrimitives.ReadUInt64LittleEndian(two.AsSpan(mapping)) & 3) == 1;
        ulong itself = (table.Value + (first * (ulong)size)) | 1;
        if (BinaryPrimitives.ReadUInt64LittleEndian(two.AsSpan(size + link)) != itself)
            return new UserPage(first, 1, isAnonymous);
        byte[] all = await _session.Kernel.ReadAsync(table + (first * (ulong)size), size * HugeFrames, cancellation).ConfigureAwait(false);
        int frames = 2;
        while (frames < HugeFrames && BinaryPrimitives.ReadUInt64LittleEndian(all.AsSpan((frames * size) + link)) == itself)
            frames++;
        return new UserPage(first, frames, isAnonymous);
    }

    private readonly record struct UserPage(ulong First, int Frames, bool IsAnonymous);
}
