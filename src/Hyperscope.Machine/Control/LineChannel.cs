using System.Text;
using Hyperscope.LinuxHost;

namespace Hyperscope.Machine.Control;

/// <summary>Lines of UTF-8 text over a socket, up to a bound.</summary>
internal sealed class LineChannel(StreamSocket socket) : IDisposable
{
    /// <summary>Longest line in bytes; a peer that sends more is cut off.</summary>
    public const int MaxLine = 64 << 10;

    private readonly byte[] _buffer = new byte[MaxLine];
    private int _start, _end;

    /// <summary>Reads a line without its end; null when the peer has gone or its line is too long.</summary>
    public string? ReadLine()
    {
        while (true)
        {
            int length = _buffer.AsSpan(_start, _end - _start).IndexOf((byte)'\n');
            if (length >= 0)
            {
                string line = Encoding.UTF8.GetString(_buffer, _start, length);
                _start += length + 1;
                return line;
            }

            if (_start > 0)
            {
                _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer);
                _end -= _start;
                _start = 0;
            }

            if (_end == _buffer.Length)
                return null;
            int received = socket.Receive(_buffer.AsSpan(_end));
            if (received <= 0)
                return null;
            _end += received;
        }
    }

    /// <summary>Sends a line; false if the peer has gone.</summary>
    public bool WriteLine(string line) => socket.Send(Encoding.UTF8.GetBytes(line + "\n"));

    /// <summary>Ends a blocked read.</summary>
    public void Shutdown() => socket.Shutdown();

    public void Dispose() => socket.Dispose();
}
