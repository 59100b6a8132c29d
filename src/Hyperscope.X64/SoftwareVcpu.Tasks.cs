using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>Hardware task switches (SDM vol. 3, "Task Management").</summary>
public sealed unsafe partial class SoftwareVcpu
{
    private enum TaskSwitch
    {
        Jump,
        Call,
        Return,
        Gate,
    }

    private bool TrySwitchTask(Op* o, ushort selector, TaskSwitch kind, ulong resumeAt, uint external, out ulong rip)
    {
        _ = (selector, kind, resumeAt, external);
        rip = 0;
        return _c->RaiseUd(o);
    }

    private bool TryReturnToTask(Op* o, out ulong rip)
    {
        rip = 0;
        return _c->RaiseUd(o);
    }

    private bool DeliverToTask(in PendingDelivery pending, ushort selector, uint external)
    {
        _ = pending;
        return StopWith(null, X64.Vector.GeneralProtection, (selector & 0xFFFCu) | external);
    }
}
