namespace Hyperscope.Devices;

/// <summary>Guest time derived from the instructions a single vCPU has retired, so that two runs of one image see the same times.</summary>
/// <remarks>The vCPU's thread owns it: it attaches the counter, fires timers between stretches of execution, and skips idle time. Devices may read
/// and arm from any thread, but only what happens on the vCPU's own thread is the same in each run.</remarks>
public sealed class InstructionClock : GuestClock
{
    /// <summary>Guest time per instruction: 100 million instructions a second.</summary>
    public const long NanosecondsPerInstruction = 10;

    private Func<ulong> _retired = static () => 0;
    private Action _interrupt = static () => { };
    private long _skipped;

    /// <inheritdoc/>
    public override long Now => ((long)_retired() * NanosecondsPerInstruction) + Volatile.Read(ref _skipped);

    /// <summary>Instructions until the earliest timer is due, at least 1; null: no timer is armed.</summary>
    public ulong? InstructionsToDeadline
    {
        get
        {
            if (NextDeadline is not { } deadline)
                return null;
            return (ulong)Math.Max(1, (deadline - Now + NanosecondsPerInstruction - 1) / NanosecondsPerInstruction);
        }
    }

    /// <summary>Says what counts, and how to make the vCPU leave its stretch because a timer became due earlier.</summary>
    public void Attach(Func<ulong> retired, Action interrupt)
    {
        _retired = retired;
        _interrupt = interrupt;
    }

    /// <summary>Runs the callbacks that are due by now.</summary>
    public void FireDue()
    {
        while (EarliestDeadline <= Now)
        {
            Action? callback;
            lock (Gate)
                callback = TakeDue(Now, out _);
            callback?.Invoke();
        }
    }

    /// <summary>Moves time to the earliest deadline; false: there is none.</summary>
    public bool SkipToDeadline()
    {
        if (NextDeadline is not { } deadline)
            return false;
        if (deadline > Now)
            Volatile.Write(ref _skipped, _skipped + deadline - Now);
        return true;
    }

    private protected override void OnEarlierDeadline() => _interrupt();
}
