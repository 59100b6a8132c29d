using Hyperscope.Vm;
using static Hyperscope.Devices.ApicRegister;

namespace Hyperscope.Devices;

/// <summary>The local APIC of one vCPU: xAPIC (4096 bytes of MMIO) and x2APIC (MSRs), with its timer.</summary>
/// <remarks>
/// <para>Deviations: no SMI; LINT pins in Fixed mode are edge-triggered; a delivery never stays "send pending"; the APIC page follows
/// IA32_APIC_BASE only to addresses without memory. Local vector 0 of the bootstrap processor starts as unmasked ExtINT, as firmware
/// leaves it, so that the 8259 reaches a kernel that never touches its APIC.</para>
/// <para>Threads: any. Lock order: devices, 8259 or IOAPIC, then this, then the clock. Nothing but the clock and
/// <see cref="ITimeStampCounter"/> is called with the lock held: messages, EOI broadcasts and <see cref="IVcpuSignals"/> go out after
/// it was released, so no thread ever holds two local APICs' locks.</para>
/// <para>Source: SDM vol. 3, "Advanced Programmable Interrupt Controller (APIC)".</para>
/// </remarks>
public sealed partial class LocalApic : IMmioDevice, IDisposable
{
    /// <summary>Bytes of the register page.</summary>
    public const int MmioBytes = 4096;

    private readonly Lock _gate = new();
    private readonly IApicBus _bus;
    private readonly IVcpuSignals _signals;
    private readonly uint _apicId;
    private readonly bool _isBootstrap;

    private VectorSet _requests;
    private VectorSet _inService;
    private VectorSet _levelTriggered;
    private ulong _base;
    private uint _xapicId;
    private uint _taskPriority;
    private uint _logicalDestination;
    private uint _destinationFormat;
    private uint _spurious;
    private uint _errorStatus;
    private uint _pendingErrors;
    private ulong _command;
    private readonly uint[] _localVectors = new uint[Error - LocalTimer + 1];
    private bool _lint0;
    private bool _waitingForStartup;

    // Read without the lock.
    private bool _hasPending;
    private bool _acceptsPic;
    private int _nmi;
    private int _extInt;

    // Decided under the lock, acted on after it: see Leave().
    private bool _wake;

    /// <summary>An APIC as after power-up.</summary>
    /// <param name="apicId">Its id; at most 254 for xAPIC guests.</param>
    /// <param name="isBootstrap">This vCPU starts first; others wait for INIT and SIPI.</param>
    /// <param name="clock">Guest time; the timer's input clock is 1 GHz.</param>
    /// <param name="tsc">For the TSC-deadline timer.</param>
    /// <param name="signals">The vCPU.</param>
    /// <param name="bus">Carries what this APIC sends. Attaching is the caller's business.</param>
    public LocalApic(uint apicId, bool isBootstrap, IGuestClock clock, ITimeStampCounter tsc, IVcpuSignals signals, IApicBus bus)
    {
        _apicId = apicId;
        _isBootstrap = isBootstrap;
        _bus = bus;
        _signals = signals;
        _clock = clock;
        _tsc = tsc;
        _timer = clock.CreateTimer(OnTimer);
        PowerUp();
    }

    /// <summary>The id it was given.</summary>
    public uint ApicId => _apicId;

    /// <summary>A fixed or lowest-priority interrupt is deliverable. Cheap.</summary>
    public bool HasPending => Volatile.Read(ref _hasPending);

    /// <summary>The 8259's output reaches the vCPU: the APIC is off, or LINT0 is unmasked ExtINT. Cheap.</summary>
    public bool AcceptsPic => Volatile.Read(ref _acceptsPic);

    /// <summary>An ExtINT message waits for <see cref="TryTakeExtInt"/>. Cheap.</summary>
    public bool HasExtInt => Volatile.Read(ref _extInt) != 0;

    /// <summary>Where the register page is, if the guest sees one: enabled and not in x2APIC mode. Any thread.</summary>
    public bool TryGetMmioBase(out Gpa address)
    {
        ulong value = Volatile.Read(ref _base);
        address = new Gpa(value & BaseAddress);
        return (value & (BaseEnabled | BaseX2)) == BaseEnabled;
    }

    /// <summary>True if fixed interrupts are accepted.</summary>
    public bool IsSoftwareEnabled
    {
        get
        {
            lock (_gate)
                return IsEnabled && (_spurious & SoftwareEnabled) != 0;
        }
    }

    /// <summary>The processor priority, 0 to 255.</summary>
    public int CurrentPriority
    {
        get
        {
            lock (_gate)
                return ComputeProcessorPriority();
        }
    }

    /// <summary>Bits 7:4 of the task priority, as CR8.</summary>
    public byte Cr8
    {
        get
        {
            lock (_gate)
                return (byte)(_taskPriority >> 4);
        }

        set
        {
            lock (_gate)
            {
                _taskPriority = (uint)(value & 15) << 4;
                Update();
            }

            Leave();
        }
    }

    /// <summary>Drives LINT0, which on a PC is the 8259's output.</summary>
    public void SetLint0(bool asserted)
    {
        lock (_gate)
        {
            bool rises = asserted && !_lint0;
            _lint0 = asserted;
            if (rises && IsEnabled)
                DeliverLocal(Lint0);
            _wake |= asserted && _acceptsPic;
        }

        Leave();
    }

    /// <summary>Pulses LINT1, which on a PC is the NMI input.</summary>
    public void PulseLint1()
    {
        lock (_gate)
        {
            if (IsEnabled)
                DeliverLocal(Lint1);
            else
                LatchNmi();
        }

        Leave();
    }

    /// <summary>Acknowledges the highest deliverable interrupt: it moves from IRR to ISR.</summary>
    public bool TryAcknowledge(out byte vector)
    {
        bool acknowledged;
        lock (_gate)
        {
            vector = 0;
            acknowledged = _hasPending;
            if (acknowledged)
            {
                vector = (byte)_requests.Highest;
                _requests.Remove(vector);
                _inService.Add(vector);
                Update();
                _wake |= _hasPending;
            }
        }

        Leave();
        return acknowledged;
    }

    /// <summary>Takes a latched NMI.</summary>
    public bool TryTakeNmi() => Volatile.Read(ref _nmi) != 0 && Interlocked.Exchange(ref _nmi, 0) != 0;

    /// <summary>Takes an ExtINT message; the vector comes from the 8259.</summary>
    public bool TryTakeExtInt() => Volatile.Read(ref _extInt) != 0 && Interlocked.Exchange(ref _extInt, 0) != 0;

    /// <inheritdoc/>
    public void Dispose() => _timer.Dispose();

    /// <summary>True if this APIC matches a message's destination field. The caller holds no local APIC's lock.</summary>
    internal bool IsAddressedBy(in ApicMessage message)
    {
        lock (_gate)
        {
            if (!IsEnabled)
                return !message.IsLogical && message.Destination == _apicId && message.Mode is DeliveryMode.Init or DeliveryMode.Startup;
            uint destination = message.Destination;
            if (IsX2)
            {
                return message.IsLogical
                    ? destination >> 16 == X2LogicalId >> 16 && (destination & X2LogicalId & 0xffff) != 0
                    : destination == _apicId;
            }

            uint own = _logicalDestination >> 24;
            if (!message.IsLogical)
                return destination == _xapicId;
            if (_destinationFormat >> 28 == 0xf)
                return (destination & own) != 0 && destination <= 0xff;
            return destination <= 0xff && destination >> 4 == own >> 4 && (destination & own & 15) != 0;
        }
    }

    /// <summary>Takes a message. The caller holds no local APIC's lock.</summary>
    internal void Accept(in ApicMessage message)
    {
        bool init = false;
        bool startup = false;
        lock (_gate)
        {
            switch (message.Mode)
            {
                case DeliveryMode.Fixed:
                case DeliveryMode.LowestPriority:
                    AcceptFixed(message.Vector, message.IsLevel);
                    break;
                case DeliveryMode.Nmi:
                    LatchNmi();
                    break;
                case DeliveryMode.ExtInt:
                    Volatile.Write(ref _extInt, 1);
                    _wake = true;
                    break;
                case DeliveryMode.Init:
                    init = true;
                    ResetKeepingBase();
                    _waitingForStartup = !_isBootstrap;
                    break;
                case DeliveryMode.Startup:
                    startup = _waitingForStartup;
                    _waitingForStartup = false;
                    break;
            }
        }

        if (init)
            _signals.Init();
        if (startup)
            _signals.Startup(message.Vector);
        Leave();
    }

    private bool IsEnabled => (_base & BaseEnabled) != 0;

    private bool IsX2 => (_base & BaseX2) != 0;

    private uint X2LogicalId => ((_apicId >> 4) << 16) | (1u << (int)(_apicId & 15));

    private void PowerUp()
    {
        Volatile.Write(ref _base, BaseDefault | BaseEnabled | (_isBootstrap ? BaseBootstrap : 0));
        _waitingForStartup = !_isBootstrap;
        ResetKeepingBase();
    }

    private void ResetKeepingBase()
    {
        _requests = default;
        _inService = default;
        _levelTriggered = default;
        _xapicId = _apicId & 0xff;
        _taskPriority = 0;
        _logicalDestination = 0;
        _destinationFormat = uint.MaxValue;
        _spurious = 0xff;
        _errorStatus = 0;
        _pendingErrors = 0;
        _command = 0;
        Array.Fill(_localVectors, Masked);
        if (_isBootstrap)
            LocalVector(Lint0) = (uint)DeliveryMode.ExtInt << 8;
        ResetTimer();
        Update();
    }

    private ref uint LocalVector(int register) => ref _localVectors[register - LocalTimer];

    private void AcceptFixed(byte vector, bool isLevel)
    {
        if (!IsEnabled || (_spurious & SoftwareEnabled) == 0)
            return;
        if (vector < 16)
        {
            RaiseError(ErrorReceiveIllegalVector);
            return;
        }

        _requests.Add(vector);
        if (isLevel)
            _levelTriggered.Add(vector);
        else
            _levelTriggered.Remove(vector);
        Update();
    }

    private void DeliverLocal(int register)
    {
        uint entry = LocalVector(register);
        if ((entry & Masked) != 0)
            return;
        switch ((DeliveryMode)((entry & ModeMask) >> 8))
        {
            case DeliveryMode.Fixed:
                AcceptFixed((byte)entry, isLevel: false);
                break;
            case DeliveryMode.Nmi:
                LatchNmi();
                break;
        }
    }

    private void LatchNmi()
    {
        Volatile.Write(ref _nmi, 1);
        _wake = true;
    }

    private void RaiseError(uint error)
    {
        // The error interrupt's own vector may be illegal too; that error is recorded but raises no further interrupt.
        bool isNew = (_pendingErrors & error) == 0;
        _pendingErrors |= error;
        uint entry = LocalVector(Error);
        if (!isNew || (entry & Masked) != 0)
            return;
        if ((byte)entry < 16)
            _pendingErrors |= ErrorReceiveIllegalVector;
        else
            AcceptFixed((byte)entry, isLevel: false);
    }

    private int ComputeProcessorPriority()
    {
        int servicing = Math.Max(_inService.Highest, 0);
        int task = (int)_taskPriority;
        return (task & 0xf0) >= (servicing & 0xf0) ? task : servicing & 0xf0;
    }

    /// <summary>Recomputes what is read without the lock, and whether the vCPU has to hear of it.</summary>
    private void Update()
    {
        uint lint0 = LocalVector(Lint0);
        bool accepts = !IsEnabled || (lint0 & (Masked | ModeMask)) == (uint)DeliveryMode.ExtInt << 8;
        _wake |= accepts && !_acceptsPic && _lint0;
        Volatile.Write(ref _acceptsPic, accepts);

        int highest = _requests.Highest;
        bool pending = IsEnabled && highest >= 0 && (highest & 0xf0) > (ComputeProcessorPriority() & 0xf0);
        _wake |= pending && !_hasPending;
        Volatile.Write(ref _hasPending, pending);
    }

    /// <summary>Acts on what was decided under the lock; called after releasing it. A wake-up too many does no harm.</summary>
    private void Leave()
    {
        if (Volatile.Read(ref _wake) && Interlocked.Exchange(ref _wake, false))
            _signals.Wake();
    }
}
