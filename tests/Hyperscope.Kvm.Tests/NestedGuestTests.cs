using System.Text.RegularExpressions;
using Hyperscope.Machine;

namespace Hyperscope.Kvm.Tests;

/// <summary>What else runs on the real SVM host of eng/nested-kvm: these very tests, and Linux.</summary>
[Collection(NestedHost.OneAtATime)]
public sealed partial class NestedGuestTests(NestedGuestTests.TestRun tests, NestedGuestTests.LinuxRun linux)
    : IClassFixture<NestedGuestTests.TestRun>, IClassFixture<NestedGuestTests.LinuxRun>
{
    [Fact]
    public void Linux_boots_as_far_as_its_init()
    {
        Need(linux.Host, DebianInitramfs.ReadyMarker);
        Assert.Contains(DebianInitramfs.ReadyMarker, linux.Host.Talk, StringComparison.Ordinal);
        Assert.Contains("Hypervisor detected: KVM", linux.Host.Talk, StringComparison.Ordinal);
        Assert.DoesNotContain("the software CPU runs the guest", linux.Host.Talk, StringComparison.Ordinal);
    }

    [Fact]
    public void Tests_that_need_a_real_host_pass()
    {
        Need(tests.Host, "Total: ");
        Match summary = Summary().Match(tests.Host.Talk);
        Assert.True(summary.Success, tests.Host.Talk);
        Assert.True(summary.Groups["bad"].Value == "0, Failed: 0, Skipped: 0", tests.Host.Talk);
        Assert.InRange(int.Parse(summary.Groups["total"].Value, System.Globalization.CultureInfo.InvariantCulture), 15, 1000);
    }

    [GeneratedRegex("Total: (?<total>[0-9]+), Errors: (?<bad>0, Failed: [0-9]+, Skipped: [0-9]+)")]
    private static partial Regex Summary();

    private static void Need(NestedHost host, string sign)
    {
        Assert.SkipWhen(host.Missing is not null, host.Missing ?? "");
        Assert.SkipWhen(host.Unfinished is not null && !host.Talk.Contains(sign, StringComparison.Ordinal), host.Unfinished ?? "");
    }

    /// <summary>The boot that runs the tests.</summary>
    public sealed class TestRun
    {
        public TestRun()
        {
            string build = AppContext.BaseDirectory.TrimEnd('/');
            Host = NestedHost.Run(
                $"/dotnet/dotnet /extra/{Path.GetFileName(build)}/{typeof(TestRun).Assembly.GetName().Name}.dll -noColor"
                + $" -class {typeof(KvmStressTests).FullName} -class {typeof(MprotectViewTests).FullName} -class {typeof(UserfaultViewTests).FullName}",
                build);
        }

        internal NestedHost Host { get; }
    }

    /// <summary>The boot that boots Linux.</summary>
    public sealed class LinuxRun
    {
        // The console's last lines say that Linux is up; then its shell is told to end it. A VM that ends before that is a failure, not a delay.
        private const string BootLinux = """
            export HYPERSCOPE_DEBIAN_ROOT=/extra/debian
            touch /tmp/console
            (until grep -qE 'user space is up|the VM ended' /tmp/console; do sleep 1; done; echo 'poweroff -f'; sleep 5) \
                | hyperscope vm run --boot debian --backend auto --memory 256M 2>&1 | tee /tmp/console | grep -E 'Hypervisor|init|hyperscope:|ended'

            """;

        internal NestedHost Host { get; } = NestedHost.Run(BootLinux, "artifacts/debian");
    }
}
