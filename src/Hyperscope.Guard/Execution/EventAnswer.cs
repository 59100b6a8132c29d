namespace Hyperscope.Guard;

/// <summary>The answers that an event accepts, whatever its kind.</summary>
/// <param name="e">The event.</param>
internal abstract class EventAnswer(VmEvent e)
{
    /// <summary>The guest's instruction is carried out.</summary>
    public void Continue() => e.Continue();

    /// <summary>The VM ends.</summary>
    public void Crash() => e.Crash();

    /// <summary>The guest goes on at rip, with the registers that were set.</summary>
    /// <returns>False if this kind of event has no such answer.</returns>
    public virtual bool TryRetry()
    {
        e.Answer(EventAction.Retry);
        return true;
    }

    /// <summary>The instruction retires without its effect.</summary>
    /// <returns>False if this kind of event has no such answer.</returns>
    public virtual bool TryDiscard() => false;
}

internal sealed class AccessAnswer(VmEvent<AccessEvent> e) : EventAnswer(e.Untyped)
{
    public override bool TryDiscard()
    {
        if (e.Access != PageAccess.Write)
            return false;
        e.Discard();
        return true;
    }
}

/// <summary>Of a page or a descriptor table, which can be tried again.</summary>
internal sealed class RetryAnswer(VmEvent e) : EventAnswer(e);

/// <summary>Of a register, behind its instruction: nothing can be tried again.</summary>
internal sealed class RegisterAnswer(VmEvent e, Action block) : EventAnswer(e)
{
    public override bool TryRetry() => false;

    public override bool TryDiscard()
    {
        block();
        return true;
    }
}
