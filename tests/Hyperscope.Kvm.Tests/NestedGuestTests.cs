using System.Text.RegularExpressions;
using Hyperscope.Machine;

namespace Hyperscope.Kvm.Tests;

/// <summary>What else runs on the real SVM host of eng/nested-kvm: these very tests, and Linux.</summary>
[Collection(NestedHost.OneAtATime)]
public sealed partial class NestedGuestTests(NestedGuestTests.Nested run) : IClassFixture<NestedGuestTests.Nested>
{
    [Fact]
    public void Linux_boots_as_far_as_its_init()
    {
        Need(DebianInitramfs.ReadyMarker);
        Assert.Contains(DebianInitramfs.ReadyMarker, run.Host.Talk, StringComparison.Ordinal);
        Assert.Contains("Hypervisor detected: KVM", run.Host.Talk, StringComparison.Ordinal);
        Assert.DoesNotContain("the software CPU runs the guest", run.Host.Talk, StringComparison.Ordinal);
    }

    [Fact]
    public void Tests_that_need_a_real_host_pass()
    {
        Need("Total: ");
        Match summary = Summary().Match(run.Host.Talk);
        Assert.True(summary.Success, run.Host.Talk);
        Assert.True(summary.Groups["bad"].Value == "0, Failed: 0, Skipped: 0", run.Host.Talk);
        Assert.InRange(int.Parse(summary.Groups["total"].Value, System.Globalization.CultureInfo.InvariantCulture), 15, 1000);
    }

    [GeneratedRegex("Total: (?<total>[0-9]+), Errors: (?<bad>0, Failed: [0-9]+, Skipped: [0-9]+)")]
    private static partial Regex Summary();

    private void Need(string sign)
    {
        Assert.SkipWhen(run.Host.Missing is not null, run.Host.Missing ?? "");
        Assert.SkipWhen(run.Host.IsOutOfTime && !run.Host.Talk.Contains(sign, StringComparison.Ordinal), "the emulated host ran out of time");
    }

    /// <summary>The boot for these tests.</summary>
    public sealed class Nested
    {
        // The console's last lines say that Linux is up; then its shell is told to end it.
        private const string BootLinux = """
            export HYPERSCOPE_DEBIAN_ROOT=/extra/debian
            touch /tmp/console
            (until grep -q 'user space is up' /tmp/console; do sleep 1; done; echo 'poweroff -f'; sleep 5) \
                | hyperscope vm run --boot debian --backend auto --memory 256M 2>&1 | tee /tmp/console | grep -E 'Hypervisor|init|hyperscope:|ended'

            """;

        public Nested()
        {
            string build = AppContext.BaseDirectory.TrimEnd('/');
            Host = NestedHost.Run(
                BootLinux + $"/dotnet/dotnet /extra/{Path.GetFileName(build)}/{typeof(Nested).Assembly.GetName().Name}.dll -noColor"
                + $" -class {typeof(KvmStressTests).FullName} -class {typeof(GuestViewTests).FullName}",
                $"artifacts/debian {build}");
        }

        internal NestedHost Host { get; }
    }
}
