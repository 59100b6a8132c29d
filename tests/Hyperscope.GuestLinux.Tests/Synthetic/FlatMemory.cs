using Hyperscope.Vm;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>Physical memory in an array.</summary>
internal sealed class FlatMemory(int size) : IPhysicalMemory
{
    public byte[] Bytes { get; } = new byte[size];

    public int Reads { get; private set; }

    public ValueTask<int> TryReadAsync(Gpa gpa, Memory<byte> buffer, CancellationToken cancellation)
    {
        Reads++;
        if (gpa.Value >= (ulong)Bytes.Length)
            return new ValueTask<int>(0);
        int length = (int)Math.Min((ulong)buffer.Length, (ulong)Bytes.Length - gpa.Value);
        Bytes.AsMemory((int)gpa.Value, length).CopyTo(buffer);
        return new ValueTask<int>(length);
    }

    public void Write(ulong gpa, ulong value) => BitConverter.TryWriteBytes(Bytes.AsSpan((int)gpa), value);

    public void Write(ulong gpa, ReadOnlySpan<byte> bytes) => bytes.CopyTo(Bytes.AsSpan((int)gpa));
}
