using System.Diagnostics;
using System.Text.RegularExpressions;
using Hyperscope.Boot.Tests;
using Hyperscope.Introspection;
using Hyperscope.LinuxHost;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>One booted Debian guest with a shell, and a tool attached to it over a socket. Boots once for a test class.</summary>
public abstract class LiveGuest : IAsyncLifetime
{
    private DebianGuest? _machine;
    private Introspector? _introspector;
    private IntrospectedVm? _vm;
    private LinuxGuest? _guest;
    private int _commands;

    /// <summary>The tool's end.</summary>
    public IntrospectedVm Vm => _vm!;

    /// <summary>Whether there is a module to load.</summary>
    public virtual bool HasModule => false;

    /// <summary>The guest as the tool sees it.</summary>
    public LinuxGuest Linux => _guest!;

    /// <summary>How long the first attachment took, code that was never run before included.</summary>
    public TimeSpan FirstAttach { get; private set; }

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _machine = Create();
        _machine.Vm.Start();
        await _machine.WaitFor(DebianInitramfs.ReadyMarker);
        await _machine.WaitFor("/ # ");
        _introspector = new Introspector(_machine.Vm);
        (StreamSocket hypervisorEnd, StreamSocket toolEnd) = StreamSocket.CreatePair();
        Assert.Equal(ControlError.None, _introspector.Hook(hypervisorEnd));
        Assert.Equal(ControlError.None, _introspector.SetCommandPermission(-1, 1));
        Assert.Equal(ControlError.None, _introspector.SetEventPermission(-1, 1));
        _vm = await IntrospectedVm.StartAsync(toolEnd, cancellation: Cancel);
        long started = Stopwatch.GetTimestamp();
        _guest = await LinuxGuest.AttachAsync(_vm, cancellation: Cancel);
        FirstAttach = Stopwatch.GetElapsedTime(started);
    }

    public async ValueTask DisposeAsync()
    {
        if (_vm is not null)
            await _vm.DisposeAsync();
        _introspector?.Dispose();
        if (_machine is not null)
            await _machine.DisposeAsync();
        GC.SuppressFinalize(this);
    }

    /// <summary>Types a command line into the guest's shell.</summary>
    /// <returns>The lines it printed.</returns>
    public async Task<string[]> RunAsync(string command)
    {
        // The markers are computed by the shell, so that the echo of what is typed does not look like them.
        int number = ++_commands;
        string begin = $"<<{number + 1000}>>", end = $">>{number + 1000}<<";
        string line = $"echo \"<<$(({number}+1000))>>\"; {command}; echo \">>$(({number}+1000))<<\"\r";
        foreach (string piece in line.Chunk(8).Select(static chars => new string(chars)))
            _machine!.Type(piece);
        await _machine!.WaitFor(end);
        string text = _machine.Serial.Text;
        int from = text.IndexOf(begin, StringComparison.Ordinal) + begin.Length;
        string output = Regex.Replace(text[from..text.IndexOf(end, StringComparison.Ordinal)], "\r", "");
        return output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }

    /// <summary>Makes the machine.</summary>
    private protected abstract DebianGuest Create();
}

/// <summary>Entered where it was linked: no randomisation.</summary>
public sealed class FixedGuest : LiveGuest
{
    private protected override DebianGuest Create() => DebianGuest.Create(vcpus: 1);
}

/// <summary>The kernel unpacks and moves itself, and isolates its page tables from those of user mode.</summary>
/// <remarks>HYPERSCOPE_OTHER_KERNEL names another kernel than Debian's stable one, HYPERSCOPE_OTHER_MODULE a module for it.</remarks>
public sealed class RandomizedGuest : LiveGuest
{
    private static readonly string? Kernel = Environment.GetEnvironmentVariable("HYPERSCOPE_OTHER_KERNEL");
    private static readonly string? Module = Kernel is null ? DebianFiles.Module : Environment.GetEnvironmentVariable("HYPERSCOPE_OTHER_MODULE");

    public override bool HasModule => Module is not null;

    private protected override DebianGuest Create() => DebianGuest.Create(
        vcpus: 1, entry: LinuxEntry.Protected, parameters: "pti=on", kernelPath: Kernel,
        files:
        [
            new InitramfsFile("/loadbpf", BpfLoader.Build(), true),
            .. Module is null ? Array.Empty<InitramfsFile>() : [new InitramfsFile("/dummy.ko", File.ReadAllBytes(Module), false)],
        ]);
}
