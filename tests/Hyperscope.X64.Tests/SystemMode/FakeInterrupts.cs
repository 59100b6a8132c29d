using Hyperscope.Vm;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>An interrupt controller that a test raises lines on.</summary>
internal sealed class FakeInterrupts : IVcpuInterrupts
{
    private readonly Queue<byte> _vectors = new();

    public bool HasNmi { get; set; }

    public byte TaskPriority { get; set; }

    public ulong ApicBase { get; set; } = 0xFEE0_0900;

    public bool HasPending
    {
        get
        {
            lock (_vectors)
                return _vectors.Count != 0 && _vectors.Peek() >> 4 > TaskPriority;
        }
    }

    public void Raise(byte vector)
    {
        lock (_vectors)
            _vectors.Enqueue(vector);
    }

    public bool TryAcknowledge(out byte vector)
    {
        lock (_vectors)
        {
            vector = 0;
            if (_vectors.Count == 0 || _vectors.Peek() >> 4 <= TaskPriority)
                return false;
            vector = _vectors.Dequeue();
            return true;
        }
    }

    public bool TryTakeNmi()
    {
        bool had = HasNmi;
        HasNmi = false;
        return had;
    }

    public bool TryReadMsr(uint index, out ulong value)
    {
        value = index == 0x808 ? (ulong)TaskPriority << 4 : 0;
        return index == 0x808;
    }

    public bool TryWriteMsr(uint index, ulong value)
    {
        if (index != 0x808 || value > 0xFF)
            return false;
        TaskPriority = (byte)(value >> 4);
        return true;
    }
}
