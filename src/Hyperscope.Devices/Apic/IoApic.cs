using Hyperscope.Vm;

namespace Hyperscope.Devices;

/// <summary>The IOAPIC: 24 pins, 4096 bytes of MMIO at 0xfec00000, version 0x20 (with an EOI register).</summary>
/// <remarks>
/// <para>A line is asserted or not; the polarity bit is only kept. An edge on a masked pin is lost, a level is not.</para>
/// <para>Threads: any. Lock order: a device, then this, then a local APIC.</para>
/// <para>Source: 82093AA data sheet; the EOI register as in later chipsets.</para>
/// </remarks>
public sealed class IoApic : IMmioDevice
{
    /// <summary>Bytes of the register page.</summary>
    public const int MmioBytes = 4096;

    /// <summary>Number of pins.</summary>
    public const int PinCount = 24;

    private const int SelectOffset = 0x00, WindowOffset = 0x10, EoiOffset = 0x40;
    private const int IdRegister = 0, VersionRegister = 1, ArbitrationRegister = 2, FirstEntry = 0x10;
    private const uint VersionValue = 0x20 | ((PinCount - 1) << 16);
    private const ulong RemoteIrr = 1 << 14, LevelTriggered = 1 << 15, MaskedBit = 1 << 16, Logical = 1 << 11;
    private const ulong Writable = 0xff00_0000_0001_afff;

    private readonly Lock _gate = new();
    private readonly IApicBus _bus;
    private readonly IInterruptLine[] _pins;
    private readonly ulong[] _entries = new ulong[PinCount];
    private readonly bool[] _levels = new bool[PinCount];
    private byte _select;
    private uint _id;

    /// <summary>An IOAPIC with all pins masked that sends over <paramref name="bus"/>.</summary>
    public IoApic(IApicBus bus, byte id = 0)
    {
        _bus = bus;
        _id = id & 15u;
        _pins = [.. Enumerable.Range(0, PinCount).Select(pin => new InputPin(this, pin))];
        Array.Fill(_entries, MaskedBit);
    }

    /// <summary>The input of a pin, 0 to 23.</summary>
    public IInterruptLine Pin(int pin) => _pins[pin];

    /// <inheritdoc/>
    public ulong ReadMemory(ulong offset, int size)
    {
        lock (_gate)
        {
            return offset switch
            {
                SelectOffset => 0xffff_ffff_0000_0000 | _select,
                WindowOffset => 0xffff_ffff_0000_0000 | ReadRegister(),
                _ => ulong.MaxValue,
            };
        }
    }

    /// <inheritdoc/>
    public void WriteMemory(ulong offset, int size, ulong value)
    {
        lock (_gate)
        {
            switch (offset)
            {
                case SelectOffset:
                    _select = (byte)value;
                    break;
                case WindowOffset when size >= 4:
                    WriteRegister((uint)value);
                    break;
                case EoiOffset:
                    EndOfInterruptLocked((byte)value);
                    break;
            }
        }
    }

    /// <summary>A local APIC ended a level-triggered interrupt. The caller holds no local APIC's lock.</summary>
    public void EndOfInterrupt(byte vector)
    {
        lock (_gate)
            EndOfInterruptLocked(vector);
    }

    private uint ReadRegister()
    {
        switch (_select)
        {
            case IdRegister:
            case ArbitrationRegister:
                return _id << 24;
            case VersionRegister:
                return VersionValue;
            default:
                int index = _select - FirstEntry;
                if (index is < 0 or >= 2 * PinCount)
                    return uint.MaxValue;
                ulong entry = _entries[index / 2];
                return (uint)((index & 1) != 0 ? entry >> 32 : entry);
        }
    }

    private void WriteRegister(uint value)
    {
        if (_select == IdRegister)
        {
            _id = (value >> 24) & 15;
            return;
        }

        int index = _select - FirstEntry;
        if (index is < 0 or >= 2 * PinCount)
            return;
        int pin = index / 2;
        ref ulong entry = ref _entries[pin];
        ulong written = (index & 1) != 0 ? (entry & uint.MaxValue) | ((ulong)value << 32) : (entry & ~(ulong)uint.MaxValue) | value;
        entry = (written & Writable) | (entry & RemoteIrr);
        if ((entry & LevelTriggered) == 0)
            entry &= ~RemoteIrr;
        DeliverLevel(pin);
    }

    private void SetPin(int pin, bool asserted)
    {
        lock (_gate)
        {
            bool rises = asserted && !_levels[pin];
            _levels[pin] = asserted;
            if ((_entries[pin] & LevelTriggered) != 0)
                DeliverLevel(pin);
            else if (rises && (_entries[pin] & MaskedBit) == 0)
                Send(_entries[pin]);
        }
    }

    private void DeliverLevel(int pin)
    {
        ref ulong entry = ref _entries[pin];
        if (!_levels[pin] || (entry & (LevelTriggered | MaskedBit | RemoteIrr)) != LevelTriggered)
            return;
        entry |= RemoteIrr;
        Send(entry);
    }

    private void EndOfInterruptLocked(byte vector)
    {
        for (int pin = 0; pin < PinCount; pin++)
        {
            ref ulong entry = ref _entries[pin];
            if ((byte)entry != vector || (entry & RemoteIrr) == 0)
                continue;
            entry &= ~RemoteIrr;
            DeliverLevel(pin);
        }
    }

    private void Send(ulong entry)
    {
        uint destination = (uint)(entry >> 56);
        _bus.Send(new ApicMessage(
            (DeliveryMode)((entry >> 8) & 7),
            (byte)entry,
            destination,
            IsLogical: (entry & Logical) != 0,
            IsLevel: (entry & LevelTriggered) != 0,
            IsBroadcast: destination == 0xff));
    }

    private sealed class InputPin(IoApic ioApic, int pin) : IInterruptLine
    {
        public void Set(bool asserted) => ioApic.SetPin(pin, asserted);
    }
}
