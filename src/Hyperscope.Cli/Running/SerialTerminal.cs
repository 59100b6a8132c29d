using Hyperscope.Devices;
using Microsoft.Win32.SafeHandles;

namespace Hyperscope.Cli.Running;

/// <summary>The terminal as the guest's serial console: keys go to the guest as they are; Ctrl-A X leaves, Ctrl-A A sends Ctrl-A.</summary>
internal sealed class SerialTerminal : IDisposable
{
    private const byte Escape = 0x01; // Ctrl-A

    private readonly RawTerminal? _terminal;

    private SerialTerminal(RawTerminal? terminal) => _terminal = terminal;

    /// <summary>Connects standard input, if it is a terminal or a pipe with something in it, to a serial port.</summary>
    /// <param name="port">The guest's port.</param>
    /// <param name="leave">What Ctrl-A X does.</param>
    public static SerialTerminal Attach(Uart16550 port, Action leave)
    {
        var terminal = new SerialTerminal(RawTerminal.Enter());
        new Thread(() => Copy(port, leave, terminal._terminal is not null)) { IsBackground = true, Name = "serial input" }.Start();
        return terminal;
    }

    public void Dispose() => _terminal?.Dispose();

    private static void Copy(Uart16550 port, Action leave, bool hasEscape)
    {
        // Not the console's stream: on a terminal that one edits lines and echoes.
        using var handle = new SafeFileHandle(0, ownsHandle: false);
        using var input = new FileStream(handle, FileAccess.Read, bufferSize: 0);
        byte[] buffer = new byte[256];
        bool isEscaped = false;
        int count;
        while ((count = input.Read(buffer)) > 0)
        {
            foreach (byte key in buffer.AsSpan(0, count))
            {
                if (hasEscape && !isEscaped && key == Escape)
                {
                    isEscaped = true;
                    continue;
                }

                if (isEscaped && (key | 0x20) == (byte)'x')
                {
                    leave();
                    return;
                }

                isEscaped = false;
                while (port.Feed([key]) == 0)
                    port.WaitForRoom(CancellationToken.None);
            }
        }
    }
}
