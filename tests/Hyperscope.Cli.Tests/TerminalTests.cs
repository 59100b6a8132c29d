using System.Diagnostics;
using System.Text;

namespace Hyperscope.Cli.Tests;

/// <summary><c>vm run</c> on a terminal of its own, made by script(1).</summary>
public sealed class TerminalTests : IDisposable
{
    private const char Ready = '!';

    /// <summary>Long mode: says that it is there, then waits for a key on the serial port, adds 1, sends it back, again and again.</summary>
    private static readonly byte[] _nextKey =
    [
        0x66, 0xBA, 0xF8, 0x03, // mov dx, 3F8h
        0xB0, (byte)Ready, // mov al, '!'
        0xEE, // out dx, al
        0x66, 0xBA, 0xFD, 0x03, // mov dx, 3FDh
        0xEC, // in al, dx
        0xA8, 0x01, // test al, 1
        0x74, 0xF7, // jz to the mov before
        0x66, 0xBA, 0xF8, 0x03, // mov dx, 3F8h
        0xEC, // in al, dx
        0xFE, 0xC0, // inc al
        0xEE, // out dx, al
        0xEB, 0xED, // jmp there too
    ];

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("hs-");

    private Process? _vm;

    public void Dispose()
    {
        if (_vm is { HasExited: false })
            _vm.Kill(entireProcessTree: true); // a test that failed
        _vm?.Dispose();
        _directory.Delete(recursive: true);
    }

    [Fact]
    public async Task Keys_reach_the_guest_one_by_one_and_nothing_echoes_them()
    {
        Process vm = await StartAsync();
        await TypeAsync(vm, "A");
        Assert.Equal('B', await NextAsync(vm)); // before a line ends, and no A
        await TypeAsync(vm, "c");
        Assert.Equal('d', await NextAsync(vm));
        await LeaveAsync(vm);
    }

    [Fact]
    public async Task Ctrl_C_belongs_to_the_guest()
    {
        Process vm = await StartAsync();
        await TypeAsync(vm, "\u0003\u001a\u0011m\r");
        Assert.Equal('\u0004', await NextAsync(vm));
        Assert.Equal('\u001b', await NextAsync(vm));
        Assert.Equal('\u0012', await NextAsync(vm));
        Assert.Equal('n', await NextAsync(vm));
        Assert.Equal('\u000e', await NextAsync(vm)); // Enter comes as the carriage return that it is
        await LeaveAsync(vm);
    }

    [Fact]
    public async Task Ctrl_A_twice_is_one_Ctrl_A()
    {
        Process vm = await StartAsync();
        await TypeAsync(vm, "\u0001\u0001x");
        Assert.Equal('\u0002', await NextAsync(vm));
        Assert.Equal('y', await NextAsync(vm)); // the second one did not start another escape
        await LeaveAsync(vm);
    }

    /// <summary>Starts the VM and waits until its guest is there: before that, the terminal still echoes.</summary>
    private async Task<Process> StartAsync()
    {
        string image = Path.Combine(_directory.FullName, "keys.bin");
        await File.WriteAllBytesAsync(image, _nextKey, RunCli.Cancel);
        string command = $"dotnet {typeof(CommandTree).Assembly.Location} vm run --image {image}";
        Process vm = _vm = Process.Start(new ProcessStartInfo("script", ["-q", "-e", "-f", "-c", command, "/dev/null"])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            StandardOutputEncoding = Encoding.Latin1,
        })!;
        while (await NextAsync(vm) != Ready)
        {
            // What the runtime tells the terminal at the start.
        }

        return vm;
    }

    private static async Task TypeAsync(Process vm, string keys)
    {
        await vm.StandardInput.WriteAsync(keys);
        await vm.StandardInput.FlushAsync(RunCli.Cancel);
    }

    private static async Task<char> NextAsync(Process vm)
    {
        char[] key = new char[1];
        Assert.Equal(1, await vm.StandardOutput.ReadAsync(key, RunCli.Cancel).AsTask().WaitAsync(TimeSpan.FromMinutes(1), RunCli.Cancel));
        return key[0];
    }

    /// <summary>Ctrl-A X, and the terminal is as it was.</summary>
    private static async Task LeaveAsync(Process vm)
    {
        await TypeAsync(vm, "\u0001x");
        string rest = await vm.StandardOutput.ReadToEndAsync(RunCli.Cancel).WaitAsync(TimeSpan.FromMinutes(1), RunCli.Cancel);
        await vm.WaitForExitAsync(RunCli.Cancel);
        Assert.Contains("the VM ended: left by Ctrl-A X", rest, StringComparison.Ordinal);
        Assert.Equal(0, vm.ExitCode);
    }
}
