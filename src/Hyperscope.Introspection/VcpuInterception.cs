namespace Hyperscope.Introspection;

/// <summary>What introspection switched on in a vCPU. Outlives a session, because clean-up may leave it on (kvmi-abi.md 4.9).</summary>
/// <remarks>Everything but <see cref="IsCleanupOwed"/> and <see cref="RequestCleanup"/> belongs to the vCPU's thread.</remarks>
internal sealed class VcpuInterception
{
    private readonly HashSet<uint> _msrs = [];
    private readonly HashSet<View> _shown = [];
    private VcpuIntercepts _own;
    private int _touched;
    private int _cleanup; // 0 nothing owed, 1 forget, 2 restore

    /// <summary>An unhook asked for clean-up and the vCPU has not passed it yet.</summary>
    public bool IsCleanupOwed => Volatile.Read(ref _cleanup) != 0;

    /// <summary>Interceptions that somebody else wants.</summary>
    public VcpuIntercepts Others(IVcpu vcpu) => vcpu.Intercepts & ~_own;

    /// <summary>Makes <paramref name="wanted"/> ours, leaving what others want alone.</summary>
    public void Apply(IVcpu vcpu, VcpuIntercepts wanted)
    {
        VcpuIntercepts others = Others(vcpu);
        _own = wanted & ~others;
        vcpu.Intercepts = others | wanted;
        Volatile.Write(ref _touched, 1);
    }

    /// <summary>Switches the interception of an MSR.</summary>
    public void ApplyMsr(IVcpu vcpu, uint msr, bool enable)
    {
        if (!(enable ? _msrs.Add(msr) : _msrs.Remove(msr)))
            return;
        vcpu.InterceptMsr(msr, enable);
        Volatile.Write(ref _touched, 1);
    }

    /// <summary>Switches single-step.</summary>
    public void ApplySinglestep(IVcpu vcpu, bool enable)
    {
        vcpu.IsSingleStepping = enable;
        Volatile.Write(ref _touched, 1);
    }

    /// <summary>Asks the vCPU to clean up at its next entry; a vCPU where nothing was changed owes nothing.</summary>
    public void RequestCleanup(bool restore)
    {
        if (Volatile.Read(ref _touched) != 0)
            Volatile.Write(ref _cleanup, restore ? 2 : 1);
    }

    /// <summary>Switches the view; false if it was destroyed.</summary>
    public bool TrySwitchView(IVcpu vcpu, View view)
    {
        Volatile.Write(ref _touched, 1);
        return vcpu.TrySwitchView(view);
    }

    /// <summary>Shows a view to the guest, or hides it.</summary>
    public void ShowView(IVcpu vcpu, View view, bool isVisible)
    {
        if (isVisible)
            _shown.Add(view);
        else
            _shown.Remove(view);
        vcpu.ShowView(view, isVisible);
        Volatile.Write(ref _touched, 1);
    }

    /// <summary>Does what is owed; false if nothing was. On the vCPU's thread.</summary>
    public bool CleanUp(IVcpu vcpu, ViewTable views)
    {
        int cleanup = Volatile.Read(ref _cleanup);
        if (cleanup == 0)
            return false;
        vcpu.IsSingleStepping = false;
        foreach (View view in _shown)
            vcpu.ShowView(view, isVisible: false);
        _shown.Clear();
        _ = vcpu.TrySwitchView(views.Main);
        views.DestroyUnused();
        if (cleanup == 2)
        {
            vcpu.Intercepts &= ~_own;
            foreach (uint msr in _msrs)
                vcpu.InterceptMsr(msr, enable: false);
            _own = VcpuIntercepts.None;
            _msrs.Clear();
        }

        Volatile.Write(ref _touched, 0);
        Volatile.Write(ref _cleanup, 0);
        return true;
    }
}
