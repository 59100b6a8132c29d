using Hyperscope.Vm;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>The view that the processor is in: rights, watches and backing of guest frames.</summary>
/// <remarks>Each of the views used last has translations of its own, so going back and forth costs no flush here, and never one on another
/// processor. Guest page tables are read through the view too.</remarks>
public sealed unsafe partial class SoftwareVcpu
{
    private const int MaxCachedViews = 4;

    private readonly HashSet<View> _visibleViews = [];

    // The one in use is first.
    private ViewCache[] _tlbs;
    private View _view;
    private AccessMap _map;

    private readonly record struct ViewCache(View View, Tlb Tlb);

    /// <inheritdoc/>
    public View View => _view;

    /// <summary>Translations flushed whole since the vCPU was made.</summary>
    internal long Flushes { get; private set; }

    /// <summary>How often it left the fast paths: what is restricted and not touched must not change any of these.</summary>
    internal SlowPaths SlowPaths => new(Flushes, _walks, _lookups, _builds, _alone);

    /// <inheritdoc/>
    public bool TrySwitchView(View view)
    {
        ArgumentNullException.ThrowIfNull(view);
        if (view == _view)
            return true;
        if (!Group.Views.TryMove(_view, view))
            return false;
        _view = view;
        _map = view.AccessMap;
        _tlb = TranslationsOf(view);
        AdvanceEpoch();
        return true;
    }

    /// <inheritdoc/>
    public void ShowView(View view, bool isVisible)
    {
        _visibleViews.RemoveWhere(static one => one.IsDestroyed);
        if (isVisible)
            _visibleViews.Add(view);
        else
            _visibleViews.Remove(view);
    }

    /// <summary>VMFUNC: function 0 switches to the view in ECX, if the guest may.</summary>
    internal bool ExecuteViewFunction(Op* o)
    {
        if ((uint)_c->R[0] != 0 || _c->R[1] >= ViewTable.MaxViews || Group.Views.Find((ushort)_c->R[1]) is not { } view
            || !_visibleViews.Contains(view) || !TrySwitchView(view))
        {
            return _c->RaiseUd(o);
        }

        return true;
    }

    private Tlb TranslationsOf(View view)
    {
        int position = Array.FindIndex(_tlbs, cache => cache.View == view);
        ViewCache found;
        if (position >= 0)
        {
            found = _tlbs[position];
        }
        else if (_tlbs.Length < MaxCachedViews)
        {
            position = _tlbs.Length;
            found = new ViewCache(view, new Tlb());
            _tlbs = [.. _tlbs, found];
        }
        else
        {
            position = MaxCachedViews - 1;
            found = new ViewCache(view, _tlbs[position].Tlb);
            found.Tlb.Flush();
        }

        Array.Copy(_tlbs, 0, _tlbs, 1, position);
        _tlbs[0] = found;
        return found.Tlb;
    }
}
