namespace Hyperscope.Cli.Tests;

/// <summary>Command lines that make no sense: exit code 2, and words that help.</summary>
public sealed class UsageTests
{
    [Theory]
    [InlineData("bogus", "Unrecognized command or argument 'bogus'")]
    [InlineData("vm", "Required command was not provided")]
    [InlineData("mem read 0x1000", "Option '--kvmi' is required")]
    [InlineData("mem read 0x1000 --kvmi x", "is not unix:PATH, vsock:CID:PORT or tcp:HOST:PORT")]
    [InlineData("mem read 0x1000 --kvmi tcp:192.168.0.1:5", "leaves this machine")]
    [InlineData("mem read 4k --kvmi unix:x", "\"4k\" is not a number such as 4096 or 0x1000")]
    [InlineData("mem read 0 20M --kvmi unix:x", "length 20971520 is above 16777216 bytes; use: hyperscope mem dump")]
    [InlineData("mem write 0 --kvmi unix:x", "give either bytes or --input FILE")]
    [InlineData("mem write 0 9 --kvmi unix:x", "\"9\" is not bytes as hex digits such as 90c3")]
    [InlineData("vcpu regs -1 --kvmi unix:x", "\"-1\" is not a vCPU index such as 0")]
    [InlineData("vcpu regs 65536 --kvmi unix:x", "\"65536\" is not a vCPU index such as 0")]
    [InlineData("vcpu step 0 --count 0 --kvmi unix:x", "\"0\" is not a count")]
    [InlineData("events watch --kind pf,nope --kvmi unix:x", "\"nope\" is not an event: unhook, pause")]
    [InlineData("events watch --kind msr --kvmi unix:x", "--kind msr and --msr go together")]
    [InlineData("events watch --kind cr --cr 1 --kvmi unix:x", "\"1\" is not 0, 3 or 4")]
    [InlineData("events watch --answer maybe --kvmi unix:x", "\"maybe\" is not continue, retry or crash")]
    [InlineData("page-access set 0x1000=q --kvmi unix:x", "\"0x1000=q\" is not pages such as")]
    [InlineData("page-access set 0x1000+0=r --kvmi unix:x", "\"0x1000+0=r\" is not pages such as")]
    [InlineData("vm run --image i --kvmi unix:a --kvmi-listen unix:b", "give either --kvmi or --kvmi-listen")]
    [InlineData("vm run --image i --memory 5", "--memory 5 is not a multiple of 4096 bytes")]
    [InlineData("vm run --image i --vcpus 9", "--vcpus 9 is above 8")]
    [InlineData("vm run --image i --clock sundial", "--clock sundial is not known; there are: host, deterministic")]
    [InlineData("vm run --image i --add f", "--add goes with --boot; other kernels bring their own --initrd")]
    [InlineData("vm run --image i --clock deterministic --vcpus 2", "--clock deterministic goes with one vCPU, not 2")]
    [InlineData("vm run --image i --deny nope", "\"nope\" is no command, event or group")]
    public async Task Bad_usage_is_named(string commandLine, string expected)
    {
        CliResult result = await RunCli.RunAsync(commandLine);
        Assert.Equal(ExitCode.BadUsage, result.ExitCode);
        Assert.Contains(expected, result.Error, StringComparison.Ordinal);
        Assert.Matches("Try: hyperscope.* --help\n$", result.Error);
        Assert.Empty(result.Output);
    }

    [Fact]
    public async Task A_vm_that_is_not_there_is_a_failure_with_advice()
    {
        CliResult result = await RunCli.RunAsync("vcpu regs --kvmi unix:/nonexistent/vm.sock");
        Assert.Equal(ExitCode.Failed, result.ExitCode);
        Assert.Contains(
            "no VM listens at unix:/nonexistent/vm.sock. Start one with: hyperscope vm run", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_missing_image_is_named()
    {
        CliResult result = await RunCli.RunAsync("vm run --image /nonexistent/guest.bin");
        Assert.Equal(ExitCode.Failed, result.ExitCode);
        Assert.Contains("there is no file /nonexistent/guest.bin", result.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", "", 40, 14)]
    [InlineData("pf,vm-get-info", "", 1, 1)]
    [InlineData("", "vm-write-physical,pf", 39, 13)]
    [InlineData("all", "events,vcpu-pause", 39, 0)]
    public void Permissions_start_from_all_unless_something_is_allowed(string allow, string deny, int commands, int events)
    {
        string[] allowed = allow.Split(',', StringSplitOptions.RemoveEmptyEntries);
        string[] denied = deny.Split(',', StringSplitOptions.RemoveEmptyEntries);
        Assert.All(allowed.Concat(denied), static name => Assert.True(Running.Permissions.IsName(name)));
        Running.Permissions permissions = Running.Permissions.From(allowed, denied);
        Assert.Equal((commands, events), (permissions.Commands.Count, permissions.Events.Count));
        Assert.DoesNotContain(permissions.Commands, id => denied.Contains(Values.NameOf(id)));
    }

    [Fact]
    public void A_group_that_does_not_exist_is_no_name() => Assert.False(Running.Permissions.IsName("crash"));

    [Fact]
    public void Every_command_and_event_has_a_name_that_is_read_back()
    {
        foreach (CommandInfo command in CommandCatalog.All)
        {
            Assert.True(Values.TryParseCommand(Values.NameOf(command.Id), out MessageId id));
            Assert.Equal(command.Id, id);
        }

        foreach (EventInfo info in EventCatalog.All)
        {
            Assert.True(Values.TryParseEvent(Values.NameOf(info.Id), out EventId id));
            Assert.Equal(info.Id, id);
        }
    }
}
