namespace Hyperscope.X64;

/// <summary>What other threads ask of this vCPU, and whether it is in guest mode.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    private readonly object _modeGate = new();
    private readonly List<ulong> _framesToDrop = [], _framesToProtect = [];
    private int _inGuest;
    private int _requests;
    private int _parkers;
    private int _departures;
    private int _modeWaiters; // threads in a wait on _modeGate
    private volatile bool _kicked, _stopRequested;
    private volatile bool _waiting;

    /// <summary>Somebody wants the vCPU to look around before it executes anything more.</summary>
    internal bool IsKicked => _kicked;

    internal bool IsInGuestMode => Volatile.Read(ref _inGuest) != 0;

    /// <inheritdoc/>
    public void Kick()
    {
        _kicked = true;
        Interrupt();
    }

    /// <summary>Makes the vCPU look at its interrupt controller soon. Any thread.</summary>
    public void SignalInterrupt() => Interrupt();

    /// <summary>Makes <see cref="Run"/> return soon. Any thread.</summary>
    public void RequestStop()
    {
        _stopRequested = true;
        Interrupt();
    }

    /// <inheritdoc/>
    public void WaitUntilOutsideGuestMode()
    {
        if (Current == this)
            return;
        Interrupt();
        lock (_modeGate)
        {
            AwaitDeparture();
        }
    }

    // The caller holds _modeGate. Attention asked for earlier may have been given, and the vCPU may be back in guest mode, where an
    // accelerator stays for as long as nobody asks.
    private void AwaitDeparture()
    {
        int before = _departures;
        if (_inGuest != 0)
            AskForAttention();
        while (_inGuest != 0 && _departures == before)
            AwaitPulse();
    }

    internal void EnterGuest()
    {
        while (true)
        {
            Volatile.Write(ref _inGuest, 1);
            Interlocked.MemoryBarrier();
            if (Volatile.Read(ref _requests) == 0 && Volatile.Read(ref _parkers) == 0)
                return;
            LeaveGuest();
            lock (_modeGate)
            {
                while (_parkers != 0)
                    AwaitPulse();
            }

            TakeRequests();
        }
    }

    /// <summary>Enters guest mode in the middle of an instruction that left it, and no sooner than it may go on.</summary>
    internal void ReenterGuest()
    {
        while (true)
        {
            // In guest mode first: whoever asks for a pause from here on waits until the instruction is done.
            EnterGuest();
            if (!_kicked || Events is not { } events || !events.IsPauseDue(this))
                return;
            LeaveGuest();
            events.OnPauseDue(this);
        }
    }

    internal void LeaveGuest()
    {
        // Entered rarely compared with blocks executed, so a lock is affordable and makes waiting simple.
        lock (_modeGate)
        {
            _inGuest = 0;
            _departures++;
            if (_modeWaiters != 0)
                Monitor.PulseAll(_modeGate); // a call into the runtime, and this is done for each instruction that an accelerator stops at
        }
    }

    // The caller holds _modeGate.
    private void AwaitPulse()
    {
        _modeWaiters++;
        Monitor.Wait(_modeGate);
        _modeWaiters--;
    }

    internal void Post(VcpuRequests request, ulong frame)
    {
        lock (_modeGate)
        {
            if (request == VcpuRequests.DropCode)
                _framesToDrop.Add(frame);
            else if (request == VcpuRequests.ProtectCode)
                _framesToProtect.Add(frame);
            _requests |= (int)request;
        }

        Interlocked.MemoryBarrier();
        AskForAttention();
    }

    private void AskForAttention()
    {
        Volatile.Write(ref _c->Attention, long.MinValue);
        Accelerator?.Kick();
    }

    /// <summary>Waits until every request posted so far was taken, or the vCPU is outside guest mode (it takes them before it returns).</summary>
    internal void AwaitRequests()
    {
        lock (_modeGate)
        {
            AwaitDeparture();
        }
    }

    internal void Park()
    {
        lock (_modeGate)
            _parkers++;
        Interlocked.MemoryBarrier();
        AskForAttention();
        lock (_modeGate)
        {
            while (_inGuest != 0)
                AwaitPulse();
        }
    }

    internal void Unpark()
    {
        lock (_modeGate)
        {
            _parkers--;
            Monitor.PulseAll(_modeGate);
        }
    }

    private void Interrupt()
    {
        Interlocked.MemoryBarrier();
        AskForAttention();
        if (_waiting)
        {
            lock (_modeGate)
                Monitor.PulseAll(_modeGate);
        }
    }

    /// <summary>Takes posted requests. Own thread, no handler running.</summary>
    private void TakeRequests()
    {
        lock (_modeGate)
        {
            var requests = (VcpuRequests)_requests;
            _requests = 0;
            foreach (ulong gfn in _framesToDrop)
            {
                if (_blocks.DropFrame(gfn))
                    AdvanceEpoch();
            }

            foreach (ulong gfn in _framesToProtect)
            {
                foreach (ViewCache cache in _tlbs)
                    cache.Tlb.ProtectFrame(gfn);
            }

            _framesToDrop.Clear();
            _framesToProtect.Clear();
            if ((requests & VcpuRequests.FlushTranslations) != 0)
                FlushTranslations();
        }
    }

    /// <summary>Sleeps until something may have changed. Own thread, outside guest mode.</summary>
    private void WaitForEvent()
    {
        lock (_modeGate)
        {
            _waiting = true;
            Interlocked.MemoryBarrier();
            while (Volatile.Read(ref _c->Attention) == 0)
                AwaitPulse();
            _waiting = false;
        }
    }
}
