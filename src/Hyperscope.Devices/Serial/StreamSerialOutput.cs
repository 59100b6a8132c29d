namespace Hyperscope.Devices;

/// <summary>Passes characters to a stream on a thread of its own, so that a vCPU waits only when the buffer is full.</summary>
/// <remarks>A stream that fails is not written again and characters are counted in <see cref="Dropped"/> instead; the guest is not
/// told. <see cref="Dispose"/> writes what is left. The stream itself stays the caller's.</remarks>
public sealed class StreamSerialOutput : ISerialOutput, IDisposable
{
    private readonly Stream _stream;
    private readonly Thread _thread;

    // Guards the fields below; nothing is called while it is held.
    private readonly object _gate = new();
    private byte[] _filling;
    private byte[] _writing;
    private int _count;
    private bool _closing;
    private bool _failed;
    private long _dropped;

    /// <summary>Starts the writer.</summary>
    /// <param name="stream">Where to; written and flushed on the writer's thread only.</param>
    /// <param name="capacity">Characters that may wait, at least 1.</param>
    public StreamSerialOutput(Stream stream, int capacity = 65536)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        _stream = stream;
        _filling = new byte[capacity];
        _writing = new byte[capacity];
        _thread = new Thread(Run) { IsBackground = true, Name = "serial output" };
        _thread.Start();
    }

    /// <summary>Characters lost because the stream failed or was closed.</summary>
    public long Dropped => Interlocked.Read(ref _dropped);

    /// <inheritdoc/>
    public void Write(byte value)
    {
        lock (_gate)
        {
            while (_count == _filling.Length && !_failed && !_closing)
                Monitor.Wait(_gate);
            if (_failed || _closing)
            {
                Interlocked.Increment(ref _dropped);
                return;
            }

            _filling[_count++] = value;
            if (_count == 1)
                Monitor.PulseAll(_gate);
        }
    }

    /// <summary>Writes what is left and ends the thread.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _closing = true;
            Monitor.PulseAll(_gate);
        }

        _thread.Join();
    }

    private void Run()
    {
        while (true)
        {
            int count;
            lock (_gate)
            {
                while (_count == 0 && !_closing)
                    Monitor.Wait(_gate);
                if (_count == 0)
                    return;
                (_filling, _writing) = (_writing, _filling);
                count = _count;
                _count = 0;
                Monitor.PulseAll(_gate);
            }

            try
            {
                _stream.Write(_writing, 0, count);
                _stream.Flush();
            }
            catch (Exception exception) when (exception is IOException or ObjectDisposedException or NotSupportedException)
            {
                lock (_gate)
                {
                    _failed = true;
                    Interlocked.Add(ref _dropped, count + _count);
                    _count = 0;
                    Monitor.PulseAll(_gate);
                    return;
                }
            }
        }
    }
}
