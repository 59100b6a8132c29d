namespace Hyperscope.Attacks.Tests;

/// <summary>A guest with two vCPUs: one attacks, the other makes processes, which the guard has to look at as well.</summary>
public sealed class MultiprocessorTests(MultiprocessorTests.BusyGuest guarded) : IClassFixture<MultiprocessorTests.BusyGuest>
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("syscall-table")]
    [InlineData("kernel-text")]
    [InlineData("idt-base")]
    [InlineData("credentials")]
    [InlineData("credentials-swap")]
    [InlineData("modprobe-path")]
    [InlineData("hidden-module")]
    [InlineData("cr0-wp")]
    [InlineData("lstar")]
    [InlineData("unpacker")]
    [InlineData("unpacker-huge")]
    public async Task Attack_has_no_effect_while_another_vcpu_works(string name)
    {
        await guarded.ArmedAsync(Cancel);
        await guarded.Lab.RunAsync("while :; do /bin/busybox true; done & busy=$!");
        try
        {
            await guarded.AssertPreventedAsync(AttackLab.Find(name), Cancel);
        }
        finally
        {
            await guarded.Lab.RunAsync("kill $busy; wait $busy");
        }

        Assert.Empty(await guarded.Lab.ComplaintsAsync());
    }

    public sealed class BusyGuest() : GuardedGuest(new TwoVcpus())
    {
        public override async ValueTask DisposeAsync()
        {
            await base.DisposeAsync();
            await Lab.DisposeAsync();
        }
    }

    private sealed class TwoVcpus() : LabGuest(2);
}
