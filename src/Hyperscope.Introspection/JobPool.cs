using System.Buffers;

namespace Hyperscope.Introspection;

/// <summary>One message on its way to a vCPU's thread.</summary>
internal sealed class Job
{
    public Job? Next;
    public MessageHeader Header;
    public bool IsSilent;
    public byte[] Bytes = [];

    public ReadOnlySpan<byte> Payload => Bytes.AsSpan(0, Header.Size);
}

/// <summary>Jobs to be used again, so that traffic allocates nothing once it is under way.</summary>
internal sealed class JobPool
{
    private const int SmallSize = 256;
    private const int MaxSpare = 256;

    private readonly Lock _gate = new();
    private Job? _spare;
    private int _spareCount;

    public Job Rent(in MessageHeader header, ReadOnlySpan<byte> payload, bool isSilent)
    {
        Job? job;
        lock (_gate)
        {
            job = _spare;
            if (job is not null)
            {
                _spare = job.Next;
                _spareCount--;
            }
        }

        job ??= new Job { Bytes = new byte[SmallSize] };
        if (payload.Length > SmallSize)
            job.Bytes = ArrayPool<byte>.Shared.Rent(payload.Length);
        job.Next = null;
        job.Header = header;
        job.IsSilent = isSilent;
        payload.CopyTo(job.Bytes);
        return job;
    }

    public void Return(Job job)
    {
        if (job.Bytes.Length > SmallSize)
        {
            ArrayPool<byte>.Shared.Return(job.Bytes);
            job.Bytes = new byte[SmallSize];
        }

        lock (_gate)
        {
            if (_spareCount == MaxSpare)
                return;
            job.Next = _spare;
            _spare = job;
            _spareCount++;
        }
    }
}
