using Hyperscope.Vm;
using static Hyperscope.Devices.ApicRegister;

namespace Hyperscope.Devices;

// Register access: MMIO in xAPIC mode, MSRs in x2APIC mode.
public sealed partial class LocalApic
{
    private const uint MsrFirst = 0x800, MsrLast = 0x8ff;

    /// <summary>IA32_APIC_BASE. Setting it checks nothing; a guest's write goes through <see cref="TryWriteMsr"/>.</summary>
    public ulong ApicBase
    {
        get => Volatile.Read(ref _base);
        set
        {
            lock (_gate)
                SetBase(value);
            Leave();
        }
    }

    /// <inheritdoc/>
    /// <remarks>Registers are 32 bits at multiples of 16. In x2APIC mode and when disabled there is nothing here.</remarks>
    public ulong ReadMemory(ulong offset, int size)
    {
        ulong value = ulong.MaxValue;
        int within = (int)(offset & 15);
        lock (_gate)
        {
            if (offset < MmioBytes && IsEnabled && !IsX2 && within < 4 && TryRead((int)(offset >> 4), out uint register))
                value = (0xffff_ffff_0000_0000 | register) >> (8 * within);
        }

        Leave();
        return value;
    }

    /// <inheritdoc/>
    public void WriteMemory(ulong offset, int size, ulong value)
    {
        if (offset >= MmioBytes || (offset & 15) != 0 || size < 4)
            return;
        int register = (int)(offset >> 4);
        Outgoing outgoing = default;
        lock (_gate)
        {
            if (!IsEnabled || IsX2)
                return;
            switch (register)
            {
                case Id:
                    _xapicId = (uint)value >> 24;
                    break;
                case LogicalDestination:
                    _logicalDestination = (uint)value & 0xff00_0000;
                    break;
                case DestinationFormat:
                    _destinationFormat = (uint)value | 0x0fff_ffff;
                    break;
                case CommandHigh:
                    _command = (_command & uint.MaxValue) | (value << 32);
                    break;
                case CommandLow:
                    _command = (_command & ~(ulong)uint.MaxValue) | ((uint)value & 0xcdfff);
                    PrepareCommand(ref outgoing);
                    break;
                case ErrorStatus:
                    LatchErrors();
                    break;
                default:
                    if (!TryWriteCommon(register, (uint)value, ref outgoing))
                        RaiseError(ErrorIllegalRegister);
                    break;
            }
        }

        Send(outgoing);
    }

    /// <summary>Reads IA32_APIC_BASE, IA32_TSC_DEADLINE or an x2APIC register; false for anything else and outside x2APIC mode.</summary>
    public bool TryReadMsr(uint index, out ulong value)
    {
        lock (_gate)
        {
            value = 0;
            switch (index)
            {
                case MsrIndex.ApicBase:
                    value = _base;
                    return true;
                case MsrIndex.TscDeadline:
                    value = _tscDeadline;
                    return true;
                case < MsrFirst or > MsrLast:
                    return false;
            }

            int register = (int)(index - MsrFirst);
            if (!IsX2 || !IsEnabled || register is DestinationFormat or CommandHigh or Eoi or SelfIpi or ArbitrationPriority or RemoteRead)
                return false;
            if (register == CommandLow)
            {
                value = _command;
                return true;
            }

            if (!IsReadable(register))
                return false;
            TryRead(register, out uint low);
            value = low;
            return true;
        }
    }

    /// <summary>Writes one of the same registers; false also for values with reserved bits.</summary>
    public bool TryWriteMsr(uint index, ulong value)
    {
        Outgoing outgoing = default;
        lock (_gate)
        {
            switch (index)
            {
                case MsrIndex.ApicBase:
                    if (!IsBaseChangeAllowed(value))
                        return false;
                    SetBase(value);
                    break;
                case MsrIndex.TscDeadline:
                    WriteTscDeadline(value);
                    break;
                case < MsrFirst or > MsrLast:
                    return false;
                default:
                    if (!IsX2 || !IsEnabled || !TryWriteX2((int)(index - MsrFirst), value, ref outgoing))
                        return false;
                    break;
            }
        }

        Send(outgoing);
        return true;
    }

    private static bool IsReadable(int register) => register is Id or VersionRegister or TaskPriority or ArbitrationPriority or ProcessorPriority
        or RemoteRead or LogicalDestination or DestinationFormat or SpuriousVector or (>= InService and <= ErrorStatus)
        or CommandLow or CommandHigh or (>= LocalTimer and <= CurrentCount) or DivideConfiguration;

    // Delivery status and remote IRR are read-only: written by Linux when it switches off, and ignored.
    private const uint LocalVectorStatus = 1 << 12 | 1 << 14;

    private static uint X2WritableBits(int register) => register switch
    {
        TaskPriority => 0xff,
        SpuriousVector => 0x1ff,
        >= LocalTimer and <= Error => LocalVectorBits(register) | LocalVectorStatus,
        InitialCount => uint.MaxValue,
        DivideConfiguration => 0xb,
        SelfIpi => 0xff,
        _ => 0,
    };

    private bool TryRead(int register, out uint value)
    {
        value = register switch
        {
            Id => IsX2 ? _apicId : _xapicId << 24,
            VersionRegister => VersionValue,
            TaskPriority => _taskPriority,
            ArbitrationPriority or ProcessorPriority => (uint)ComputeProcessorPriority(),
            LogicalDestination => IsX2 ? X2LogicalId : _logicalDestination,
            DestinationFormat => _destinationFormat,
            SpuriousVector => _spurious,
            >= InService and < InService + 8 => _inService[register - InService],
            >= TriggerMode and < TriggerMode + 8 => _levelTriggered[register - TriggerMode],
            >= Request and < Request + 8 => _requests[register - Request],
            ErrorStatus => _errorStatus,
            CommandLow => (uint)_command,
            CommandHigh => (uint)(_command >> 32),
            >= LocalTimer and <= Error => LocalVector(register),
            InitialCount => _initialCount,
            CurrentCount => ReadCurrentCount(),
            DivideConfiguration => _divideConfiguration,
            _ => 0,
        };
        if (IsReadable(register) || register == Eoi)
            return true;
        RaiseError(ErrorIllegalRegister);
        return false;
    }

    private bool TryWriteX2(int register, ulong value, ref Outgoing outgoing)
    {
        switch (register)
        {
            case CommandLow:
                if ((value & 0xffff_f000) is var low && (low & ~0xcd000UL) != 0)
                    return false;
                _command = value;
                PrepareCommand(ref outgoing);
                return true;
            case ErrorStatus:
                if (value != 0)
                    return false;
                LatchErrors();
                return true;
            case Eoi:
                return value == 0 && TryWriteCommon(register, 0, ref outgoing);
            case SelfIpi:
                if (value > 0xff)
                    return false;
                AcceptFixed((byte)value, isLevel: false);
                return true;
            default:
                return (value & ~(ulong)X2WritableBits(register)) == 0 && X2WritableBits(register) != 0
                    && TryWriteCommon(register, (uint)value, ref outgoing);
        }
    }

    private bool TryWriteCommon(int register, uint value, ref Outgoing outgoing)
    {
        switch (register)
        {
            case TaskPriority:
                _taskPriority = value & 0xff;
                break;
            case Eoi:
                EndInterrupt(ref outgoing);
                break;
            case SpuriousVector:
                _spurious = value & 0x1ff;
                if ((value & SoftwareEnabled) == 0)
                {
                    foreach (ref uint entry in _localVectors.AsSpan())
                        entry |= Masked;
                }

                break;
            case >= LocalTimer and <= Error:
                WriteLocalVector(register, value);
                break;
            case InitialCount:
                WriteInitialCount(value);
                break;
            case DivideConfiguration:
                WriteDivideConfiguration(value);
                break;
            case CurrentCount:
            case VersionRegister:
            case ProcessorPriority:
            case ArbitrationPriority:
            case RemoteRead:
            case >= InService and < ErrorStatus:
                break; // read-only
            default:
                return false;
        }

        Update();
        return true;
    }

    private void WriteLocalVector(int register, uint value)
    {
        uint timerMode = TimerMode;
        value &= LocalVectorBits(register);
        if ((_spurious & SoftwareEnabled) == 0)
            value |= Masked;
        LocalVector(register) = value;
        if (register == LocalTimer)
            OnTimerModeChanged(timerMode);
    }

    private void LatchErrors()
    {
        _errorStatus = _pendingErrors;
        _pendingErrors = 0;
    }

    private void EndInterrupt(ref Outgoing outgoing)
    {
        int vector = _inService.Highest;
        if (vector < 0)
            return;
        _inService.Remove(vector);
        if (_levelTriggered.Contains(vector))
            outgoing.EndedLevelVector = (byte)vector;
    }

    private void PrepareCommand(ref Outgoing outgoing)
    {
        uint low = (uint)_command;
        var mode = (DeliveryMode)((low >> 8) & 7);
        byte vector = (byte)low;
        if (mode is DeliveryMode.Fixed or DeliveryMode.LowestPriority && vector < 16)
        {
            RaiseError(ErrorSendIllegalVector);
            return;
        }

        bool isLevel = (low & (1 << 15)) != 0;
        bool isAsserted = (low & (1 << 14)) != 0;
        if (mode == DeliveryMode.Init && isLevel && !isAsserted)
            return; // INIT level de-assert does nothing since the Pentium 4
        uint destination = (uint)(_command >> 32);
        if (!IsX2)
            destination >>= 24;
        outgoing.HasMessage = true;
        outgoing.Shorthand = (DestinationShorthand)((low >> 18) & 3);
        outgoing.Message = new ApicMessage(
            mode,
            vector,
            destination,
            IsLogical: (low & (1 << 11)) != 0,
            IsLevel: isLevel,
            IsBroadcast: destination == (IsX2 ? uint.MaxValue : 0xff));
    }

    private void Send(in Outgoing outgoing)
    {
        if (outgoing.HasMessage)
            _bus.Send(outgoing.Message, outgoing.Shorthand, this);
        if (outgoing.EndedLevelVector != 0)
            _bus.EndOfInterrupt(outgoing.EndedLevelVector);
        Leave();
    }

    private bool IsBaseChangeAllowed(ulong value)
    {
        if ((value & ~(BaseAddress | BaseEnabled | BaseX2 | BaseBootstrap)) != 0)
            return false;
        bool enabled = (value & BaseEnabled) != 0;
        bool x2 = (value & BaseX2) != 0;
        return (enabled || !x2) && (!IsX2 || x2 || !enabled) && (IsEnabled || !x2);
    }

    private void SetBase(ulong value)
    {
        bool wasEnabled = IsEnabled;
        Volatile.Write(ref _base, value);
        if (wasEnabled && !IsEnabled)
            ResetKeepingBase();
        Update();
    }

    /// <summary>What a register write sends once the lock is released.</summary>
    private struct Outgoing
    {
        public bool HasMessage;
        public DestinationShorthand Shorthand;
        public ApicMessage Message;

        // 0: none; real vectors are 16 and up.
        public byte EndedLevelVector;
    }
}
