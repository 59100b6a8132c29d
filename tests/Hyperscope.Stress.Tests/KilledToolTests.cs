using System.Diagnostics;
using System.Globalization;

namespace Hyperscope.Stress.Tests;

/// <summary>A tool in its own process dies of SIGKILL, again and again, in the middle of events, pauses and single-step.</summary>
public sealed class KilledToolTests(ITestOutputHelper output)
{
    private const int Vcpus = 4, Seed = 20;

    [Fact]
    public async Task Guest_survives_each_killed_tool_and_the_next_one_can_hook()
    {
        int times = Effort.Times(few: 25, many: 500);
        output.WriteLine($"seed {Seed}, {times} times");
        var random = new Random(Seed);
        await using var vm = new HammeredVm(Vcpus);
        vm.AwaitProgress();
        for (int time = 0; time < times; time++)
        {
            vm.Vm.Suspend(); // a new process gets going faster while nothing else runs
            using Process tool = StartTool(vm.Endpoint, random.Next());
            try
            {
                await Expect(tool, "started");
                vm.Vm.Resume();
                await tool.StandardInput.WriteLineAsync();
                await tool.StandardInput.FlushAsync(TestContext.Current.CancellationToken);
                await Expect(tool, "busy");
                Assert.NotNull(vm.Introspector.Session);

                // Not a wait for anything: the moment of the kill is what is random.
                Thread.Sleep(random.Next(12));
            }
            finally
            {
                tool.Kill(); // SIGKILL
            }

            HammeredVm.Await(() => vm.Introspector.Session is null, $"kill {time}: the session of the dead tool is over");
            Assert.Equal(0, vm.Vm.AccessMap.RestrictedFrames);
            vm.AwaitProgress();
            Assert.All(vm.Vm.Vcpus, static vcpu => Assert.False(vcpu.IsSingleStepping));
            Assert.False(vm.Vm.Completion.IsCompleted);
            await tool.WaitForExitAsync(TestContext.Current.CancellationToken);
        }
    }

    private static async Task Expect(Process tool, string line) =>
        Assert.Equal(line, await tool.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken).AsTask()
            .WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken));

    private static Process StartTool(string endpoint, int seed)
    {
        var start = new ProcessStartInfo("dotnet") { RedirectStandardInput = true, RedirectStandardOutput = true };
        start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, "Hyperscope.StressTool.dll"));
        start.ArgumentList.Add(endpoint);
        start.ArgumentList.Add(seed.ToString(CultureInfo.InvariantCulture));
        return Process.Start(start)!;
    }
}
