using System.Runtime.InteropServices;

namespace Hyperscope.LinuxHost;

/// <summary>Standard input as a raw terminal: each key comes at once, as it is, unseen and without the meaning that Ctrl-C and the like have.
/// Disposing it gives the terminal back as it was. Output is left alone.</summary>
/// <remarks>The calls are made here because .NET's console sets a terminal back to its own taste whenever a child such as stty ends.</remarks>
public sealed unsafe partial class RawTerminal : IDisposable
{
    private const int StandardInput = 0, Now = 0;
    private const uint Brkint = 0x2, Istrip = 0x20, Inlcr = 0x40, Igncr = 0x80, Icrnl = 0x100, Ixon = 0x400, Ixoff = 0x1000;
    private const uint Isig = 0x1, Icanon = 0x2, Echo = 0x8, Iexten = 0x8000;

    private readonly Settings _before;

    private RawTerminal(Settings before) => _before = before;

    /// <summary>Makes the terminal raw.</summary>
    /// <returns>Null if standard input is no terminal.</returns>
    /// <exception cref="LinuxException">The terminal does not take the settings.</exception>
    public static RawTerminal? Enter()
    {
        Settings settings;
        if (GetAttributes(StandardInput, &settings) != 0)
            return null;
        var terminal = new RawTerminal(settings);
        settings.Input &= ~(Brkint | Istrip | Inlcr | Igncr | Icrnl | Ixon | Ixoff);
        settings.Local &= ~(Isig | Icanon | Echo | Iexten);
        return SetAttributes(StandardInput, Now, &settings) == 0 ? terminal : throw LinuxException.FromLastCall("tcsetattr of standard input");
    }

    /// <summary>Gives the terminal back as it was.</summary>
    public void Dispose()
    {
        Settings settings = _before;
        _ = SetAttributes(StandardInput, Now, &settings); // a terminal that is gone needs nothing
    }

    [LibraryImport("libc", EntryPoint = "tcgetattr", SetLastError = true)]
    private static partial int GetAttributes(int fd, Settings* settings);

    [LibraryImport("libc", EntryPoint = "tcsetattr", SetLastError = true)]
    private static partial int SetAttributes(int fd, int actions, Settings* settings);

    /// <summary>The start of <c>struct termios</c>, with room for what follows in any C library.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 128)]
    private struct Settings
    {
        public uint Input, Output, Control, Local;
    }
}
