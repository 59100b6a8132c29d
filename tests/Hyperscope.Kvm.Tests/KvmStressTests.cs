using Hyperscope.Vm;

namespace Hyperscope.Kvm.Tests;

/// <summary>Several vCPUs of the KVM back end on pages whose rights change, counted exactly. Needs a KVM that can run guests, which
/// eng/nested-kvm boots: NestedKvmTests runs these there. HYPERSCOPE_STRESS=long does more.</summary>
public sealed class KvmStressTests(ITestOutputHelper output)
{
    private const PageAccess NoWrite = PageAccess.Read | PageAccess.Execute;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(IsLong ? 3000 : 240);

    private static bool IsLong => Environment.GetEnvironmentVariable("HYPERSCOPE_STRESS") == "long";

    [Theory]
    [InlineData(2, ProtectionMethod.Mprotect)]
    [InlineData(2, ProtectionMethod.Userfaultfd)]
    [InlineData(4, ProtectionMethod.Userfaultfd)]
    public void Each_write_to_a_restricted_page_is_one_event(int vcpus, ProtectionMethod protection)
    {
        Need(protection);
        ulong rounds = IsLong ? 100_000UL : 100;
        using var vm = new BareVm(vcpus, rounds, protection);
        long[] events = new long[vcpus];
        vm.OnAccess = (vcpu, access) =>
        {
            // The vCPU waits in front of the write: each counter stands at the number of events before this one.
            int page = BareVm.PageOf(access.Gpa);
            if (access.Kind != PageAccess.Write || access.Gpa != BareVm.Counter(vcpu, page) || vm.Count(vcpu, page) != (ulong)(events[vcpu] / BareVm.Pages))
                throw new InvalidOperationException($"event {events[vcpu]} of vCPU {vcpu} is {access.Kind} at {access.Gpa}, with {vm.Count(vcpu, page)} written");
            events[vcpu]++;
            return PageTrackVerdict.Allow;
        };
        for (int page = 0; page < BareVm.Pages; page++)
            vm.SetAccess(page, NoWrite);
        vm.Start();
        Assert.True(vm.Wait(Patience), $"events so far: {string.Join(", ", events)} of {rounds * BareVm.Pages} each");
        Assert.All(events, count => Assert.Equal((long)rounds * BareVm.Pages, count));
        AssertCounters(vm, vcpus, rounds);
    }

    [Theory]
    [InlineData(2, ProtectionMethod.Userfaultfd, 51)]
    [InlineData(4, ProtectionMethod.Userfaultfd, 52)]
    [InlineData(4, ProtectionMethod.Mprotect, 53)]
    public void No_event_is_lost_or_doubled_while_rights_change(int vcpus, ProtectionMethod protection, int seed)
    {
        Need(protection);
        ulong rounds = IsLong ? 300_000UL : 600;
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        using var vm = new BareVm(vcpus, rounds, protection);
        var last = new (int Phase, ulong Count)[vcpus, BareVm.Pages];
        int[] phases = new int[BareVm.Pages]; // odd: writes are denied, and have been since before the phase began
        long events = 0, always = 0;
        vm.OnAccess = (vcpu, access) =>
        {
            Interlocked.Increment(ref events);
            if (access.Kind != PageAccess.Write)
                return PageTrackVerdict.Allow;
            int page = BareVm.PageOf(access.Gpa), phase = Volatile.Read(ref phases[page]);
            ulong count = vm.Count(vcpu, page);
            (int lastPhase, ulong lastCount) = last[vcpu, page];

            // While a page is denied, each write to it is announced: what is there is what was there at the last event, and that one write.
            if (phase % 2 == 1 && lastPhase == phase && count != lastCount + 1)
                throw new InvalidOperationException($"vCPU {vcpu}, page {page}: {count} written at this event, {lastCount} at the one before");
            if (page == 0)
                Interlocked.Increment(ref always);
            last[vcpu, page] = (phase, count);
            return PageTrackVerdict.Allow;
        };
        vm.SetAccess(0, NoWrite); // this one never changes: the others do while vCPUs are in events
        phases[0] = 1;
        vm.Start();
        int changes = 0;
        long deadline = Environment.TickCount64 + (long)Patience.TotalMilliseconds;
        while (vm.IsRunning && Environment.TickCount64 < deadline)
        {
            int page = random.Next(1, BareVm.Pages);
            if (phases[page] % 2 == 0)
            {
                vm.SetAccess(page, random.Next(4) == 0 ? PageAccess.None : NoWrite);
                Volatile.Write(ref phases[page], phases[page] + 1);
            }
            else
            {
                Volatile.Write(ref phases[page], phases[page] + 1);
                vm.SetAccess(page, PageAccess.All);
            }

            changes++;
            long seen = Volatile.Read(ref events), wanted = random.Next(8);
            SpinWait.SpinUntil(() => Volatile.Read(ref events) - seen >= wanted || !vm.IsRunning, 1000);
        }

        Assert.True(vm.Wait(TimeSpan.FromSeconds(10)), $"not done after {changes} changes and {events} events");
        output.WriteLine($"{changes} changes, {events} events, {always} of them of the page that was never opened");
        AssertCounters(vm, vcpus, rounds);
        Assert.Equal((long)rounds * vcpus, always);
        Assert.InRange(changes, 20, int.MaxValue);
    }

    [Fact]
    public void Others_go_on_while_one_waits_for_its_verdict()
    {
        Need();
        const ulong Rounds = 2000;
        using var vm = new BareVm(2, Rounds);
        using var isWaiting = new ManualResetEventSlim();
        using var mayGoOn = new ManualResetEventSlim();
        vm.OnAccess = (vcpu, _) =>
        {
            if (vcpu == 0 && !isWaiting.IsSet)
            {
                isWaiting.Set();
                mayGoOn.Wait(Patience);
            }

            return PageTrackVerdict.Allow;
        };
        vm.SetAccess(0, NoWrite);
        vm.Start();
        Assert.True(isWaiting.Wait(Patience, TestContext.Current.CancellationToken));
        bool otherFinished = SpinWait.SpinUntil(() => vm.Count(1, BareVm.Pages - 1) == Rounds, Patience);
        ulong held = vm.Count(0, 0);
        mayGoOn.Set();
        Assert.True(otherFinished, $"vCPU 1 got no further than {vm.Count(1, 0)} of {Rounds}");
        Assert.Equal(0UL, held);
        Assert.True(vm.Wait(Patience));
        AssertCounters(vm, 2, Rounds);
    }

    private static void Need(ProtectionMethod protection = ProtectionMethod.Auto)
    {
        string? obstacle = KvmProbe.FindObstacle() ?? (protection == ProtectionMethod.Userfaultfd ? KvmProbe.FindUserfaultObstacle() : null);
        Assert.SkipWhen(obstacle is not null, $"{obstacle}; NestedKvmTests runs this in an emulated host");
    }

    private static void AssertCounters(BareVm vm, int vcpus, ulong rounds)
    {
        for (int vcpu = 0; vcpu < vcpus; vcpu++)
        {
            for (int page = 0; page < BareVm.Pages; page++)
                Assert.Equal(rounds, vm.Count(vcpu, page));
        }
    }
}
