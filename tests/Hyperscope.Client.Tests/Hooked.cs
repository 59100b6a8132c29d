using Hyperscope.TestKit;

namespace Hyperscope.Client.Tests;

/// <summary>A client and the scripted hypervisor at its other end.</summary>
internal sealed class Hooked : IAsyncDisposable
{
    private Hooked(IntrospectedVm vm, ScriptedHypervisor hypervisor)
    {
        Vm = vm;
        Hypervisor = hypervisor;
    }

    public static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public IntrospectedVm Vm { get; }

    public ScriptedHypervisor Hypervisor { get; }

    public static async Task<Hooked> StartAsync(IntrospectionOptions? options = null, uint vcpus = 2)
    {
        (StreamSocket tool, ScriptedHypervisor hypervisor) = ScriptedHypervisor.Create();
        Task<IntrospectedVm> starting = IntrospectedVm.StartAsync(tool, options: options, cancellation: Cancel);
        hypervisor.Greet(vcpus);
        return new Hooked(await starting, hypervisor);
    }

    public async ValueTask DisposeAsync()
    {
        Hypervisor.Dispose();
        await Vm.DisposeAsync();
    }
}
