using System.Diagnostics;
using Hyperscope.Machine;

namespace Hyperscope.Stress.Tests;

/// <summary>Hostile code in ring 0 of whole machines, with every device and several vCPUs: the process lives on, and loses nothing.</summary>
public sealed class HostileMachineTests(ITestOutputHelper output)
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    [Theory]
    [InlineData(EntryMode.Real)]
    [InlineData(EntryMode.Protected)]
    [InlineData(EntryMode.Long)]
    public async Task Machine_with_a_hostile_guest_can_always_be_stopped(EntryMode mode)
    {
        int guests = Effort.Times(few: 30, many: 1500);
        int current = 0;
        void Name(object sender, UnhandledExceptionEventArgs failure) => Console.Error.WriteLine($"mode {mode} seed {current}: {failure.ExceptionObject}");
        AppDomain.CurrentDomain.UnhandledException += Name;
        var ends = new SortedDictionary<string, int>();
        ulong instructions = 0;
        (int Threads, long Bytes) before = default;
        try
        {
            for (int seed = 1; seed <= guests; seed++)
            {
                current = seed;
                (VmExit exit, ulong retired) = await RunOneAsync(mode, seed);
                ends[exit.Kind.ToString()] = ends.GetValueOrDefault(exit.Kind.ToString()) + 1;
                instructions += retired;
                if (seed == (guests / 2) + 1)
                    before = Usage();
            }
        }
        finally
        {
            AppDomain.CurrentDomain.UnhandledException -= Name;
        }

        (int Threads, long Bytes) after = Usage();
        output.WriteLine($"mode {mode}, seeds 1 to {guests}: {instructions} instructions; {string.Join(", ", ends)}; {before} then {after}");
        Assert.InRange(after.Threads, 0, before.Threads + 16);
        Assert.InRange(after.Bytes, 0, before.Bytes + (64L << 20));
        Assert.True(instructions > (ulong)guests, $"{guests} guests ran only {instructions} instructions");
    }

    private static async Task<(VmExit Exit, ulong Instructions)> RunOneAsync(EntryMode mode, int seed)
    {
        var random = new Random(seed);
        int vcpus = random.Next(1, 4);
        await using var vm = new VirtualMachine(new VirtualMachineOptions { MemoryBytes = 4UL << 20, VcpuCount = vcpus });
        var code = new HostileCode(random, mode);
        BootImage image = FlatImageLoader.Load(code.Write(), new Gpa(HostileCode.Address), new Gpa(HostileCode.Address), mode, vm.MemoryMap);
        vm.Load(
            [
                .. image.Pieces.Select(static piece => (piece.Address, piece.Bytes.ToArray())),
                (new Gpa(mode == EntryMode.Real ? 0 : HostileCode.Gates), code.WriteGates()),
                (AcpiTables.Build(vcpus).Address, AcpiTables.Build(vcpus).Bytes.ToArray()),
            ],
            index =>
            {
                KvmRegs registers = image.Registers;
                registers.Rsp = 0x8_0000;
                registers.Rip += (ulong)random.Next(0x1000);
                KvmSregs special = image.SpecialRegisters;
                special.Idt.Base = mode == EntryMode.Real ? 0 : HostileCode.Gates;
                special.Idt.Limit = 0xfff;
                return (registers, special);
            });
        vm.Start();

        // Not a wait for anything: how far the guest gets before the outside world interferes is what is random.
        for (int turn = random.Next(4); turn >= 0; turn--)
        {
            await Task.WhenAny(vm.Completion, Task.Delay(random.Next(8), TestContext.Current.CancellationToken));
            switch (random.Next(4))
            {
                case 0:
                    vm.Board.Serial.Feed("hostile"u8);
                    break;
                case 1:
                    vm.Board.Power.PressPowerButton();
                    break;
                case 2:
                    vm.Suspend();
                    vm.Resume();
                    break;
                default:
                    vm.InvalidateTranslations();
                    break;
            }
        }

        return (await vm.StopAsync().WaitAsync(Limit, TestContext.Current.CancellationToken), vm.InstructionsRetired);
    }

    private static (int Threads, long Bytes) Usage()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        using var self = Process.GetCurrentProcess();
        return (self.Threads.Count, self.WorkingSet64);
    }
}
