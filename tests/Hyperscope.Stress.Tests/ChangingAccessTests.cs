using Hyperscope.Client;

namespace Hyperscope.Stress.Tests;

/// <summary>vCPUs hammer pages whose rights change under them: the reply to a command divides before from after.</summary>
public sealed class ChangingAccessTests(ITestOutputHelper output)
{
    private const int Vcpus = 4;

    [Theory]
    [InlineData(31)]
    [InlineData(32)]
    public async Task Reply_to_a_rights_change_divides_events_from_silence(int seed)
    {
        int rounds = Effort.Times(few: 150, many: 50_000);
        output.WriteLine($"seed {seed}, {rounds} rounds");
        var random = new Random(seed);
        await using var hammered = new HammeredVm(Vcpus);
        await using IntrospectedVm vm = await IntrospectedVm.ConnectAsync(
            hammered.Endpoint, cancellation: TestContext.Current.CancellationToken);
        var pages = new Page[Vcpus];
        for (int vcpu = 0; vcpu < Vcpus; vcpu++)
            pages[vcpu] = new Page(mayContinue: vcpu % 2 == 1, random.Next());
        var problems = new List<string>();
        using IDisposable handler = vm.On<PageFaultEvent>(pf =>
        {
            Page page = pages[pf.Vcpu.Index.Value];
            if (pf.Gpa.Frame != HammeredVm.Page(pf.Vcpu.Index.Value).Frame)
                problems.Add($"{pf} is about {pf.Gpa}");
            else if (page.IsOpen)
                problems.Add($"{pf} came after the page was opened");
            if (page.Saw())
                pf.Continue();
            else
                pf.Retry();
        });
        await vm.EnableAsync(EventId.PageFault, TestContext.Current.CancellationToken);
        int strict = 0;
        for (int round = 0; round < rounds && problems.Count == 0; round++)
        {
            int index = random.Next(Vcpus);
            Page page = pages[index];
            await vm.SetPageAccessAsync(
                HammeredVm.Page(index), random.Next(3) == 0 ? PageAccess.None : PageAccess.Read, TestContext.Current.CancellationToken);
            ulong atClose = hammered.Count(index);
            int eventsAtClose = page.Events, continuesAtClose = page.Continues;

            // None missed: the vCPU does nothing but write there.
            int enough = random.Next(4) == 0 ? random.Next(1, 6) : 0;
            HammeredVm.Await(() => page.Events - eventsAtClose >= enough, $"round {round}: events for the closed page of vCPU {index}");
            ulong advanced = hammered.Count(index) - atClose;
            int continued = page.Continues - continuesAtClose;

            // One CONTINUE from before the close may be carried out after it.
            ulong bound = page.MayContinue ? (ulong)continued + 1 : 0;
            Assert.True(advanced <= bound, $"round {round}: vCPU {index} wrote {advanced} times to its closed page, {bound} answers allowed that");
            strict += page.MayContinue ? 0 : 1;

            await vm.SetPageAccessAsync(HammeredVm.Page(index), PageAccess.All, TestContext.Current.CancellationToken);
            page.IsOpen = true;
            ulong atOpen = hammered.Count(index);
            int progress = random.Next(4) == 0 ? 10 : -1;
            HammeredVm.Await(() => (long)(hammered.Count(index) - atOpen) > progress, $"round {round}: vCPU {index} writes to its open page");
            page.IsOpen = false; // before the next command is sent
        }

        Assert.Empty(problems);
        Assert.InRange(strict, rounds / 4, rounds);
        Assert.InRange(pages.Sum(static page => page.Continues), 1, int.MaxValue);
    }

    /// <summary>What is known about one vCPU's page. Counters are written by the client's reader thread alone.</summary>
    private sealed class Page(bool mayContinue, int seed)
    {
        private readonly Random _random = new(seed);
        private int _events;
        private int _continues;
        private bool _isOpen;

        public bool MayContinue => mayContinue;

        public int Events => Volatile.Read(ref _events);

        public int Continues => Volatile.Read(ref _continues);

        public bool IsOpen
        {
            get => Volatile.Read(ref _isOpen);
            set => Volatile.Write(ref _isOpen, value);
        }

        /// <summary>Counts an event; true: to be answered with CONTINUE.</summary>
        public bool Saw()
        {
            bool isContinued = mayContinue && _random.Next(4) == 0;
            if (isContinued)
                Volatile.Write(ref _continues, _continues + 1);
            Volatile.Write(ref _events, _events + 1);
            return isContinued;
        }
    }
}
