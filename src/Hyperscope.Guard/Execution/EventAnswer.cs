namespace Hyperscope.Guard;

/// <summary>The answers that an event accepts, whatever its kind.</summary>
internal abstract class EventAnswer
{
    /// <summary>The guest's instruction is carried out.</summary>
    public abstract void Continue();

    /// <summary>The VM ends.</summary>
    public abstract void Crash();

    /// <summary>The guest goes on at rip, with the registers that were set.</summary>
    /// <returns>False if this kind of event has no such answer.</returns>
    public virtual bool TryRetry() => false;

    /// <summary>The instruction retires without its effect.</summary>
    /// <returns>False if this kind of event has no such answer.</returns>
    public virtual bool TryDiscard() => false;
}

internal sealed class AccessAnswer(VmEvent<AccessEvent> e) : EventAnswer
{
    public override void Continue() => e.Continue();

    public override void Crash() => e.Crash();

    public override bool TryRetry()
    {
        e.Retry();
        return true;
    }

    public override bool TryDiscard()
    {
        if (e.Access != PageAccess.Write)
            return false;
        e.Discard();
        return true;
    }
}

internal sealed class PageFaultAnswer(VmEvent<PageFaultEvent> e) : EventAnswer
{
    public override void Continue() => e.Continue();

    public override void Crash() => e.Crash();

    public override bool TryRetry()
    {
        e.Retry();
        return true;
    }
}

internal sealed class ControlAnswer(VmEvent<CrEvent> e) : EventAnswer
{
    public override void Continue() => e.Continue();

    public override void Crash() => e.Crash();

    public override bool TryDiscard()
    {
        e.Block();
        return true;
    }
}

internal sealed class MsrAnswer(VmEvent<MsrEvent> e) : EventAnswer
{
    public override void Continue() => e.Continue();

    public override void Crash() => e.Crash();

    public override bool TryDiscard()
    {
        e.Block();
        return true;
    }
}

internal sealed class TableAnswer(VmEvent<DescriptorEvent> e) : EventAnswer
{
    public override void Continue() => e.Continue();

    public override void Crash() => e.Crash();

    public override bool TryRetry()
    {
        e.Retry();
        return true;
    }
}
