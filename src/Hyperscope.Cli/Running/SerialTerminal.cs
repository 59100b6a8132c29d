using System.Diagnostics;
using Hyperscope.Devices;

namespace Hyperscope.Cli.Running;

/// <summary>The terminal as the guest's serial console: keys go to the guest as they are; Ctrl-A X leaves, Ctrl-A A sends Ctrl-A.</summary>
internal sealed class SerialTerminal : IDisposable
{
    private const byte Escape = 0x01; // Ctrl-A

    private readonly string? _settings;

    private SerialTerminal(string? settings) => _settings = settings;

    /// <summary>Connects standard input, if it is a terminal or a pipe with something in it, to a serial port.</summary>
    /// <param name="port">The guest's port.</param>
    /// <param name="leave">What Ctrl-A X does.</param>
    public static SerialTerminal Attach(Uart16550 port, Action leave)
    {
        string? settings = Console.IsInputRedirected ? null : Stty("-g")?.Trim();
        if (settings is not null)
            _ = Stty("-icanon -echo -isig -ixon -icrnl");
        var terminal = new SerialTerminal(settings);
        new Thread(() => Copy(port, leave, settings is not null)) { IsBackground = true, Name = "serial input" }.Start();
        return terminal;
    }

    public void Dispose()
    {
        if (_settings is not null)
            _ = Stty(_settings);
    }

    private static void Copy(Uart16550 port, Action leave, bool hasEscape)
    {
        using Stream input = Console.OpenStandardInput();
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

    private static string? Stty(string arguments)
    {
        try
        {
            using Process? process = Process.Start(new ProcessStartInfo("stty", arguments) { RedirectStandardOutput = true, RedirectStandardError = true });
            if (process is null)
                return null;
            string output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == 0 ? output : null;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return null; // no stty: the terminal stays as it is
        }
    }
}
