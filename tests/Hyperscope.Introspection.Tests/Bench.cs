namespace Hyperscope.Introspection.Tests;

/// <summary>A fake VM, hooked, with everything allowed, and a tool at the other end.</summary>
internal sealed class Bench : IDisposable
{
    public Bench(int vcpus = 1, HookOptions? options = null, VmCapabilities capabilities = VmCapabilities.All, bool start = true)
    {
        Vm = new FakeVirtualMachine(vcpus, capabilities: capabilities);
        Introspector = new Introspector(Vm);
        Introspector.Disconnected += session => _disconnected.TrySetResult(session);
        Tool = Hook(options);
        if (start)
            Vm.Start();
    }

    private readonly TaskCompletionSource<IntrospectionSession> _disconnected = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public FakeVirtualMachine Vm { get; }

    public Introspector Introspector { get; }

    public ToolPeer Tool { get; private set; }

    public FakeVcpu Vcpu => Vm[0];

    public static VcpuIndex V0 => new(0);

    /// <summary>Completes when the first session closed.</summary>
    public Task<IntrospectionSession> Disconnected => _disconnected.Task;

    /// <summary>Hooks anew and allows everything.</summary>
    public ToolPeer Hook(HookOptions? options = null, bool allow = true)
    {
        (StreamSocket ours, StreamSocket tools) = StreamSocket.CreatePair();
        ControlError error = Introspector.Hook(ours, options);
        Assert.Equal(ControlError.None, error);
        if (allow)
        {
            Assert.Equal(ControlError.None, Introspector.SetCommandPermission(-1, 1));
            Assert.Equal(ControlError.None, Introspector.SetEventPermission(-1, 1));
        }

        Tool = new ToolPeer(tools);
        return Tool;
    }

    /// <summary>Switches an event on.</summary>
    public void Enable(EventId id, int vcpu = 0) =>
        Assert.Equal(KvmError.None, Tool.Error(new VcpuControlEvents(new VcpuIndex((ushort)vcpu), id, enable: true)));

    /// <summary>Restricts one page.</summary>
    public void Restrict(ulong gpa, PageAccess access)
    {
        var entry = new PageAccessEntry(new Gpa(gpa), access);
        Assert.Equal(KvmError.None, Tool.Error(new VmSetPageAccess(1), System.Runtime.InteropServices.MemoryMarshal.AsBytes(
            new ReadOnlySpan<PageAccessEntry>(in entry))));
    }

    public void Dispose()
    {
        Introspector.Dispose();
        Tool.Dispose();
        Vm.Dispose();
    }
}

/// <summary>Bounded waits for tasks.</summary>
internal static class TaskExtensions
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    public static async Task<T> Soon<T>(this Task<T> task) => await task.WaitAsync(Limit, TestContext.Current.CancellationToken);

    public static async Task Soon(this Task task) => await task.WaitAsync(Limit, TestContext.Current.CancellationToken);
}
