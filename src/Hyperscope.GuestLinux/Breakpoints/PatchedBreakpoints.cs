namespace Hyperscope.GuestLinux;

/// <summary>Breakpoints that are INT3 instructions, for VMs that cannot watch instructions. The guest still does not see them: pages with
/// one can only be executed, and a read or write of such a page finds the original bytes.</summary>
/// <remarks>The instruction under a breakpoint is emulated where <see cref="FirstInstruction"/> can; otherwise, and for reads and writes,
/// the bytes are put back for one step while all other vCPUs stand still.</remarks>
internal sealed class PatchedBreakpoints(LinuxGuest guest, BreakpointHandler handler) : IBreakpoints
{
    private const byte Int3 = 0xcc;

    private readonly IntrospectedVm _vm = guest.Vm;
    private readonly Dictionary<ulong, Patch> _patches = []; // by gva
    private readonly SemaphoreSlim _gate = new(1, 1); // who may change the guest's text, and stop vCPUs
    private readonly List<IDisposable> _registrations = [];
    private readonly HashSet<ushort> _paused = [];
    private TaskCompletionSource _thaw = NewSource();
    private TaskCompletionSource _allPaused = NewSource();
    private volatile Step? _step;
    private volatile bool _isEnding;
    private bool _isArmed, _hasPages;
    private long _gaps;

    public string Mechanism => "patched instructions";

    /// <summary>Times that bytes were put back although another vCPU could run.</summary>
    public long Gaps => Interlocked.Read(ref _gaps);

    public async Task ArmAsync(IReadOnlyCollection<Gva> places, CancellationToken cancellation)
    {
        foreach (Gva place in places)
        {
            Gpa gpa = guest.Layout.PhysicalOf(place) ?? throw new LinuxGuestException($"{place} is not in the kernel's image");
            _patches[place.Value] = new Patch(gpa);
        }

        await guest.Accesses.ForgoAsync(cancellation).ConfigureAwait(false);
        _hasPages = true;
        _thaw.SetResult();
        _registrations.Add(_vm.OnAsync<BreakpointEvent>(HandleAsync));
        _registrations.Add(_vm.OnAsync<PageFaultEvent>(HandleAsync));
        _registrations.Add(_vm.OnAsync<SinglestepEvent>(HandleAsync));
        _registrations.Add(_vm.OnAsync<PauseVcpuEvent>(HandleAsync));
        if (await _vm.CheckEventAsync(EventId.Access, cancellation).ConfigureAwait(false) == KvmError.None)
            await _vm.DisableAsync(EventId.Access, cancellation).ConfigureAwait(false); // or it would come instead of PF
        foreach (EventId kind in new[] { EventId.Breakpoint, EventId.PageFault, EventId.Singlestep })
            await _vm.EnableAsync(kind, cancellation).ConfigureAwait(false);
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        _isArmed = true;
        try
        {
            await FreezeAsync(null).ConfigureAwait(false);
            await _vm.SetPageAccessAsync(Pages(PageAccess.Execute), cancellation).ConfigureAwait(false);
            foreach (Patch patch in _patches.Values)
            {
                await ReadOriginalAsync(patch).ConfigureAwait(false);
                await _vm.WritePhysicalAsync(patch.Gpa, new[] { Int3 }, cancellation).ConfigureAwait(false);
            }
        }
        finally
        {
            Thaw();
            _gate.Release();
        }
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            if (_isArmed)
                await DisarmAsync().ConfigureAwait(false);
        }
        catch (Exception over) when (over is KvmiException or IOException or TimeoutException)
        {
            // The connection is over.
        }

        _registrations.ForEach(static registration => registration.Dispose());
        _registrations.Clear();
        if (_hasPages)
            await guest.Accesses.TakeBackAsync().ConfigureAwait(false);
    }

    private async Task DisarmAsync()
    {
        try
        {
            bool isFrozen;
            await _gate.WaitAsync().ConfigureAwait(false);
            try
            {
                isFrozen = await FreezeAsync(null).ConfigureAwait(false);
                await RestoreAsync().ConfigureAwait(false);
                _isEnding = true;
                await _vm.SetPageAccessAsync(Pages(PageAccess.All)).ConfigureAwait(false);
            }
            finally
            {
                _gate.Release(); // to those who wait in an event: they go on without a step now
            }

            // A vCPU says that it is paused when its last event has been answered: from then on none is at a patch any more.
            if (isFrozen)
                await (await Task.WhenAny(_allPaused.Task, _vm.Completion).ConfigureAwait(false)).ConfigureAwait(false);
        }
        finally
        {
            Thaw();
        }

        foreach (EventId kind in new[] { EventId.Breakpoint, EventId.PageFault, EventId.Singlestep })
            await _vm.DisableAsync(kind).ConfigureAwait(false);
    }

    private static TaskCompletionSource NewSource() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    private IEnumerable<KeyValuePair<Gfn, PageAccess>> Pages(PageAccess access) =>
        _patches.Values.Select(static patch => patch.Gpa.Frame).Distinct().Select(frame => KeyValuePair.Create(frame, access));

    private async ValueTask HandleAsync(VmEvent<BreakpointEvent> hit)
    {
        EventAction answer = EventAction.Continue; // the guest's own
        try
        {
            if (!_patches.TryGetValue(hit.Registers.Rip, out Patch? patch))
                return;
            answer = EventAction.Retry;
            if (_isEnding)
                return;
            await handler(new BreakpointHit(hit.Vcpu, hit.State)).ConfigureAwait(false);
            byte[] original = patch.Original; // replaced as a whole when the guest writes there
            if (original[0] == Int3)
                answer = EventAction.Continue;
            else if (!await TryEmulateAsync(hit, original).ConfigureAwait(false))
                await StepAsync(hit.Vcpu, () => Answers.IfPending(hit.Untyped, EventAction.Retry)).ConfigureAwait(false);
        }
        finally
        {
            if (hit.IsPending)
                Answers.IfPending(hit.Untyped, answer);
        }
    }

    // A stack that is not there is for the guest to find out.
    private static async ValueTask<bool> TryEmulateAsync(VmEvent<BreakpointEvent> hit, byte[] original)
    {
        KvmRegs registers = hit.Registers;
        if (!FirstInstruction.TryEmulate(original, ref registers, out ulong? pushed))
            return false;
        if (pushed is { } value && (registers.Rsp > ulong.MaxValue - sizeof(ulong)
            || await hit.Vcpu.TryWriteVirtualAsync(new Gva(registers.Rsp), BitConverter.GetBytes(value)).ConfigureAwait(false) != sizeof(ulong)))
        {
            return false;
        }

        await hit.Vcpu.SetRegistersAsync(registers).ConfigureAwait(false);
        return true;
    }

    private async ValueTask HandleAsync(VmEvent<PageFaultEvent> fault)
    {
        try
        {
            Gfn frame = fault.Gpa.Frame;
            if (!_isEnding && fault.Access != PageAccess.Execute && _patches.Values.Any(patch => patch.Gpa.Frame == frame))
                await StepAsync(fault.Vcpu, () => Answers.IfPending(fault.Untyped, EventAction.Continue)).ConfigureAwait(false);
        }
        finally
        {
            if (fault.IsPending)
                Answers.IfPending(fault.Untyped, EventAction.Continue);
        }
    }

    private async ValueTask HandleAsync(VmEvent<SinglestepEvent> stepped)
    {
        try
        {
            if (_step is { } step && step.Vcpu == stepped.Vcpu)
            {
                if (stepped.Failed)
                    return; // one more
                await stepped.Vcpu.ControlSinglestepAsync(enable: false).ConfigureAwait(false);
                foreach (Patch patch in _patches.Values)
                {
                    await ReadOriginalAsync(patch).ConfigureAwait(false);
                    await _vm.WritePhysicalAsync(patch.Gpa, new[] { Int3 }).ConfigureAwait(false);
                }

                step.Done.TrySetResult();
            }
        }
        finally
        {
            Answers.IfPending(stepped.Untyped, EventAction.Continue);
        }
    }

    private async ValueTask HandleAsync(VmEvent<PauseVcpuEvent> paused)
    {
        // Asked of it for another's step, while it waited in the event that it steps from now: it is the one that may go on.
        if (_step is { } step && step.Vcpu == paused.Vcpu)
        {
            Answers.IfPending(paused.Untyped, EventAction.Continue);
            return;
        }

        lock (_paused)
        {
            _paused.Add(paused.Vcpu.Index.Value);
            if (_paused.Count == _vm.Vcpus.Count)
                _allPaused.TrySetResult();
        }

        await Task.WhenAny(_thaw.Task, _vm.Completion).ConfigureAwait(false);
        Answers.IfPending(paused.Untyped, EventAction.Continue);
    }

    // The vCPU waits in an event; it executes one instruction of unpatched text, and no other vCPU does.
    private async Task StepAsync(IntrospectedVcpu vcpu, Action letGo)
    {
        await _gate.WaitAsync().ConfigureAwait(false);
        try
        {
            if (_isEnding)
            {
                letGo();
                return;
            }

            if (!await FreezeAsync(vcpu).ConfigureAwait(false))
                Interlocked.Increment(ref _gaps);
            await RestoreAsync().ConfigureAwait(false);
            _step = new Step(vcpu, NewSource());
            await vcpu.ControlSinglestepAsync(enable: true).ConfigureAwait(false);
            letGo();
            await (await Task.WhenAny(_step.Done.Task, _vm.Completion).ConfigureAwait(false)).ConfigureAwait(false);
        }
        finally
        {
            _step = null;
            Thaw();
            _gate.Release();
        }
    }

    private async Task RestoreAsync()
    {
        foreach (Patch patch in _patches.Values.Where(static patch => patch.Original.Length != 0))
            await _vm.WritePhysicalAsync(patch.Gpa, patch.Original.AsMemory(0, 1)).ConfigureAwait(false);
    }

    private async Task ReadOriginalAsync(Patch patch)
    {
        byte[] bytes = new byte[FirstInstruction.MaxLength];
        await _vm.TryReadPhysicalAsync(patch.Gpa, bytes).ConfigureAwait(false);
        patch.Original = bytes;
    }

    // Stops all vCPUs but one, which waits in an event.
    private async Task<bool> FreezeAsync(IntrospectedVcpu? except)
    {
        lock (_paused)
        {
            _paused.Clear();
            _allPaused = NewSource();
            _thaw = NewSource();
        }

        bool isFrozen = true;
        foreach (IntrospectedVcpu vcpu in _vm.Vcpus.Where(vcpu => vcpu != except))
        {
            try
            {
                await vcpu.PauseAsync().ConfigureAwait(false);
            }
            catch (KvmiException)
            {
                isFrozen = false;
            }
        }

        return isFrozen;
    }

    private void Thaw() => _thaw.TrySetResult();

    private sealed class Patch(Gpa gpa)
    {
        public Gpa Gpa => gpa;

        public volatile byte[] Original = [];
    }

    private sealed record Step(IntrospectedVcpu Vcpu, TaskCompletionSource Done);
}
