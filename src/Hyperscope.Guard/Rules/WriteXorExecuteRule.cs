using System.Diagnostics.CodeAnalysis;
using System.IO.Enumeration;

namespace Hyperscope.Guard;

/// <summary>What a program has written it does not execute. Pages of memory that belong to no file lose x when the program makes them
/// executable after writing, or may write and execute them from the start.</summary>
/// <remarks>Programs are told by the path they are executed by; a relative path counts as one that matches. Guarded are those that are executed
/// after arming, and their children. Huge pages are guarded by their first 4 KiB.</remarks>
[SuppressMessage("Design", "CA1001", Justification = "a semaphore whose wait handle nobody asks for holds nothing to dispose of")]
internal sealed class WriteXorExecuteRule : GuardRule
{
    private const ulong VmWrite = 2, VmExec = 4;
    private const int MaxFrames = 1 << 18, MaxPath = 4096;

    private static readonly string[] FaultHooks = ["lru_cache_add_inactive_or_unevictable", "folio_add_lru_vma"];

    private readonly IReadOnlyList<string> _images;
    private readonly SemaphoreSlim _gate = new(1);
    private readonly HashSet<ulong> _spaces = []; // guarded mm_structs
    private readonly Dictionary<ulong, GuardedRange> _frames = [];
    private GuardSession _session = null!;
    private BtfStruct _vma = null!, _mm = null!, _page = null!, _task = null!, _program = null!;
    private string? _faultHook;

    public WriteXorExecuteRule(RuleSettings settings)
        : base(settings)
    {
        _images = settings.List("images");
        if (_images.Count == 0)
            throw settings.Wrong("images", "", "a list of paths such as [/tmp/*]");
    }

    public override Task PlanAsync(GuardPlan plan, CancellationToken cancellation)
    {
        _session = plan.Session;
        Btf btf = plan.Guest.Btf;
        (_vma, _mm, _page) = (btf.StructOf("vm_area_struct"), btf.StructOf("mm_struct"), btf.StructOf("page"));
        (_task, _program) = (btf.StructOf("task_struct"), btf.StructOf("linux_binprm"));
        _faultHook = FaultHooks.FirstOrDefault(name => plan.Guest.Symbols.TryAddressOf(name, out _));
        if (_faultHook is null)
            plan.Note($"rule {Name}: this kernel has no {string.Join(" or ", FaultHooks)}: pages that are writable and executable at once go unnoticed");
        plan.Hook(this, "begin_new_exec", OnExecAsync);
        return Task.CompletedTask;
    }

    public override async ValueTask<Judgement> JudgeAsync(GuardEvent access, CancellationToken cancellation)
    {
        ulong frame = access.Gpa.Frame.Value;
        Gva task = await _session.Kernel.CurrentTaskAsync(access.KernelGs, cancellation).ConfigureAwait(false);
        ulong mm = await _session.Kernel.ReadUInt64Async(task + (ulong)_task.Offset("mm"), cancellation).ConfigureAwait(false);
        bool isOurs = await IsAnonymousAsync(frame, cancellation).ConfigureAwait(false);
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            if (isOurs && _spaces.Contains(mm))
                return Violation("executes what it has written");
            if (_frames.Remove(frame, out GuardedRange? stale))
                await _session.ChangeAsync([stale], [], cancellation).ConfigureAwait(false);
            return Legitimate();
        }
        finally
        {
            _gate.Release();
        }
    }

    private bool IsGuarded(string path) => !path.StartsWith('/') || _images.Any(pattern => FileSystemName.MatchesSimpleExpression(pattern, path, ignoreCase: false));

    // The new program's memory is made; it becomes the process's in this function.
    private async ValueTask OnExecAsync(HookCall call, CancellationToken cancellation)
    {
        var program = new Gva(call.Registers.Rdi);
        Gva name = await _session.Kernel.ReadPointerAsync(program + (ulong)_program.Offset("filename"), cancellation).ConfigureAwait(false);
        if (!IsGuarded(await _session.Kernel.ReadStringAsync(name, MaxPath, cancellation).ConfigureAwait(false)))
            return;
        ulong mm = await _session.Kernel.ReadUInt64Async(program + (ulong)_program.Offset("mm"), cancellation).ConfigureAwait(false);
        await AddAsync(mm, cancellation).ConfigureAwait(false);
    }

    private async ValueTask AddAsync(ulong mm, CancellationToken cancellation)
    {
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            bool isFirst = _spaces.Count == 0;
            _spaces.Add(mm);
            if (!isFirst)
                return;
            await _session.HookAsync("wake_up_new_task", OnForkAsync, cancellation).ConfigureAwait(false);
            await _session.HookAsync("security_file_mprotect", OnProtectAsync, cancellation).ConfigureAwait(false);
            await _session.HookAsync("exit_mmap", OnExitAsync, cancellation).ConfigureAwait(false);
            if (_faultHook is not null)
                await _session.HookAsync(_faultHook, OnFaultAsync, cancellation).ConfigureAwait(false);
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
        if (!await IsGuardedSpaceAsync(from, cancellation).ConfigureAwait(false))
            return;
        ulong mm = await _session.Kernel.ReadUInt64Async(new Gva(call.Registers.Rdi) + offset, cancellation).ConfigureAwait(false);
        await AddAsync(mm, cancellation).ConfigureAwait(false);
    }

    // security_file_mprotect(vma, reqprot, prot): what was written there so far is not to be executed.
    private async ValueTask OnProtectAsync(HookCall call, CancellationToken cancellation)
    {
        if ((call.Registers.Rdx & VmExec) == 0)
            return;
        GuestReader memory = _session.Guest.OpenMemory();
        StructView vma = await memory.ReadSliceAsync(_vma.Slice("vm_start", "vm_end", "vm_mm", "vm_flags"), new Gva(call.Registers.Rdi), cancellation)
            .ConfigureAwait(false);
        ulong mm = vma.Unsigned("vm_mm");
        if (!await IsGuardedSpaceAsync(mm, cancellation).ConfigureAwait(false))
            return;
        Gva table = await memory.ReadPointerAsync(new Gva(mm) + (ulong)_mm.Offset("pgd"), cancellation).ConfigureAwait(false);
        if (await memory.TranslateAsync(table, cancellation).ConfigureAwait(false) is not { } root)
            return;
        IReadOnlyList<MappedRange> mapped = await memory.WithRoot(root).MappingsAsync(
            vma.Pointer("vm_start"), vma.Pointer("vm_end"), 4096, cancellation).ConfigureAwait(false);
        foreach (MappedRange range in mapped)
        {
            for (ulong done = 0; done < range.Length; done += Gfn.PageSize)
                await RestrictAsync((range.Gpa + done).Frame.Value, range.Start + done, cancellation).ConfigureAwait(false);
        }
    }

    // A new page of a mapping, before it is mapped: (page, vma).
    private async ValueTask OnFaultAsync(HookCall call, CancellationToken cancellation)
    {
        StructView vma = await _session.Guest.OpenMemory().ReadSliceAsync(_vma.Slice("vm_start", "vm_mm", "vm_flags"), new Gva(call.Registers.Rsi), cancellation)
            .ConfigureAwait(false);
        const ulong Both = VmWrite | VmExec;
        if ((vma.Unsigned("vm_flags") & Both) != Both || !await IsGuardedSpaceAsync(vma.Unsigned("vm_mm"), cancellation).ConfigureAwait(false))
            return;
        ulong frame = (call.Registers.Rdi - _session.Guest.Layout.Vmemmap.Value) / (ulong)_page.Size;
        await RestrictAsync(frame, vma.Pointer("vm_start"), cancellation, isKnown: true).ConfigureAwait(false);
    }

    private async ValueTask OnExitAsync(HookCall call, CancellationToken cancellation)
    {
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            if (!_spaces.Remove(call.Registers.Rdi) || _spaces.Count != 0)
                return;
            await _session.ChangeAsync([.. _frames.Values], [], cancellation).ConfigureAwait(false);
            _frames.Clear();
            await _session.UnhookAsync("wake_up_new_task", OnForkAsync, cancellation).ConfigureAwait(false);
            await _session.UnhookAsync("security_file_mprotect", OnProtectAsync, cancellation).ConfigureAwait(false);
            await _session.UnhookAsync("exit_mmap", OnExitAsync, cancellation).ConfigureAwait(false);
            if (_faultHook is not null)
                await _session.UnhookAsync(_faultHook, OnFaultAsync, cancellation).ConfigureAwait(false);
        }
        finally
        {
            _gate.Release();
        }
    }

    private async ValueTask<bool> IsGuardedSpaceAsync(ulong mm, CancellationToken cancellation)
    {
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        bool isGuarded = _spaces.Contains(mm);
        _gate.Release();
        return isGuarded;
    }

    private async ValueTask RestrictAsync(ulong frame, Gva gva, CancellationToken cancellation, bool isKnown = false)
    {
        if (!isKnown && !await IsAnonymousAsync(frame, cancellation).ConfigureAwait(false))
            return;
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            if (_frames.Count >= MaxFrames || _frames.ContainsKey(frame))
                return;
            var range = new GuardedRange(this, "written page", gva, new Gfn(frame).Address, Gfn.PageSize, PageAccess.Execute, IsWatch: false);
            _frames[frame] = range;
            await _session.ChangeAsync([], [range], cancellation).ConfigureAwait(false);
        }
        finally
        {
            _gate.Release();
        }
    }

    // Bit 0 of page->mapping: the page belongs to no file.
    private async ValueTask<bool> IsAnonymousAsync(ulong frame, CancellationToken cancellation)
    {
        Gva mapping = _session.Guest.Layout.Vmemmap + (frame * (ulong)_page.Size) + (ulong)_page.Offset("mapping");
        return (await _session.Kernel.ReadUInt64Async(mapping, cancellation).ConfigureAwait(false) & 3) == 1;
    }
}
