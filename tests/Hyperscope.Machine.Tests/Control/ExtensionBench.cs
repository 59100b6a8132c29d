using Hyperscope.Client;
using Hyperscope.Guests;
using Hyperscope.Introspection;
using Hyperscope.Kvmi;
using Hyperscope.LinuxHost;
using Hyperscope.Vm;
using static Hyperscope.Guests.SelftestGuest;

namespace Hyperscope.Machine.Tests.Control;

/// <summary>A running VM with the self-test guest and a C# tool attached to it.</summary>
internal sealed class ExtensionBench : IAsyncDisposable
{
    private readonly Introspector _introspector;

    private ExtensionBench(VirtualMachine machine, Introspector introspector, IntrospectedVm tool)
    {
        Machine = machine;
        _introspector = introspector;
        Tool = tool;
    }

    public VirtualMachine Machine { get; }

    public IntrospectedVm Tool { get; }

    public static async Task<ExtensionBench> StartAsync(int vcpus, ulong memoryBytes = 16 << 20)
    {
        var machine = new VirtualMachine(new VirtualMachineOptions { Name = "selftest", MemoryBytes = memoryBytes, VcpuCount = vcpus });
        GuestProgram guest = Build(vcpus);
        machine.Load(guest.Pieces, guest.InitialState);
        var introspector = new Introspector(machine);
        machine.Start();
        (StreamSocket ours, StreamSocket tools) = StreamSocket.CreatePair();
        Assert.Equal(ControlError.None, introspector.Hook(ours, new HookOptions
        {
            AllowedCommands = new HashSet<MessageId>(Enum.GetValues<MessageId>()),
            AllowedEvents = new HashSet<EventId>(Enum.GetValues<EventId>()),
        }));
        return new ExtensionBench(machine, introspector, await IntrospectedVm.StartAsync(tools));
    }

    /// <summary>Has the guest act, and waits until it has.</summary>
    public async Task<ulong> RunAsync(int vcpu, SelftestAction action, ulong a = 0, ulong b = 0, ulong c = 0)
    {
        ulong done = await FieldAsync(vcpu, Mailbox.Done);
        await BeginAsync(vcpu, action, a, b, c);
        return await FinishAsync(vcpu, done);
    }

    public async Task BeginAsync(int vcpu, SelftestAction action, ulong a = 0, ulong b = 0, ulong c = 0)
    {
        byte[] arguments = [.. BitConverter.GetBytes(a), .. BitConverter.GetBytes(b), .. BitConverter.GetBytes(c)];
        await Tool.WritePhysicalAsync(MailboxOf(vcpu) + Mailbox.Argument0, arguments);
        await Tool.WritePhysicalAsync(MailboxOf(vcpu), BitConverter.GetBytes((ulong)action));
    }

    /// <summary>Waits by asking; the round trips are the wait.</summary>
    public async Task<ulong> FinishAsync(int vcpu, ulong done)
    {
        long deadline = Environment.TickCount64 + 30_000;
        while (await FieldAsync(vcpu, Mailbox.Done) == done)
            Assert.True(Environment.TickCount64 < deadline, "the guest does not finish");
        return await FieldAsync(vcpu, Mailbox.Result);
    }

    public async Task<ulong> FieldAsync(int vcpu, int field) =>
        BitConverter.ToUInt64(await Tool.ReadPhysicalAsync(MailboxOf(vcpu) + (ulong)field, 8));

    public async Task<ulong> ReadAsync(Gpa gpa) => BitConverter.ToUInt64(await Tool.ReadPhysicalAsync(gpa, 8));

    public void Unhook() => _introspector.Unhook();

    public async ValueTask DisposeAsync()
    {
        await Tool.DisposeAsync();
        _introspector.Dispose();
        await Machine.DisposeAsync();
    }

    private static Gpa MailboxOf(int vcpu) => Mailboxes + (ulong)(vcpu * MailboxStride);
}
