using System.Globalization;
using Hyperscope.Client;
using Hyperscope.Guard;
using Hyperscope.GuestLinux;
using Hyperscope.Introspection;
using Hyperscope.LinuxHost;

namespace Hyperscope.Attacks.Tests;

/// <summary>A booted Debian with the lab in it and a shell on its console. All tests share one, one after the other.</summary>
public class LabGuest : IAsyncDisposable
{
    private readonly int _vcpus;
    private DebianGuest? _guest;
    private Dictionary<string, ulong>? _symbols;
    private int _commands;

    public LabGuest()
        : this(1)
    {
    }

    protected LabGuest(int vcpus) => _vcpus = vcpus;

    public async ValueTask DisposeAsync()
    {
        if (_guest is not null)
            await _guest.DisposeAsync();
        GC.SuppressFinalize(this);
    }

    /// <summary>Runs a command line in the guest's shell.</summary>
    /// <returns>The lines it printed.</returns>
    public async Task<string[]> RunAsync(string command)
    {
        // The shell computes the markers, so that the echo of what is typed does not look like them.
        string number = (++_commands + 1000).ToString(CultureInfo.InvariantCulture);
        DebianGuest guest = await BootedAsync();
        string begin = $"<{number}\r\n", end = $"{number}>";
        guest.Type($"echo \"<$(({number}))\"; {command}; echo \"$(({number}))>\"\r");
        await guest.WaitFor(end);
        string text = guest.Serial.Text;
        int start = text.IndexOf(begin, StringComparison.Ordinal) + begin.Length;
        return text[start..text.IndexOf(end, start, StringComparison.Ordinal)].Split("\r\n", StringSplitOptions.RemoveEmptyEntries);
    }

    /// <summary>Where the guest's kernel has what an attack writes to.</summary>
    public async Task<ulong> SymbolAsync(string name)
    {
        // Reading them all takes the guest seconds.
        _symbols ??= (await RunAsync("grep -E ' (sys_call_table|x64_sys_call|__x64_sys_ustat|idt_table|modprobe_path)$' /proc/kallsyms"))
            .Select(static line => line.Split(' '))
            .ToDictionary(static fields => fields[2], static fields => ulong.Parse(fields[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture));
        return _symbols[name];
    }

    /// <summary>Runs an attack.</summary>
    /// <returns>Its line of outcome.</returns>
    public async Task<string> StrikeAsync(LabAttack attack)
    {
        string[] lines = await RunAsync(attack.CommandLine);
        return lines.LastOrDefault(line => line.StartsWith($"attack {attack.Name}: ", StringComparison.Ordinal))
            ?? $"no outcome; the guest printed:\n{string.Join('\n', lines)}";
    }

    /// <summary>What the kernel's log complains of; a program of the lab that met an exception, as a guard wants it to, is none.</summary>
    public Task<string[]> ComplaintsAsync() =>
        RunAsync("dmesg | grep -E 'WARNING:|BUG|Oops|Call Trace|general protection|segfault' | grep -v ' attack\\['");

    /// <summary>Runs what the guest does not come back from.</summary>
    /// <returns>How the VM ended.</returns>
    internal async Task<VmExit> RunToTheEndAsync(string command)
    {
        DebianGuest guest = await BootedAsync();
        guest.Type($"{command}\r");
        return await guest.Vm.Completion;
    }

    /// <summary>Attaches a tool that may do everything.</summary>
    internal async Task<AttachedTool> AttachAsync(CancellationToken cancellation)
    {
        var introspector = new Introspector((await BootedAsync()).Vm);
        (StreamSocket hypervisorEnd, StreamSocket toolEnd) = StreamSocket.CreatePair();
        Assert.Equal(ControlError.None, introspector.Hook(hypervisorEnd));
        Assert.Equal(ControlError.None, introspector.SetCommandPermission(-1, 1));
        Assert.Equal(ControlError.None, introspector.SetEventPermission(-1, 1));
        return new AttachedTool(introspector, await IntrospectedVm.StartAsync(toolEnd, cancellation: cancellation));
    }

    // Booted by the first test that needs it, so that tests are skipped one by one where there is nothing to boot.
    private async Task<DebianGuest> BootedAsync()
    {
        if (_guest is null)
        {
            DebianGuest guest = DebianGuest.Create(_vcpus, files: LabFiles.Read());
            _guest = guest;
            guest.Vm.Start();
            await guest.WaitFor(DebianInitramfs.ReadyMarker);
            await guest.WaitFor("/ # ");
        }

        return _guest;
    }
}

/// <summary>A tool and the half of the connection that it talks to.</summary>
internal sealed record AttachedTool(Introspector Server, IntrospectedVm Vm) : IAsyncDisposable
{
    public async ValueTask DisposeAsync()
    {
        await Vm.DisposeAsync();
        Server.Dispose();
    }
}

/// <summary>A tool with a guard at work.</summary>
internal sealed record ArmedTool(AttachedTool Tool, GuardSession Guard, GuardArming Arming) : IAsyncDisposable
{
    public IntrospectedVm Vm => Tool.Vm;

    public static async Task<ArmedTool> ArmAsync(LabGuest lab, GuardPolicy policy, GuardOptions? options, CancellationToken cancellation)
    {
        AttachedTool tool = await lab.AttachAsync(cancellation);
        try
        {
            LinuxGuest guest = await LinuxGuest.AttachAsync(tool.Vm, cancellation: cancellation);
            GuardSession guard = await GuardSession.CreateAsync(tool.Vm, guest, policy, options, cancellation);
            return new ArmedTool(tool, guard, await guard.ArmAsync(cancellation));
        }
        catch
        {
            await tool.DisposeAsync();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Guard.DisposeAsync();
        await Tool.DisposeAsync();
    }
}
