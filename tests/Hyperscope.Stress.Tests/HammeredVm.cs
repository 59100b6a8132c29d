using System.Runtime.InteropServices;
using Hyperscope.Guests;
using Hyperscope.Introspection;
using Hyperscope.Machine;
using Hyperscope.Machine.Control;

namespace Hyperscope.Stress.Tests;

/// <summary>A VM that tools can attach to, each of whose vCPUs increments a counter on a page of its own for ever.</summary>
internal sealed class HammeredVm : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("hyperscope-");
    private readonly IntrospectionHost _host;

    public HammeredVm(int vcpus)
    {
        GuestProgram guest = SelftestGuest.Build(vcpus);
        Vm = new VirtualMachine(new VirtualMachineOptions { MemoryBytes = guest.MinimumMemory, VcpuCount = vcpus });
        Vm.Load(guest.Pieces, guest.InitialState);
        for (int vcpu = 0; vcpu < vcpus; vcpu++)
        {
            Gpa mailbox = SelftestGuest.Mailboxes + (ulong)(vcpu * SelftestGuest.MailboxStride);
            Write(mailbox + SelftestGuest.Mailbox.Argument0, Page(vcpu).Value);
            Write(mailbox + SelftestGuest.Mailbox.Argument2, long.MaxValue);
            Write(mailbox + SelftestGuest.Mailbox.Action, (ulong)SelftestAction.Hammer);
        }

        Introspector = new Introspector(Vm);
        var options = new HookOptions
        {
            AllowedCommands = Enum.GetValues<MessageId>().ToHashSet(),
            AllowedEvents = Enum.GetValues<EventId>().ToHashSet(),
        };
        _host = new IntrospectionHost(Introspector, LinuxHost.Endpoint.Parse(Endpoint), listen: true, options);
        Vm.Start();
    }

    public string Endpoint => $"unix:{_directory.FullName}/vm";

    public VirtualMachine Vm { get; }

    public Introspector Introspector { get; }

    public static Gpa Page(int vcpu) => SelftestGuest.TestPage + ((ulong)vcpu << 12);

    /// <summary>How often a vCPU has incremented its page.</summary>
    public ulong Count(int vcpu)
    {
        Assert.True(Vm.Memory.TryRead(Page(vcpu), out ulong count));
        return count;
    }

    /// <summary>Waits until every vCPU has got on by more than a few instructions.</summary>
    public void AwaitProgress()
    {
        ulong[] before = [.. Vm.Vcpus.Select((_, index) => Count(index))];
        for (int vcpu = 0; vcpu < before.Length; vcpu++)
            Await(() => Count(vcpu) > before[vcpu] + 1000, $"vCPU {vcpu} runs on after {before[vcpu]} increments");
    }

    public static void Await(Func<bool> condition, string what) =>
        Assert.True(SpinWait.SpinUntil(condition, Limit), $"not so after {Limit.TotalSeconds} s: {what}");

    public async ValueTask DisposeAsync()
    {
        await _host.DisposeAsync();
        await Vm.DisposeAsync();
        _directory.Delete(recursive: true);
    }

    private void Write(Gpa gpa, ulong value) => Assert.True(Vm.Memory.TryWrite(gpa, MemoryMarshal.AsBytes([value])));
}
